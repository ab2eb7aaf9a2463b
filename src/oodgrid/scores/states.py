"""Files of what a transductive score remembers of a stream, so that it can go on another day."""

from __future__ import annotations

from os import PathLike

import numpy as np

from oodgrid import store
from oodgrid.edge import mapping, path
from oodgrid.errors import OodgridError, brief


def write_state(file: str | PathLike[str], state: dict[str, np.ndarray]) -> None:
    """Write what a score remembers: arrays of numbers, as safetensors.

    >>> import numpy as np, tempfile
    >>> from oodgrid.scores.states import read_state, write_state
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_state(f"{folder}/state.safetensors", {"counts": np.array([3.0, 1.0])})
    ...     read_state(f"{folder}/state.safetensors")
    {'counts': array([3., 1.])}

    Args:
        file: Its path.
        state: The dict that a score was given as `state`.

    Raises:
        OodgridError: It holds something else than arrays of numbers.
    """
    for name, values in mapping(state, "state").items():
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
            raise OodgridError(f"state: {name} is {brief(values)}, and an array of numbers is needed")
    store.write_arrays(path(file), dict(state))


def read_state(file: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Return what `write_state` wrote; nothing in the file is run.

    Raises:
        OodgridError: The file is missing, damaged, or another.
    """
    return store.read_arrays(path(file))[0]
