"""Scores blocks of samples on all threads of a job, each block on one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from threadpoolctl import threadpool_limits

from oodgrid.threads import side_by_side

Block = TypeVar("Block")
Result = TypeVar("Result")
AHEAD = 4  # batches of a stream at most that wait for their turn: each has its cosines with all texts


def on_threads(
    function: Callable[[Block], Result], blocks: Iterable[Block], most: int | None = None
) -> Iterator[Result]:
    """Yield what a function returns for each block, in their order.

    The first block is done alone, so that what scores estimate from the shots is computed once (`sharing`). After it,
    as many blocks are under way as the job has threads, at most `most`. Within a block BLAS has one thread: two would
    sum in another order, and numbers must not depend on how many threads a job has.
    """
    rest = iter(blocks)
    with threadpool_limits(1, user_api="blas"):
        yield from map(function, islice(rest, 1))
        yield from side_by_side(function, rest, most)
