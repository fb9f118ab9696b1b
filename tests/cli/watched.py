"""
Runs the command line under a clock, and notes every private key that it makes.

    python -m tests.cli.watched INSTANT FILE ARGUMENT...
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path

from keyvault.cli import main
from tests.cli.canaries import JWK, watch


def note(jwk: JWK) -> None:
    """Add a line to the file."""
    with Path(sys.argv[2]).open("a") as file:
        file.write(json.dumps(jwk) + "\n")


if __name__ == "__main__":
    watch(note)
    main.clock = lambda: datetime.fromisoformat(sys.argv[1])  # type: ignore[attr-defined] # it is there
    if "demo" in sys.argv:
        from keyvault.operations import demo

        demo._SPAN = timedelta(days=3)
    main.main(sys.argv[3:])
