"""
Commands whose argument may begin with a dash, as one thumbprint in 64 does, and as imported kids may.

The option parser reads ``-abc`` as three short options. No command here combines short options, apart
from a short option with its value (``-oFILE``). Every other word that begins with a single dash and is longer than
two characters is therefore an argument. Arguments that begin with two dashes must follow ``--``, as usual.
"""

from typing import Any

from keyvault.cli.lazy_commands import LazyCommand


class DashArgumentCommand(LazyCommand):
    """A command that takes ``-abc`` as an argument."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse *args*, after moving the arguments that begin with a dash behind ``--``."""
        end = args.index("--") if "--" in args else len(args)
        with_value = {
            name for param in self.get_params(ctx) if not getattr(param, "is_flag", True) for name in param.opts
        }
        words: list[str] = []
        dashed: list[str] = []
        for word in args[:end]:
            is_value = bool(words) and words[-1] in with_value
            combined = len(word) > 2 and word[0] == "-" and word[1] != "-" and word[:2] not in with_value
            (dashed if combined and not is_value else words).append(word)
        return super().parse_args(ctx, [*words, "--", *dashed, *args[end + 1 :]])
