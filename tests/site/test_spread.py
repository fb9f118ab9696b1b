"""Work that is spread over cores: the order of results, errors, and no leftovers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keyvault import spread as module
from keyvault.errors import LeakError, RenderError
from keyvault.operations.site import default_templates
from keyvault.site import build as build_module
from keyvault.site.build import build
from keyvault.site.pages import Templates
from keyvault.spread import MIN_ITEMS_FOR_WORKERS, spread
from tests.errors import fails
from tests.golden.cases import CASES, load, rendered, stored
from tests.site.spread_work import Killed, Noting, environment, failing, printing, process, twice

MANY = list(range(20))


@pytest.fixture(params=[1, 2, 5])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pretend that the machine has this many cores."""
    monkeypatch.setattr(module, "_cores", lambda: request.param)
    count: int = request.param
    return count


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The worker processes that were started, running or ended."""
    started: list[subprocess.Popen[bytes]] = []
    start = module._start_worker

    def noting(work: object) -> subprocess.Popen[bytes]:
        started.append(start(work))
        return started[-1]

    monkeypatch.setattr(module, "_start_worker", noting)
    return started


@pytest.mark.parametrize(
    "count", [0, 1, MIN_ITEMS_FOR_WORKERS - 1, MIN_ITEMS_FOR_WORKERS, MIN_ITEMS_FOR_WORKERS + 1, len(MANY)]
)
def test_results_come_in_order(cores: int, count: int) -> None:
    """With any number of cores and items, the results are the same, in the same order."""
    assert list(spread(twice, MANY[:count])) == [result for item in MANY[:count] for result in (item, item * 2)]


def test_work_is_done_in_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With three cores, three other processes work; little work is done in this process."""
    monkeypatch.setattr(module, "_cores", lambda: 3)
    by = set(spread(process, MANY))

    assert len(by) == 3
    assert os.getpid() not in by
    assert set(spread(process, MANY[: MIN_ITEMS_FOR_WORKERS - 1])) == {os.getpid()}


def test_no_more_workers_than_work(monkeypatch: pytest.MonkeyPatch, workers: list[subprocess.Popen[bytes]]) -> None:
    """A machine with many cores starts no worker process without work."""
    monkeypatch.setattr(module, "_cores", lambda: 64)

    assert len(set(spread(process, MANY[: MIN_ITEMS_FOR_WORKERS + 1]))) == len(workers) == MIN_ITEMS_FOR_WORKERS + 1


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (sys, "executable", ""),
        (sys, "frozen", True),
        (module, "_BOOT", "raise SystemExit(1)"),
        (module, "_BOOT", "import sys; sys.stdin.buffer.read(1); raise SystemExit(1)"),
    ],
)
def test_without_worker_processes(
    owner: object, name: str, value: object, monkeypatch: pytest.MonkeyPatch, workers: list[subprocess.Popen[bytes]]
) -> None:
    """If Python is embedded, or cannot be started again, all work is done in this process."""
    monkeypatch.setattr(module, "_cores", lambda: 3)
    monkeypatch.setattr(owner, name, value, raising=False)

    assert set(spread(process, MANY)) == {os.getpid()}
    assert all(worker.returncode is not None for worker in workers)


def test_a_worker_runs_nothing_of_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers load no modules from the current folder, whatever their names."""
    monkeypatch.setattr(module, "_cores", lambda: 2)
    monkeypatch.chdir(tmp_path)
    for name in ("pickle", "signal", "sitecustomize", "jinja2"):
        (tmp_path / f"{name}.py").write_text("import pathlib\npathlib.Path('loaded').touch()\n")
    monkeypatch.setattr(sys, "path", ["", *sys.path])

    assert len(list(spread(twice, MANY))) == 2 * len(MANY)
    assert not (tmp_path / "loaded").exists()


def test_a_worker_gets_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Identities and passphrases are not in the environment of a worker."""
    monkeypatch.setattr(module, "_cores", lambda: 2)
    monkeypatch.setenv("KEYVAULT_IDENTITY", "a canary")
    monkeypatch.setenv("KEYVAULT_PASSPHRASE", "a canary")

    for environ in spread(environment, MANY):
        assert "a canary" not in environ.values()


def test_printed_text_is_no_result(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Results go through stdout, so a worker prints nothing there."""
    monkeypatch.setattr(module, "_cores", lambda: 2)

    assert list(spread(printing, MANY)) == MANY
    assert capfd.readouterr() == ("", "")


def test_an_error_comes_where_it_happened(cores: int, workers: list[subprocess.Popen[bytes]]) -> None:
    """Earlier results are yielded; then the error is raised with its message, code and hint."""
    results = spread(failing, MANY)
    before = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]

    assert [next(results) for _ in before] == before
    with fails("a-code", LeakError) as caught:
        next(results)
    assert (caught.value.message, caught.value.hint) == ("x.json contains it", "look")
    assert all(worker.returncode is not None for worker in workers)


def test_a_worker_that_is_killed_is_an_error(
    monkeypatch: pytest.MonkeyPatch, workers: list[subprocess.Popen[bytes]]
) -> None:
    """If the kernel kills a worker for lack of memory, the result is an error, never an incomplete site."""
    monkeypatch.setattr(module, "_cores", lambda: 2)

    with fails("worker-killed", RenderError):
        list(spread(Killed(os.getpid()), MANY))
    assert len(workers) == 2
    assert all(worker.returncode is not None for worker in workers)


def test_no_worker_is_left_after_an_early_stop(
    monkeypatch: pytest.MonkeyPatch, workers: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """A render that fails halfway, or is interrupted, ends its workers."""
    monkeypatch.setattr(module, "_cores", lambda: 2)
    # More than a pipe holds: neither worker can be done before its results are read.
    results = spread(Noting(tmp_path), MANY)
    next(results)
    assert [worker.poll() for worker in workers] == [None, None]
    results.close()
    assert all(worker.returncode is not None for worker in workers)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker waits until its results are read: it does not run ahead."""
    monkeypatch.setattr(module, "_cores", lambda: 2)
    results = spread(Noting(tmp_path), MANY)
    next(results)
    for _ in range(20):
        time.sleep(0.02)
    # Per worker: one item is being read, and the results of another wait in the pipe.
    assert len(list(tmp_path.iterdir())) <= 4
    assert len(list(results)) == len(MANY) - 1


@pytest.mark.parametrize("case", CASES)
def test_a_site_is_the_same_on_any_number_of_cores(case: str, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site is the same, byte for byte, even if each set is a separate part."""
    monkeypatch.setattr(build_module, "SETS_PER_PART", 1)
    monkeypatch.setattr(module, "MIN_ITEMS_FOR_WORKERS", 1)

    assert rendered(case) == stored(case)


def test_private_material_in_a_page_of_a_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leak check runs in the worker processes, too."""
    monkeypatch.setattr(build_module, "SETS_PER_PART", 1)
    monkeypatch.setattr(module, "MIN_ITEMS_FOR_WORKERS", 1)
    monkeypatch.setattr(module, "_cores", lambda: 2)
    ours = default_templates()
    templates = Templates(ours, {"key.html": ours["key.html"].replace(b"Fingerprints", b"-----BEGIN PRIVATE KEY-----")})

    with fails("site-private-key", LeakError) as caught:
        list(build(*load("two-years"), templates))
    assert "keys/" in caught.value.message
