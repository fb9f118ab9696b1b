"""
Fuzz targets, which check that invariants hold for any bytes.

Each target is a module with a function ``check``, which takes bytes and fails if an invariant does not hold. This module
has their names and their common helpers. `mutation` makes new inputs from old ones, and ``python -m tests.fuzz TARGET``
runs a target under atheris (``make fuzz`` runs all). ``test_targets`` runs them without it. The private keys among the
seeds protect nothing.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from pathlib import Path

from keyvault.core.text import printable

TARGETS = ("record", "envelope", "config", "jwk_set", "key_file")
CORPUS = Path(__file__).parent / "corpus"
#: Libraries quote their input in errors; our messages are short lines for a terminal.
MESSAGE_MAX = 1_000

Target = Callable[[bytes], None]
Mutator = Callable[[bytes, random.Random], bytes]


def load(name: str) -> tuple[Target, Mutator]:
    """Return the function that checks an input of the target *name*, and the function that mutates inputs for it."""
    module = importlib.import_module(f"tests.fuzz.{name}")
    return module.check, module.mutate


def seeds(name: str) -> list[bytes]:
    """Return the seed corpus of the target *name*, in a fixed order."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def check_message(message: str) -> None:
    """Fail if *message* is not one short line that a terminal can show."""
    assert message, "an error says nothing"
    assert message == printable(message), f"a message could repaint a screen: {message!r}"
    assert len(message) < MESSAGE_MAX, f"a message of {len(message)} characters"
