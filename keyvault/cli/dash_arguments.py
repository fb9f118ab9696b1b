"""
A command whose argument may begin with a dash, as one thumbprint in 64 does.

To the parser of options ``-abc`` is three options in one. No command here has options that are typed so, but for
a short one with its value (``-oFILE``): every other word that begins with one dash and is longer than a letter
is an argument. One that begins with two dashes has to stand behind ``--``, as everywhere.
"""

from typing import Any

from keyvault.cli.lazy_commands import LateCommand


class DashedCommand(LateCommand):
    """A command that takes ``-abc`` as an argument."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse *args*, with the words that begin with a dash behind all others."""
        place = args.index("--") if "--" in args else len(args)
        valued = {name for param in self.get_params(ctx) if not getattr(param, "is_flag", True) for name in param.opts}
        words: list[str] = []
        dashed: list[str] = []
        for word in args[:place]:
            is_value = bool(words) and words[-1] in valued
            several = len(word) > 2 and word[0] == "-" and word[1] != "-" and word[:2] not in valued
            (dashed if several and not is_value else words).append(word)
        return super().parse_args(ctx, [*words, "--", *dashed, *args[place + 1 :]])
