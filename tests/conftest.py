"""Fixtures of all tests."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import warm
from tests.platforms import reason_to_skip

# The same examples on every machine and in every run: a failure in CI can be reproduced at home.
settings.register_profile(
    "keyvault", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("keyvault")

REPOSITORY = Path(__file__).parent.parent

#: The tests that cover keyvault.core and keyvault.crypto by themselves. Coverage doubles the time of a test, and makes a
#: sweep six times slower, so no other tests are measured.
MEASURED = ("tests/core/", "tests/crypto/", "tests/fuzz/", "tests/vectors/", "tests/cli/test_exchange.py")


#: A folder in memory, and the least free space, in bytes, that tests need to write there instead of to a disk.
MEMORY = Path("/dev/shm")  # noqa: S108  # each test has a folder of its own in it
MEMORY_FREE_MIN = 6 * 1024**3


def temporary_root() -> str | None:
    """
    Return the folder for temporary files, or None for the system's.

    Every commit is flushed to the disk, so on a disk the tests take three times as long. KEYVAULT_TEST_TMP names another
    folder.
    """
    chosen = os.environ.get("KEYVAULT_TEST_TMP")
    if (
        chosen is None
        and MEMORY.is_dir()
        and os.access(MEMORY, os.W_OK)
        and shutil.disk_usage(MEMORY).free >= MEMORY_FREE_MIN
    ):
        return str(MEMORY)
    return chosen


def pytest_configure() -> None:
    """Choose the folder for temporary files, and restore Ctrl-C."""
    if root := temporary_root():
        os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = root
    restore_interrupts()


def restore_interrupts() -> None:
    """Restore Ctrl-C: a shell that starts the tests in the background makes them, and their children, ignore SIGINT."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that this system cannot run, and mark the measured ones."""
    for item in items:
        if item.nodeid.startswith(MEASURED) and not item.get_closest_marker("unmeasured"):
            item.add_marker(pytest.mark.measured)
        if reason := reason_to_skip(item.nodeid):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _warm() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        warm.use_caches(patch)
        yield


@pytest.fixture(scope="session")
def vectors() -> Path:
    """
    Return the folder of published test vectors: Wycheproof, RFC 7520, an example of Ory.

    It is ``shared/vectors`` beside the repository, or the folder that the environment variable KEYVAULT_VECTORS names.
    """
    folder = Path(os.environ.get("KEYVAULT_VECTORS") or REPOSITORY.parent / "shared" / "vectors")
    if not folder.is_dir():
        pytest.skip("no published test vectors: set KEYVAULT_VECTORS to their folder")
    return folder
