"""Blocks of samples on all threads of a job: NumPy's own work on each block is that of one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from oodgrid.threads import side_by_side

Made = TypeVar("Made")


def on_threads(function: Callable[[Any], Made], blocks: Iterable[Any]) -> Iterator[Made]:
    """Yield what a function makes of each block, in their order.

    The first block is done alone, so that what is learned of the shots is learned once. Of the others as many are under
    way as the job has threads, each with matrix products of one thread: numbers do not depend on how many there are.
    """
    rest = iter(blocks)
    with threadpool_limits(1, user_api="blas"):
        yield from map(function, islice(rest, 1))
        yield from side_by_side(function, rest)
