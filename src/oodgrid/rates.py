"""What work took on this machine, a line a job in results/kept/rates.jsonl, from which costs are estimated."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oodgrid import paths

MOST_BYTES = 10_000_000  # of the file that are read: the newest lines


@dataclass
class Work:
    """What one job did.

    Attributes:
        stage: Its kind, as "fit".
        what: The backbone or method that did it; "" where neither decides the time.
        where: Backbone and dataset.
        units: How many images, fits, rows or files; 0 until it is known.
        bytes: What it left on the disk.
        cpu: Seconds of CPU, of all threads, with the start of the process.
        wall: Seconds by the clock.
        peak: MB of memory that the process held at most.
        host: The machine.
    """

    stage: str
    what: str
    where: str
    units: int = 0
    bytes: int = 0
    cpu: float = 0.0
    wall: float = 0.0
    peak: int = 0
    host: str = ""


class Spent(NamedTuple):
    """What some work takes: seconds of CPU, seconds by the clock of one job after the other, bytes on the disk."""

    cpu: float = 0.0
    wall: float = 0.0
    bytes: float = 0.0


_measured_before = 0.0  # CPU seconds of this process that are in a line already; the first line has those of its start


@contextmanager
def measured(results: Path, stage: str, what: str, where: str) -> Iterator[Work]:
    """Measure a block that sets `units` and `bytes` of the work that it is given, and add it to the file.

    A block that fails adds nothing, and a disk that takes no line is no reason to fail.
    """
    global _measured_before
    work, start = Work(stage, what, where, host=socket.gethostname()), time.monotonic()
    yield work
    total = time.process_time()
    work.peak = _peak()
    work.cpu, work.wall, _measured_before = total - _measured_before, time.monotonic() - start, total
    if work.units:
        line = json.dumps(asdict(work)) + "\n"
        path = paths.rates(results)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:  # one write of a short line: jobs side by side mix none
                file.write(line)


def _peak() -> int:
    """Return the MB of memory that this process held at most; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)


def read(results: Path) -> list[Work]:
    """Return what was measured on this machine; lines that a kill cut off are passed over."""
    try:
        with paths.rates(results).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return []
    works = []
    for line in lines:
        with suppress(ValueError, TypeError):
            works.append(Work(**json.loads(line)))
    return [work for work in works if work.host == socket.gethostname() and work.units]


def estimate(works: list[Work], stage: str, what: str, where: str, units: int) -> Spent | None:
    """Return what work will take, by the same done here; None where it never was.

    Done in the same place, it took so much a unit. From other places comes a line through what it took there: a job's
    start, and so much a unit.
    """
    largest: dict[str, Work] = {}  # in each place: work that was found rather than done took less
    for work in works:
        if (work.stage, work.what) == (stage, what):
            largest[work.where] = max(largest.get(work.where, work), work, key=lambda each: each.cpu / each.units)
    known = [largest[where]] if where in largest else list(largest.values())
    if not known:
        return None
    return Spent(*(_line(known, [getattr(work, each) for work in known], units) for each in ("cpu", "wall", "bytes")))


def _line(works: list[Work], took: list[float], units: int) -> float:
    """Return what `units` take, by a line through what some works took; it neither falls nor begins below 0."""
    x, y = np.array([work.units for work in works], float), np.array(took, float)
    if len(np.unique(x)) > 1:
        slope, start = np.polyfit(x, y, 1)
        if min(slope, start) > -1e-9 * y.max():  # what rounding leaves of 0
            return float(max(start, 0) + max(slope, 0) * units)
    return float(y.sum() / x.sum() * units)
