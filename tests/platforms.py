"""
The tests that a system other than Linux cannot run, with the reasons. The slow tests run on Linux only.

Each system has a table from the beginning of a test's id to the reason for skipping it. If a test needs something that
any system may lack, such as a device, the test itself checks for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_MODES = "files have no modes there, only a mark that they are read-only"
_SHELL = "there is no sh"

_WINDOWS: Mapping[str, str] = {
    "tests/bench/": "the benchmark reads the process statistics of a Unix kernel",
    "tests/ci/": "workflows run on Linux, and bash plays them",
    "tests/docs/": "the pages show a shell on Linux",
    "tests/interop/": "the foreign programs come from a Linux distribution",
    "tests/site/browser/": "the browser comes from a Linux distribution",
    "tests/cli/test_errors.py::test_a_terminal_that_lacks_letters": _SHELL,
    "tests/cli/test_errors.py::test_closed_streams": _SHELL,
    "tests/cli/test_errors.py::test_whoever_reads_has_left": _SHELL,
    "tests/cli/test_init.py::test_the_identity": _MODES,
    "tests/cli/test_recipients.py::test_new_identity": _MODES,
    "tests/cli/test_private_files.py": _MODES,
    "tests/cli/test_reports.py::test_export": _MODES,
    "tests/cli/test_exchange.py": _MODES,
    "tests/cli/test_revisions.py": "its git is a script with #!/bin/sh, which does not run there",
    "tests/crypto/test_identities.py::test_a_pipe_is_read": "there is no /dev/fd",
    "tests/crypto/test_identities.py::test_a_path_that_is_not_a_file": "there is no /dev, and the message for a folder differs",
    "tests/crypto/test_identities.py::test_an_identity_file_is_its_owners_alone": _MODES,
    "tests/publish/test_folder.py::test_modes_are_those_of_a_public_site": _MODES,
    "tests/publish/test_folder.py::test_special_file_is_refused": "there are no named pipes in folders",
    "tests/publish/test_preview.py": "a test cannot send Ctrl-C there",
    "tests/repo/test_hostile.py": "its traps are scripts with #!/bin/sh, which do not run there",
    "tests/repo/test_push.py::test_files_of_every_kind_come_along": _MODES,
    "tests/repo/test_read.py::test_a_read_only_repository": _MODES,
    "tests/repo/test_signatures.py": "scripts with #!/bin/sh run the programs that sign",
    "tests/site/test_determinism.py::test_umask_changes_neither_bytes_nor_modes": _MODES,
}

_MACOS: Mapping[str, str] = {
    "tests/ci/test_play.py": "workflows run on Linux; the bash of macOS is from 2007",
    "tests/site/browser/": "the browser comes from a Linux distribution",
}

_LACKING: Mapping[str, Mapping[str, str]] = {"win32": _WINDOWS, "darwin": _MACOS}


def reason_to_skip(test: str, platform: str = sys.platform) -> str | None:
    """Return why *platform* cannot run the test with the id *test*, or None if it can."""
    return next((why for start, why in _LACKING.get(platform, {}).items() if test.startswith(start)), None)


def needed_variables(folder: Path) -> dict[str, str]:
    """Return the environment variables that programs need beside PATH; *folder* is the user's home."""
    if sys.platform != "win32":
        return {}
    # Without the first, Windows starts no program that opens a socket or draws a random number.
    kept = {name: os.environ[name] for name in ("SYSTEMROOT", "COMSPEC", "PATHEXT") if name in os.environ}
    return {**kept, "USERPROFILE": str(folder), "TEMP": str(folder), "TMP": str(folder)}
