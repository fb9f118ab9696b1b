"""
What a system other than Linux lacks, and which tests that leaves out. The slow tests run on Linux only.

One table for each system: the beginning of a test's id, and why it is skipped there. What differs in one test only,
such as a device that a system may have, is asked for by the test itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_MODES = "files have no modes there, only a mark that they are read-only"
_SHELL = "there is no sh"

_WINDOWS: Mapping[str, str] = {
    "tests/bench/": "the benchmark goes by what a Unix kernel says of processes",
    "tests/ci/": "workflows run on Linux, and are played by bash",
    "tests/docs/": "the pages show a shell on Linux",
    "tests/interop/": "the foreign programs are those of a Linux distribution",
    "tests/site/browser/": "the browser is that of a Linux distribution",
    "tests/cli/test_errors.py::test_a_terminal_that_lacks_letters": _SHELL,
    "tests/cli/test_errors.py::test_closed_streams": _SHELL,
    "tests/cli/test_errors.py::test_whoever_reads_has_left": _SHELL,
    "tests/cli/test_init.py::test_the_identity": _MODES,
    "tests/cli/test_recipients.py::test_new_identity": _MODES,
    "tests/cli/test_private_files.py": _MODES,
    "tests/cli/test_reports.py::test_export": _MODES,
    "tests/cli/test_exchange.py": _MODES,
    "tests/cli/test_revisions.py": "its git is a program with #!/bin/sh, which does not run there",
    "tests/crypto/test_identities.py::test_a_pipe_is_read": "there is no /dev/fd",
    "tests/crypto/test_identities.py::test_a_place_that_is_no_file": "there is no /dev, and a folder is refused in other words",
    "tests/crypto/test_identities.py::test_an_identity_file_is_its_owners_alone": _MODES,
    "tests/publish/test_folder.py::test_modes_are_those_of_a_public_site": _MODES,
    "tests/publish/test_folder.py::test_special_file_is_refused": "there are no named pipes in folders",
    "tests/publish/test_preview.py": "Ctrl-C is no signal that a test can send there",
    "tests/repo/test_hostile.py": "its traps are programs with #!/bin/sh, which do not run there",
    "tests/repo/test_push.py::test_files_of_every_kind_come_along": _MODES,
    "tests/repo/test_read.py::test_a_read_only_repository": _MODES,
    "tests/repo/test_signatures.py": "what signs there is run by scripts with #!/bin/sh",
    "tests/site/test_determinism.py::test_umask_changes_neither_bytes_nor_modes": _MODES,
}

_MACOS: Mapping[str, str] = {
    "tests/ci/test_play.py": "workflows run on Linux; the bash there is of 2007",
    "tests/site/browser/": "the browser is that of a Linux distribution",
}

_LACKING: Mapping[str, Mapping[str, str]] = {"win32": _WINDOWS, "darwin": _MACOS}


def reason_to_skip(test: str, platform: str = sys.platform) -> str | None:
    """Return why the test with the id *test* is not run on *platform*, or None."""
    return next((why for start, why in _LACKING.get(platform, {}).items() if test.startswith(start)), None)


def needed_variables(folder: Path) -> dict[str, str]:
    """Return what programs need in their environment beside a PATH; *folder* is the home of whoever runs them."""
    if sys.platform != "win32":
        return {}
    # Without the first, Windows starts no program that opens a socket or draws a random number.
    kept = {name: os.environ[name] for name in ("SYSTEMROOT", "COMSPEC", "PATHEXT") if name in os.environ}
    return {**kept, "USERPROFILE": str(folder), "TEMP": str(folder), "TMP": str(folder)}
