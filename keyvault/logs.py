"""
The loggers of the package, ``keyvault`` and those below it.

They are silent unless the importing program configures logging. This is a module of its own because logging is slow to
import: only modules that log import it, and ``keyvault --help`` does not.

Log records name sets, kids, commits and remotes, and give the reason of a failure as the message of our own error. They
never hold key material, tokens or claims, nor a URL, which may hold a password.
"""

from __future__ import annotations

import logging

logging.getLogger("keyvault").addHandler(logging.NullHandler())


def get_logger(name: str) -> logging.Logger:
    """Return the logger of the module *name*."""
    return logging.getLogger(name)
