"""CPU seconds, of this process with its threads and children, and peaks of its memory.

A clock counts what others do meanwhile; CPU time does not, though their work disturbs caches and the memory bus. So
ways are timed in turn, in one process, and each by its quickest run.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def cpu() -> float:
    """Return the CPU seconds that this process, its threads and its ended children have taken so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def timed(way: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of a way, and what it returns."""
    start = cpu()
    made = way()
    return cpu() - start, made


def in_turn(ways: Mapping[str, Callable[[], Any]], rounds: int = 5, enough: float = 4.0) -> dict[str, float]:
    """Return the fewest CPU seconds of each way; they take turns, in other orders, until `enough` seconds are spent."""
    fewest: dict[str, float] = {}
    spent = 0.0
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else list(ways)[::-1]:
            seconds, _ = timed(ways[name])
            fewest[name] = min(seconds, fewest.get(name, seconds))
            spent += seconds
        if spent > enough:
            break
    return fewest


def forget_peak() -> None:
    """Let the peak of memory begin anew."""
    CLEAR.write_text("5")


def peak_mb() -> float:
    """Return the most memory that this process has held since the last `forget_peak`, in MB."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
    return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
