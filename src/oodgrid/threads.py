"""Work in parallel on the threads of a job, as many as Snakemake gives it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield the results of a function of each item, in the order of the items.

    As many run at once as the job has threads (`OMP_NUM_THREADS`, which Snakemake sets), and no item is taken before
    there is a thread for it, so that few are in memory at once. NumPy and polars release Python's lock while they work.
    """
    variable = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)
    threads = int(variable.split(",")[0])  # "4,2" gives nested regions 2
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
