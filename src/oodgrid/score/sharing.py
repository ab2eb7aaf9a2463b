"""Work that several scores ask for is done once: softmax, similarities to the bank, what is estimated from it.

A score is a pure function of arrays and knows nothing of the others, so what they share is remembered here, beside
them, and not handed from one to the next. In ten lines:

1. `_FOUND` maps a call, its function, inputs and parameters, to what it returned.
2. Inputs are told apart by `id`, for hashing an array of a block would cost as much as many scores do.
3. An `id` belongs to one object only while that object lives, so an entry goes when the first of its inputs does:
   `weakref.finalize` takes it out before the number can be given to another. Of a block that is done nothing is left.
4. What is found is never a part of an input (no view of it), which would keep the input alive, and the entry with it.
5. The content behind an `id` must not change either: only inputs that are closed to writing, as `frozen` leaves them,
   are remembered, and what is found is closed too. A plain array, as in a notebook, is computed each time.
6. Blocks are scored on several threads, but each has arrays of its own. What all blocks share, as a bank, is asked for
   by the first block alone (`threads.on_threads`); were two threads to meet, both would compute the same number.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])
_FOUND: dict[tuple, Any] = {}


def shared(function: Function) -> Function:
    """Remember what a function of scores' inputs returns, for as long as those inputs live.

    Positional arguments are arrays, or objects as `Bank` and `Head`; parameters are named. What is returned must not
    hold on to an array that was given (no view of it), and nobody can write into it. Arrays that can be written to
    could change between two calls, so nothing is remembered of them: the stage hands out arrays that cannot.
    """

    @wraps(function)
    def once(*inputs: Any, **params: Any) -> Any:
        if any(isinstance(given, np.ndarray) and given.flags.writeable for given in inputs):
            return function(*inputs, **params)
        key = (function, *map(id, inputs), *sorted(params.items()))
        if key not in _FOUND:
            found = frozen(function(*inputs, **params))
            _FOUND[key] = found
            for given in inputs:
                weakref.finalize(given, _FOUND.pop, key, None)
        return _FOUND[key]

    return once  # type: ignore[return-value]


class shared_property(cached_property):
    """A property of a scores' input that is computed once, and that nobody can write into."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__(wraps(function)(lambda owner: frozen(function(owner))))


def shared_names(kind: type) -> list[str]:
    """Return the names of all that an input of scores, as `Bank`, has to read: its fields and shared properties."""
    properties = [name for name, value in vars(kind).items() if isinstance(value, shared_property) and name[0] != "_"]
    return [field.name for field in fields(kind)] + properties


def frozen(found: Any) -> Any:
    """Return the same closed to writing, for good: arrays, and all of them in tuples, lists, mappings and dataclasses.

    An array that is only marked as closed can be opened again by `setflags(write=True)`; a view of read-only memory
    cannot. Lists become tuples. Dataclasses are closed in place.
    """
    if isinstance(found, np.ndarray):
        return found if _is_closed(found) else np.asarray(memoryview(found).toreadonly())
    if isinstance(found, tuple | list):
        return tuple(map(frozen, found))
    if isinstance(found, dict):
        return {name: frozen(value) for name, value in found.items()}
    if is_dataclass(found):
        vars(found).update({name: frozen(value) for name, value in vars(found).items()})
    return found


def _is_closed(values: np.ndarray) -> bool:
    while isinstance(values.base, np.ndarray):
        values = values.base
    return isinstance(values.base, memoryview) and values.base.readonly
