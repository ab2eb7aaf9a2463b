"""Computes once what several scores need: a softmax, similarities to the bank, what is estimated from the bank.

A score is a pure function of arrays and knows nothing of the others, so results that they share are remembered here
instead of being passed from one to the next:

1. `_RESULTS` maps a call, its function, inputs and parameters, to what it returned.
2. Inputs are told apart by `id`: to hash the array of a block would cost as much as many scores do.
3. An `id` belongs to one object only while that object lives, so an entry goes when the first of its inputs does:
   `weakref.finalize` removes it before Python can reuse the number. Nothing remains of a block that is done.
4. A result is never a view of an input: that would keep the input alive, and with it the entry.
5. The content behind an `id` must not change either: only inputs that are closed to writing, as `frozen` leaves them,
   are remembered, and results are closed too. For a plain array, as in a notebook, results are computed each time.
6. Blocks are scored on several threads, but each has arrays of its own. What all blocks share, as a bank, is used
   by the first block alone (`threads.on_threads`); if two threads meet nevertheless, both compute the same numbers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")
_RESULTS: dict[tuple, Any] = {}


def shared(function: Callable[..., Result]) -> Callable[..., Result]:
    """Remember what a function of scores' inputs returns, for as long as those inputs live.

    Positional arguments are arrays, or objects as `Bank` and `Head`; parameters are named. What the function returns is
    no view of an input, and is closed to writing. Of arrays that can be written to nothing is remembered, since they
    could change between two calls; the stage hands out arrays that cannot.
    """

    @wraps(function)
    def once(*inputs: Any, **params: Any) -> Any:
        if any(isinstance(value, np.ndarray) and value.flags.writeable for value in inputs):
            return function(*inputs, **params)
        key = (function, *map(id, inputs), *sorted(params.items()))
        if key not in _RESULTS:
            _RESULTS[key] = frozen(function(*inputs, **params))
            for value in inputs:
                weakref.finalize(value, _RESULTS.pop, key, None)
        return _RESULTS[key]

    return once


class shared_property(cached_property):
    """A property of a scores' input that is computed once and closed to writing."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__(wraps(function)(lambda owner: frozen(function(owner))))


def shared_names(kind: type) -> list[str]:
    """Return the names of what can be read of an input of scores, as `Bank`: its fields and shared properties."""
    properties = [name for name, value in vars(kind).items() if isinstance(value, shared_property) and name[0] != "_"]
    return [field.name for field in fields(kind)] + properties


def frozen(value: Any) -> Any:
    """Return a value whose arrays are closed to writing, also those in tuples, lists, mappings and dataclasses.

    They are views of read-only memory: an array that is only marked as closed can be opened again by
    `setflags(write=True)`. Lists become tuples. Dataclasses are closed in place.
    """
    if isinstance(value, np.ndarray):
        return value if _is_closed(value) else np.asarray(value.data.toreadonly())
    if isinstance(value, tuple | list):
        return tuple(map(frozen, value))
    if isinstance(value, dict):
        return {name: frozen(each) for name, each in value.items()}
    if is_dataclass(value):
        vars(value).update({name: frozen(each) for name, each in vars(value).items()})
    return value


def _is_closed(values: np.ndarray) -> bool:
    while isinstance(values.base, np.ndarray):
        values = values.base
    return isinstance(values.base, memoryview) and values.base.readonly
