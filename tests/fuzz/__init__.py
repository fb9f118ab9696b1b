"""
Fuzz targets: whatever the bytes are, what must hold holds.

Each target is a module with a function ``one``, which takes bytes and fails where an invariant does not hold. Here
are their names and what they share; `mutation` makes new bytes of old ones, and ``python -m tests.fuzz TARGET`` runs a
target under atheris (``make fuzz`` runs all). ``test_targets`` runs them without it. The private keys among the seeds
protect nothing.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from pathlib import Path

from keyvault.core.text import printable

TARGETS = ("record", "envelope", "config", "jwk_set", "key_file")
CORPUS = Path(__file__).parent / "corpus"
#: Libraries put what they were given into their errors; ours are lines for a terminal.
MESSAGE_MAX = 1_000

Target = Callable[[bytes], None]
Mutator = Callable[[bytes, random.Random], bytes]


def load(name: str) -> tuple[Target, Mutator]:
    """Return the target *name*, and what makes new inputs of old ones for it."""
    module = importlib.import_module(f"tests.fuzz.{name}")
    return module.one, module.mutate


def seeds(name: str) -> list[bytes]:
    """Return the seed corpus of the target *name*, in a fixed order."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def check_message(message: str) -> None:
    """Fail where *message* is more than one bearable line that a terminal can take."""
    assert message, "an error says nothing"
    assert message == printable(message), f"a message could repaint a screen: {message!r}"
    assert len(message) < MESSAGE_MAX, f"a message of {len(message)} characters"
