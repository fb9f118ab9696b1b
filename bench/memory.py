"""
Sample the memory that a process and all its children use together.

Linux reports the proportional set (PSS) of each process: its own pages, and its share of each shared page. So the sum
over a tree of processes counts every page once, including those that forked workers share with their parent. The sum
is sampled while the tree runs; peaks between two samples are missed. Other systems report no PSS, so nothing is
sampled there.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

_PROC = Path("/proc")
#: The minimum pause between two samples in seconds, and the pause as a multiple of a sample's duration: sampling stops
#: the sampled process.
_PAUSE, _SHARE = 0.005, 4


class Watch(threading.Thread):
    """Samples the tree below a process until `end` is called."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._most, self._over = pid, 0, threading.Event()
        self.start()

    def run(self) -> None:
        """Sample and pause until `end` is called."""
        while not self._over.is_set():
            begun = time.perf_counter()
            held = list(map(_proportional, _tree(self._pid)))
            # A child before its exec still has its parent's memory, and so the same number: do not count it twice.
            self._most = max(self._most, held[0] + sum(size for size in held[1:] if size != held[0]))
            self._over.wait(max(_PAUSE, _SHARE * (time.perf_counter() - begun)))

    def end(self) -> float | None:
        """Stop sampling, and return the largest sum in MiB; None if there was no sample."""
        self._over.set()
        self.join()
        return self._most / 1024 if self._most else None


def _tree(pid: int) -> list[int]:
    """Return *pid* and all its descendants."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            # The program's name, in brackets, may contain spaces; state and parent follow it.
            parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
        except (OSError, IndexError):  # it has ended
            continue
        children.setdefault(int(parent), []).append(int(folder.name))
    found = [pid]
    for process in found:  # grows during the loop
        found += children.get(process, [])
    return found


def _proportional(pid: int) -> int:
    """Return the proportional set of *pid* in KiB; 0 if it has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
