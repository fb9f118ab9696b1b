"""
Watch how much memory a process and all its children hold together.

On Linux each process tells its proportional set (PSS): its own pages, and of each page that it shares its part of
it. So the sum over a tree of processes counts every page once, those included that forked workers share with their
parent. The sum is taken again and again while the tree runs; what is held for less time than lies between two looks
is not seen. Other systems do not log, and nothing is watched there.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

_PROC = Path("/proc")
#: Seconds between two looks at the least, and how many times longer than a look the pause after it is: a look stops
#: the process that it looks at.
_PAUSE, _SHARE = 0.005, 4


class Watch(threading.Thread):
    """Looks at the tree below one process until `end` is called."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._most, self._over = pid, 0, threading.Event()
        self.start()

    def run(self) -> None:
        """Look, and pause, until it is over."""
        while not self._over.is_set():
            begun = time.perf_counter()
            held = list(map(_proportional, _tree(self._pid)))
            # A child that has not begun its own program yet has the memory of its parent: it tells the same number.
            self._most = max(self._most, held[0] + sum(one for one in held[1:] if one != held[0]))
            self._over.wait(max(_PAUSE, _SHARE * (time.perf_counter() - begun)))

    def end(self) -> float | None:
        """Stop looking, and return the largest sum in MiB; None where nothing was seen."""
        self._over.set()
        self.join()
        return self._most / 1024 if self._most else None


def _tree(pid: int) -> list[int]:
    """Return *pid* and all that it has started, directly or not."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            # The name of the program, in brackets, may hold blanks; state and parent come behind it.
            parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
        except (OSError, IndexError):  # it has ended
            continue
        children.setdefault(int(parent), []).append(int(folder.name))
    found = [pid]
    for one in found:  # grows while it is walked through
        found += children.get(one, [])
    return found


def _proportional(pid: int) -> int:
    """Return the proportional set of *pid* in KiB; 0 where it has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
