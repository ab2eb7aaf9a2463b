"""Work that several scores ask for is done once: softmax, similarities to the bank, what is estimated from it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
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


def frozen(found: Any) -> Any:
    """Return the same, its arrays closed to writing."""
    if isinstance(found, np.ndarray):
        found.setflags(write=False)
    elif isinstance(found, tuple):
        for each in found:
            frozen(each)
    return found
