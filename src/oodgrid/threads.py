"""The threads of a job: as many as Snakemake says, on which pieces of its work are done side by side."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def side_by_side(function: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """Yield what a function makes of each item, in their order.

    As many are under way as the job has threads (`OMP_NUM_THREADS`, which Snakemake sets), and no item is taken before
    there is a thread for it, so that few are in memory at once. NumPy and polars let other threads run meanwhile.
    """
    given = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)
    threads = int(given.split(",")[0])  # "4,2" where nested regions have numbers of their own
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
