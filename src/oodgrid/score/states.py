"""What a transductive score remembers of a stream between its parts, as arrays, and how it is looked at before use."""

from __future__ import annotations

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError

State = dict[str, np.ndarray]  # what a transductive score remembers of a stream
NO_STATE = "give what the same score with the same classes, texts and parameters left, or an empty dict"


def remembered(state: State | None, score: str, **shapes: tuple[int | None, ...]) -> State:
    """Return what a score remembers of a stream, its arrays of these shapes; nothing where the stream begins.

    Args:
        state: What the score was given.
        score: Its name.
        **shapes: Of each array; None for a length that may be any.

    Raises:
        OodgridError: The state is none of this score with these classes, texts and parameters.
    """
    if not state:
        return {}
    for name, shape in shapes.items():
        values = state.get(name)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim != len(shape):
            raise OodgridError(
                f"{score}: state has no array {name} of {counted(len(shape), 'axis', 'axes')}: {NO_STATE}"
            )
        if any(length not in (None, size) for size, length in zip(values.shape, shape, strict=True)):
            needed = f"({', '.join('any' if each is None else str(each) for each in shape)})"
            raise OodgridError(f"{score}: state has {name} of shape {values.shape}, not {needed}: {NO_STATE}")
    return state
