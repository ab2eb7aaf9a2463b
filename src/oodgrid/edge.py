"""Checks arrays from outside the package where they come in, so that nothing inside has to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Signature
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from oodgrid.counts import counted, plural
from oodgrid.errors import OodgridError, brief, one_line, unknown

Result = TypeVar("Result")
LARGEST = float(np.finfo(np.float32).max)


class WrongCall(OodgridError, TypeError):
    """A function was called with arguments that it does not have, or without those that it needs."""


def bound(signature: Signature, what: str, positional: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by their names.

    Args:
        signature: Of the function.
        what: Its name, for messages.
        positional: Arguments of the call.
        named: Likewise.

    Raises:
        WrongCall: They do not fit the signature; the message names the argument.
    """
    if stranger := next((name for name in named if name not in signature.parameters), None):
        raise WrongCall(str(unknown(f"argument of {what}", stranger, signature.parameters)))
    try:
        return dict(signature.bind(*positional, **named).arguments)
    except TypeError as error:
        raise WrongCall(f"{what}: {error}; its arguments are {', '.join(signature.parameters)}") from None


def whole_number(value: Any, name: str, least: int = 0) -> int:
    """Return a whole number from `least` on.

    Raises:
        OodgridError: It is none.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or not least <= value < 2**63:
        raise OodgridError(
            f"{name} = {brief(value)}: a whole number {f'above {least - 1}' if least else 'from 0 on'} is needed"
        )
    return int(value)


def path(value: Any, name: str = "a file") -> Path:
    """Return the path of a file.

    Raises:
        OodgridError: It is neither a text nor a path.
    """
    try:
        return Path(value)
    except TypeError:
        raise OodgridError(f"{name} is given by its path, not by {brief(value)}") from None


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Return a mapping of names to something.

    Raises:
        OodgridError: It is none, or a name is no text.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise OodgridError(f"{name}: a mapping of names to them is needed, as {{'mcm': …}}, not {brief(value)}")
    return value


def numbers(value: Any, name: str, shape: str) -> np.ndarray:
    """Return real, finite numbers as float64.

    Args:
        value: An array, a list, a data frame or a tensor on the CPU.
        name: Of the argument, for the message.
        shape: A letter for each axis, as "NK" for (N, K).

    Raises:
        OodgridError: It is no such array, or an axis is empty; the message names the argument and what it is.
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # a ragged list, a tensor on a GPU: libraries fail in their own ways
        raise OodgridError(f"{name}: cannot be read as an array ({one_line(error)})") from error
    if np.ma.isMaskedArray(value):
        raise OodgridError(f"{name}: a masked array of shape {array.shape}: leave the masked samples out")
    if array.dtype.kind not in "fiu":
        raise OodgridError(f"{name}: type {array.dtype} where integers or floats are needed")
    if array.ndim != len(shape):
        raise OodgridError(f"{name}: shape {array.shape} where {_written(shape)} is needed")
    if not array.size:
        raise OodgridError(f"{name}: shape {array.shape} holds nothing: at least one sample is needed")
    array = array.astype(np.float64, copy=False)
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(np.argwhere(bad)[0].tolist())
        place = first[0] if len(first) == 1 else first
        raise OodgridError(
            f"{name}: {bad.sum():,} of {counted(array.size, 'number')} {plural(bad.sum(), 'is', 'are')} NaN or "
            f"infinite, the first at index {place}"
        )
    return array


def check_directions(array: np.ndarray, name: str) -> None:
    """Refuse an array whose rows, along its last axis, cannot be normalised as float32, in which features are stored.

    Raises:
        OodgridError: A number is beyond float32, or a row all zeros, naming the array and the first.
    """
    if (largest := np.abs(array).max()) > LARGEST:
        raise OodgridError(
            f"{name}: numbers of up to {largest:.3g} in size, and float32 ends at {LARGEST:.3g}: scale them"
        )
    zeros = np.argwhere(~array.astype(np.float32).any(axis=-1))
    if len(zeros):
        index = zeros[0].tolist()
        raise OodgridError(
            f"{name}: {counted(len(zeros), 'row is', 'rows are')} all zeros, the first at index "
            f"{index[0] if len(index) == 1 else tuple(index)}: without a direction nothing can be normalised; leave "
            f"{plural(len(zeros), 'it', 'them')} out"
        )


class Shapes:
    """Checks arrays that share axes, as N samples and K classes: each sets or must fit the lengths of its axes."""

    def __init__(self, what: str) -> None:
        """Begin without arrays; `what` they are for, as "score mcm", is named in messages."""
        self.what = what
        self._lengths: dict[str, tuple[int, str]] = {}

    def numbers(self, name: str, value: Any, shape: str) -> np.ndarray:
        """Return `numbers`, of a shape that fits those before; axes with a small letter are free.

        Raises:
            OodgridError: As `numbers`, or an axis has another length than that of an array before.
        """
        array = numbers(value, f"{self.what}: {name}", shape)
        for letter, length in zip(shape, array.shape, strict=True):
            if letter.islower():
                continue
            length_before, where = self._lengths.setdefault(letter, (length, f"{name} of shape {array.shape}"))
            if length != length_before:
                raise OodgridError(
                    f"{self.what}: {name}: shape {array.shape} where {_written(shape)} with {letter} = "
                    f"{length_before} is needed, as of {where}"
                )
        return array

    def features(self, name: str, value: Any, shape: str) -> np.ndarray:
        """Return `numbers` as float32, in which features are stored, each of them with a direction.

        Raises:
            OodgridError: As `numbers`, or one is beyond float32, or all zeros.
        """
        array = self.numbers(name, value, shape)
        check_directions(array, f"{self.what}: {name}")
        return array.astype(np.float32)

    def labels(self, name: str, value: Any, shape: str, classes: str = "K") -> np.ndarray:
        """Return class indices as int64, or -1 for no class, of a shape that fits those before.

        Raises:
            OodgridError: As `numbers`, or one is no whole number, or none of the classes (a letter) that are known.
        """
        array = self.numbers(name, value, shape)
        most, where = self._lengths.get(classes, (np.inf, ""))
        wrong = np.flatnonzero((array != np.floor(array)) | (array < -1) | (array >= most))
        if len(wrong):
            known = f"0 to {most - 1} of {where}" if where else "0, 1, 2, …"
            raise OodgridError(
                f"{self.what}: {name} of shape {array.shape}: {array[wrong[0]]:g} at index {wrong[0]} is no class: "
                f"they are {known}, and -1 for none"
            )
        return array.astype(np.int64)


def _written(shape: str) -> str:
    return f"({', '.join(shape)}{',' * (len(shape) == 1)})"


def attribute(function: Callable[[str], Result], name: str) -> Result:
    """Return `function(name)` for a module's `__getattr__`.

    Raises:
        AttributeError: There is none of that name, as Python expects of modules; the message has a did-you-mean.
    """
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return function(name)
    except OodgridError as error:
        raise AttributeError(str(error)) from None
