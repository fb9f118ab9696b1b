"""Work that is spread over cores: the order of its results, its errors, and what is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from keyvault.errors import LeakError, RenderError
from keyvault.operations.site import default_templates
from keyvault.site import spread as module
from keyvault.site.build import build
from keyvault.site.pages import Templates
from keyvault.site.spread import CHUNK, spread
from tests.golden.cases import CASES, load, rendered, stored

MANY = list(range(10 * CHUNK + 3))
needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")


@pytest.fixture(params=[1, 2, 5])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many cores, whatever the machine has."""
    monkeypatch.setattr(module, "_cores", lambda: request.param)
    count: int = request.param
    return count


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, len(MANY)])
def test_results_come_in_order(cores: int, count: int) -> None:
    """One core or many, little work or much: the same results in the same order."""
    assert list(spread(lambda item: item * 2, MANY[:count])) == [item * 2 for item in MANY[:count]]


@needs_fork
def test_work_is_done_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """With three cores three processes work, and none of them is this one."""
    monkeypatch.setattr(module, "_cores", lambda: 3)
    by = set(spread(lambda _: os.getpid(), MANY))

    assert len(by) == 3
    assert os.getpid() not in by


def test_an_error_comes_where_it_happened(cores: int) -> None:
    """What was made before it is yielded; then it is raised with its message, its hint and its exit code."""

    def work(item: int) -> int:
        if item == 2 * CHUNK + 5:
            raise LeakError("x.json holds it", hint="look")
        return item

    results = spread(work, MANY)
    before = MANY[: 2 * CHUNK + 5]

    assert [next(results) for _ in before] == before
    with pytest.raises(LeakError, match="holds it") as caught:
        next(results)
    assert (caught.value.message, caught.value.hint) == ("x.json holds it", "look")
    assert multiprocessing.active_children() == []


@needs_fork
def test_a_worker_that_is_killed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may kill a worker for want of memory: that is an error, never a site with less in it."""
    monkeypatch.setattr(module, "_cores", lambda: 2)
    me = os.getpid()

    def work(item: int) -> int:
        if item == 3 * CHUNK and os.getpid() != me:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(RenderError, match="worker"):
        list(spread(work, MANY))
    assert multiprocessing.active_children() == []


@needs_fork
def test_who_stops_early_leaves_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A render that fails halfway, or is interrupted, ends its workers."""
    monkeypatch.setattr(module, "_cores", lambda: 2)
    # More than a pipe holds: neither worker can be done before its results are read.
    results = spread(lambda _: bytes(20_000), MANY)
    next(results)
    assert len(multiprocessing.active_children()) == 2
    results.close()  # type: ignore[attr-defined]  # a generator, called an iterator
    assert multiprocessing.active_children() == []


@needs_fork
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker waits until its chunk is taken: it does not run ahead of whoever writes."""
    monkeypatch.setattr(module, "_cores", lambda: 2)

    def work(item: int) -> bytes:
        (tmp_path / str(item)).touch()
        return bytes(20_000)

    results = spread(work, MANY)
    next(results)
    for _ in range(20):
        time.sleep(0.02)
    # Per worker: one chunk taken or in the pipe, and one that waits to be sent.
    assert len(list(tmp_path.iterdir())) <= 4 * CHUNK
    assert len(list(results)) == len(MANY) - 1


@pytest.mark.parametrize("case", CASES)
def test_a_site_is_the_same_on_any_number_of_cores(case: str, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, and path by path; here each set is a chunk of its own."""
    monkeypatch.setattr(module, "CHUNK", 1)

    assert rendered(case) == stored(case)


@needs_fork
def test_private_material_in_a_page_of_a_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second wall stands in the workers, too."""
    monkeypatch.setattr(module, "CHUNK", 1)
    monkeypatch.setattr(module, "_cores", lambda: 2)
    ours = default_templates()
    templates = Templates(ours, {"key.html": ours["key.html"].replace(b"Life", b"-----BEGIN PRIVATE KEY-----")})

    with pytest.raises(LeakError, match=r"keys/.* holds a PEM block"):
        list(build(*load("two-years"), templates))
