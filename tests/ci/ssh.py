"""
A stand-in for ``ssh`` to a forge: the real ssh resolves the options, and a deploy key may push to its own repository.

``FAKE_SSH`` names a file that contains {"known_hosts": LINE, "keys": {PRIVATE KEY: REPOSITORY}, "repositories": {NAME:
FOLDER}}. Git's hooks on the server see the repository of the key as ``FORGE_KEY``.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run git's command on the server."""
    forge = json.loads(Path(os.environ["FAKE_SSH"]).read_text())
    command = arguments[-1]
    real = os.environ["REAL_SSH"]
    listed = subprocess.run([real, "-G", *arguments[:-1]], capture_output=True, text=True, check=True).stdout
    options: dict[str, str] = dict(line.partition(" ")[::2] for line in listed.splitlines())
    wanted = {"user": "git", "hostname": "github.com", "stricthostkeychecking": "true", "batchmode": "yes"}
    wanted |= {"identitiesonly": "yes", "globalknownhostsfile": "none", "identityagent": "none"}
    assert {name: options[name] for name in wanted} == wanted, options
    if forge["known_hosts"] not in Path(options["userknownhostsfile"]).read_text().splitlines():
        print("Host key verification failed.", file=sys.stderr)
        return 255
    key = Path(options["identityfile"])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    allowed = forge["keys"].get(key.read_text().strip())
    program, _, path = command.partition(" ")
    name = path.strip("'").removesuffix(".git")
    assert program in ("git-receive-pack", "git-upload-pack")
    if allowed != name:
        print("ERROR: Repository not found.", file=sys.stderr)
        return 1
    environ = {"PATH": os.environ["PATH"], "FORGE_KEY": name}
    return subprocess.run(["git", program.removeprefix("git-"), forge["repositories"][name]], env=environ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
