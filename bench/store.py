"""
Run SeaweedFS as the tests do: `python bench/store.py FOLDER`.

Tells in one line of JSON what publishers need in their environment, and ends when its stdin does.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.publish.servers import BUCKET, seaweedfs


def main() -> None:
    """Run it until stdin ends."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder, seaweedfs(Path(folder)) as store:
        print(json.dumps({**store.environ, "BUCKET": BUCKET}), flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
