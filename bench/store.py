"""
Run SeaweedFS as the tests do: `python bench/store.py FOLDER`.

Prints the environment for publishers as a line of JSON, and ends at the end of its stdin.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.publish.servers import BUCKET, seaweedfs


def main() -> None:
    """Run SeaweedFS until stdin ends."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder, seaweedfs(Path(folder)) as store:
        print(json.dumps({**store.environ, "BUCKET": BUCKET}), flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
