"""
The loggers of the package, ``keyvault`` and those below it.

They are silent unless the program that imports us wants to hear them. This is a module of its own because logging is
slow to import: only what logs imports it, and ``keyvault --help`` does not.

Log records name sets, kids, commits and remotes, and say why something failed in the words of our own errors. They
never hold key material, tokens or claims, nor a URL, which may hold a password.
"""

from __future__ import annotations

import logging

logging.getLogger("keyvault").addHandler(logging.NullHandler())


def get_logger(name: str) -> logging.Logger:
    """Return the logger of the module *name*."""
    return logging.getLogger(name)
