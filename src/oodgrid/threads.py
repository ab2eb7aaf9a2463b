"""The CPUs and threads that a job may use, and work on all of them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from oodgrid import environment

Item = TypeVar("Item")
Result = TypeVar("Result")


def cpus() -> int:
    """Return how many CPUs of this machine the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def of_job(otherwise: int) -> int:
    """Return how many threads the job has, by `OMP_NUM_THREADS`, which Snakemake sets; another number without."""
    return environment.whole_number("OMP_NUM_THREADS", otherwise)


def side_by_side(
    function: Callable[[Item], Result], items: Iterable[Item], most: int | None = None
) -> Iterator[Result]:
    """Yield the results of a function of each item, in the order of the items.

    As many run at once as the job has threads, at most `most`, and no item is taken before there is a thread for it, so
    that few are in memory at once. NumPy and polars release Python's lock while they work.
    """
    threads = of_job(os.cpu_count() or 1)
    threads = threads if most is None else min(threads, most)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
