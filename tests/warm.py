"""
Caches for a process that runs thousands of tests.

A process that runs one command compiles its templates, builds its command line and derives a key from a passphrase once.
A test process would do so for each test. The same input gives the same result, so these caches keep the first one. Real
processes, which many tests start, do not use them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest


class _CachedKdf:
    """PBKDF2 with a cache of derived keys."""

    def __init__(self, real: Callable[..., Any], derived: dict[Any, bytes], **options: Any) -> None:
        self._new = functools.partial(real, **options)
        self._derived = derived
        self._key = (options["algorithm"].name, options["length"], options["salt"], options["iterations"])

    def derive(self, secret: bytes) -> bytes:
        key = (*self._key, secret)
        if key not in self._derived:
            self._derived[key] = self._new().derive(secret)
        return self._derived[key]


def use_caches(patch: pytest.MonkeyPatch) -> None:
    """Use the caches in this process, until *patch* is undone."""
    import jinja2
    import typer.main
    from jwcrypto import jwa

    from keyvault import config
    from keyvault.crypto import pairs, pbes2

    patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
    patch.setattr(jinja2.Environment, "compile", _with_cache(jinja2.Environment.compile))
    derived: dict[Any, bytes] = {}
    for module in (jwa, pbes2):
        patch.setattr(module, "PBKDF2HMAC", functools.partial(_CachedKdf, module.PBKDF2HMAC, derived))
    patch.setattr(config, "read_policy", functools.lru_cache(1000)(config.read_policy))
    patch.setattr(pairs, "_load_rsa", _with_cache_of_keys(pairs._load_rsa))


def _with_cache_of_keys(load: Callable[..., Any]) -> Callable[..., Any]:
    """Return *load* with a cache: OpenSSL tests the primes of each RSA key that it loads."""
    loaded: dict[Any, Any] = {}

    def cached(jwk: Any) -> Any:
        numbers = tuple(jwk.get(name) for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi"))
        if "oth" in jwk or not all(isinstance(number, str) for number in numbers):
            return load(jwk)
        if numbers not in loaded:
            loaded[numbers] = load(jwk)
        return loaded[numbers]

    return cached


def _with_cache(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """Return *compile_* of Jinja with a cache of the templates that are loaded with all of keyvault's settings."""
    compiled_templates: dict[Any, Any] = {}

    def compiled(self: Any, source: Any, name: Any = None, filename: Any = None, *more: Any, **options: Any) -> Any:
        usual = self.autoescape is True and self.trim_blocks and self.lstrip_blocks and self.keep_trailing_newline
        if more or options or not usual or not isinstance(source, str):
            return compile_(self, source, name, filename, *more, **options)
        key = (type(self), source, name, filename)
        if key not in compiled_templates:
            compiled_templates[key] = compile_(self, source, name, filename)
        return compiled_templates[key]

    return compiled
