"""What a transductive score remembers of a stream between its parts, as arrays, and how it is looked at before use."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError

State = dict[str, np.ndarray]  # what a transductive score remembers of a stream
IDENTITY = "identity"  # of the texts and parameters with which a state was left
NO_STATE = "give what the same score with the same classes, texts and parameters left, or an empty dict"
DIGITS = 4  # of embeddings in an identity: the same texts on another machine differ in the last digits of floats


def identity(state: State | None, *texts: np.ndarray, **params: Any) -> State:
    """Return what says of a state with which texts and parameters it was left: one array, `identity`, shape (32,).

    Nothing where no state is kept.

    Args:
        state: What the score was given.
        *texts: Their embeddings, each of shape (M, D).
        **params: The parameters that decide what is remembered.
    """
    if state is None:
        return {}
    digest = hashlib.sha256(repr(sorted(params.items())).encode())
    for each in texts:
        digest.update(repr(each.shape).encode())
        digest.update(np.rint(each * 10**DIGITS).astype("<i4").tobytes())
    return {IDENTITY: np.frombuffer(digest.digest(), dtype=np.uint8).copy()}


def remembered(state: State | None, score: str, of: State, **shapes: tuple[int | None, ...]) -> State:
    """Return what a score remembers of a stream, its arrays of these shapes; nothing where the stream begins.

    Args:
        state: What the score was given.
        score: Its name.
        of: The `identity` that the state is to have.
        **shapes: Of each array; None for a length that may be any.

    Raises:
        OodgridError: The state is none of this score with these classes, texts and parameters.
    """
    if not state:
        return {}
    for name, shape in (shapes | {IDENTITY: (len(of[IDENTITY]),)}).items():
        values = state.get(name)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim != len(shape):
            raise OodgridError(
                f"{score}: state has no array {name} of {counted(len(shape), 'axis', 'axes')}: {NO_STATE}"
            )
        if any(length not in (None, size) for size, length in zip(values.shape, shape, strict=True)):
            needed = f"({', '.join('any' if each is None else str(each) for each in shape)})"
            raise OodgridError(f"{score}: state has {name} of shape {values.shape}, not {needed}: {NO_STATE}")
    if not np.array_equal(state[IDENTITY], of[IDENTITY]):
        raise OodgridError(f"{score}: state was left with other classes, texts or parameters: {NO_STATE}")
    return state
