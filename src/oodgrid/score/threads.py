"""Blocks of samples on all threads of a job: NumPy's own work on each block is that of one thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

Made = TypeVar("Made")


def on_threads(function: Callable[[Any], Made], blocks: Iterable[Any]) -> Iterator[Made]:
    """Yield what a function makes of each block, in their order.

    The first block is done alone, so that what is learned of the shots is learned once. Then there are as many
    blocks under way as the job has threads (`OMP_NUM_THREADS`), each with matrix products of one thread: numbers
    do not depend on how many there are.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    waiting: deque[Future] = deque()
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for number, block in enumerate(blocks):
            if number == 0:
                yield function(block)
                continue
            waiting.append(pool.submit(function, block))
            if len(waiting) >= threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
