"""One score of many samples, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import RLock
from typing import Any

import numpy as np

from oodgrid import registry
from oodgrid.config import Choice
from oodgrid.errors import OodgridError
from oodgrid.plugins import described, line_of
from oodgrid.score.contract import Labels, Skip
from oodgrid.score.sharing import frozen

ONE_AT_A_TIME = RLock()  # a user's score may use variables of its module; blocks are scored on several threads


def needed(choices: Iterable[Choice]) -> set[str]:
    """Return all that some scores need, by the names of `oodgrid.score.contract`."""
    return {name for choice in choices for need in needs_of(choice) for name in need.split("|")}


def needs_of(choice: Choice) -> list[str]:
    """Return what a score needs, in the order of its arguments; `bank: train` asks for the whole train split."""
    entry = registry.find("score", choice.name)
    train = entry.uses_bank and choice.params.get("bank") == "train"
    return ["train" if train and "bank" in need.split("|") else need for need in entry.needs]


def compute(
    choice: Choice,
    inputs: dict[str, Any],
    lists: dict[str, Labels] | None = None,
    lacking: Callable[[str], str] = lambda need: "which is not there",
) -> np.ndarray:
    """Return one score of N samples, shape (N,), float64.

    Args:
        choice: The score with its parameters.
        inputs: What there is, by the names of `oodgrid.score.contract`.
        lists: Lists of labels, by name.
        lacking: Says of a need why it is not there.

    Raises:
        Skip: What the score needs is not there, or makes no sense.
        OodgridError: The score gave another shape or values that are not finite; or one of the user's own failed.
    """
    entry, needs = registry.find("score", choice.name), needs_of(choice)
    given = []
    for need in needs:
        there = [name for name in need.split("|") if name in inputs]
        if not there:
            raise Skip(f"it needs {need.replace('|', ' or ')}: {lacking(need.split('|')[-1])}")
        given.append(inputs[there[0]])
    if entry.label_lists and "logits" in needs and not inputs.get("text_cosines"):
        raise Skip("it compares labels with cosines to texts of the same tower, and the logits of this method are none")
    params = dict(choice.params)
    if entry.uses_bank:
        params.pop("bank", None)  # it has chosen between bank and train
    for name in entry.label_lists:
        listed = params.get(name, entry.params[name])
        params[name] = None if listed is None else (lists or {})[listed]
    said = f"score {choice.listed('score')}{_where(entry)} gave"
    values = _numbers(_call(entry, given, params), said)
    count = len(inputs["features"] if "features" in inputs else given[0])
    if values.shape != (count,):
        raise OodgridError(f"{said} shape {values.shape} for {count} samples: one number a sample is needed")
    if not np.isfinite(values).all():
        raise OodgridError(f"{said} {np.sum(~np.isfinite(values))} of {count} values that are not finite")
    return values


def _call(entry: registry.Entry, given: list[Any], params: dict[str, Any]) -> Any:
    if entry.plugin is None:
        return entry.make(*given, **params)
    try:
        with ONE_AT_A_TIME:
            return entry.make(*given, **params)
    except (Skip, OodgridError, KeyboardInterrupt):
        raise
    except BaseException as error:  # what ends the program too: it would end with nothing computed and status 0
        line = line_of(error, entry.plugin)
        raise OodgridError(f"score {entry.name} in {entry.plugin}{line} failed: {described(error)}") from error


def _numbers(found: Any, said: str) -> np.ndarray:
    """Return real numbers as float64, an array of their own: a score may give the same array for every block.

    Raises:
        OodgridError: They are something else, which NumPy would take for numbers, or for none, in its own way.
    """
    kinds = {"c": "complex numbers", "b": "true and false", "O": "objects", "M": "dates", "m": "spans of time"}
    try:
        values = np.asarray(found)
    except Exception as error:
        raise OodgridError(
            f"{said} what is no array ({described(error)}): one real number a sample is needed"
        ) from error
    if np.ma.isMaskedArray(found):
        what = "a masked array"
    elif values.dtype.kind not in "fiu":
        what = kinds.get(values.dtype.kind, "no numbers")
    else:
        return np.array(values, dtype=np.float64)
    raise OodgridError(f"{said} {what} (type {values.dtype}): one real number a sample is needed")


def _where(entry: registry.Entry) -> str:
    return f" in {entry.plugin}" if entry.plugin else ""


class Column:
    """One score, of the blocks that were added; where a block was skipped it has no values.

    Attributes:
        needs: What it needs.
        skipped: Why there are no values, or None.
    """

    def __init__(self, choice: Choice, lacking: Callable[[str], str], lists: dict[str, Labels]) -> None:
        self.choice, self.needs, self.skipped = choice, needs_of(choice), None
        self._lacking, self._lists, self._found = lacking, lists, []

    def of(self, inputs: dict[str, Any]) -> np.ndarray | None:
        """Return the score of a block of samples, or None and never ask again where it is skipped."""
        if self.skipped is None:
            try:
                return compute(self.choice, inputs, self._lists, self._lacking)
            except Skip as skip:
                self.skipped = str(skip)
        return None

    def add(self, values: np.ndarray | None) -> None:
        """Take the values of one more block."""
        self._found.append(values)

    def values(self) -> np.ndarray:
        """Return the values of all blocks, shape (N,)."""
        return frozen(np.concatenate(self._found))
