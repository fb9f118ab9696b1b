"""
What a process makes once when it runs one command, and would make anew for each test when it runs thousands.

Templates are compiled from their text, the command line from its declarations, a key from a passphrase: the same input
gives the same result, so the first one is kept. A real process, as many tests start it, knows nothing of this.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest


class _Kdf:
    """PBKDF2 as jwcrypto calls it, that remembers what it derived."""

    def __init__(self, real: Callable[..., Any], known: dict[Any, bytes], **options: Any) -> None:
        self._make = functools.partial(real, **options)
        self._known = known
        self._key = (options["algorithm"].name, options["length"], options["salt"], options["iterations"])

    def derive(self, secret: bytes) -> bytes:
        key = (*self._key, secret)
        if key not in self._known:
            self._known[key] = self._make().derive(secret)
        return self._known[key]


def keep(patch: pytest.MonkeyPatch) -> None:
    """Let this process keep what it makes, until *patch* is undone."""
    import jinja2
    import typer.main
    from jwcrypto import jwa

    patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
    patch.setattr(jinja2.Environment, "compile", _kept_code(jinja2.Environment.compile))
    derived: dict[Any, bytes] = {}
    patch.setattr(jwa, "PBKDF2HMAC", functools.partial(_Kdf, jwa.PBKDF2HMAC, derived))


def _kept_code(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """Return jinja's own *compile_*, which keeps the code of templates that are loaded with all of keyvault's settings."""
    made: dict[Any, Any] = {}

    def compiled(self: Any, source: Any, name: Any = None, filename: Any = None, *more: Any, **options: Any) -> Any:
        usual = self.autoescape is True and self.trim_blocks and self.lstrip_blocks and self.keep_trailing_newline
        if more or options or not usual or not isinstance(source, str):
            return compile_(self, source, name, filename, *more, **options)
        key = (type(self), source, name, filename)
        if key not in made:
            made[key] = compile_(self, source, name, filename)
        return made[key]

    return compiled
