"""One score of many samples, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from threading import RLock
from typing import Any

import numpy as np

from oodgrid import registry
from oodgrid.config import Choice
from oodgrid.errors import OodgridError
from oodgrid.plugins import described, line_of
from oodgrid.score.contract import Labels, Skip
from oodgrid.score.sharing import frozen
from oodgrid.score.threads import on_threads

ONE_AT_A_TIME = RLock()  # a user's score may use variables of its module; blocks are scored on several threads


def needed(choices: Iterable[Choice]) -> set[str]:
    """Return all that some scores need, by the names of `oodgrid.score.contract`."""
    return {name for choice in choices for need in needs_of(choice) for name in need.split("|")}


def needs_of(choice: Choice) -> list[str]:
    """Return what a score needs, in the order of its arguments; `bank: train` asks for the whole train split."""
    entry = registry.find("score", choice.name)
    train = entry.uses_bank and choice.params.get("bank") == "train"
    return ["train" if train and "bank" in need.split("|") else need for need in entry.needs]


class Scorer:
    """One score with its parameters: what it needs and what it is given is looked up once, for all blocks of samples.

    Attributes:
        needs: What it needs, in the order of its arguments.
    """

    def __init__(self, choice: Choice, lists: dict[str, Labels], lacking: Callable[[str], str]) -> None:
        self.needs = needs_of(choice)
        self._entry = registry.find("score", choice.name)
        self._choice, self._lists, self._lacking = choice, lists, lacking
        self._alternatives = [need.split("|") for need in self.needs]
        self._said = f"score {choice.listed('score')}{_where(self._entry)} gave"

    def __call__(self, inputs: dict[str, Any]) -> np.ndarray:
        """Return the score of N samples, shape (N,), float64; see `compute`."""
        given = [self._chosen(names, inputs) for names in self._alternatives]
        if self._entry.label_lists and "logits" in self.needs and not inputs.get("text_cosines"):
            raise Skip(
                "it compares labels with cosines to texts of the same tower, and the logits of this method are none"
            )
        values = _numbers(_call(self._entry, given, self._params), self._said)
        count = len(inputs["features"] if "features" in inputs else given[0])
        if values.shape != (count,):
            raise OodgridError(f"{self._said} shape {values.shape} for {count} samples: one number a sample is needed")
        if not np.isfinite(values).all():
            raise OodgridError(f"{self._said} {np.sum(~np.isfinite(values))} of {count} values that are not finite")
        return values

    def _chosen(self, names: list[str], inputs: dict[str, Any]) -> Any:
        """Return the first that there is of what would do for one argument."""
        for name in names:
            if name in inputs:
                return inputs[name]
        raise Skip(f"it needs {' or '.join(names)}: {self._lacking(names[-1])}")

    @cached_property
    def _params(self) -> dict[str, Any]:
        params = dict(self._choice.params)
        if self._entry.uses_bank:
            params.pop("bank", None)  # it has chosen between bank and train
        for name in self._entry.label_lists:
            listed = params.get(name, self._entry.params[name])
            params[name] = None if listed is None else self._lists[listed]
        return params


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
    return Scorer(choice, lists or {}, lacking)(inputs)


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
        self._score, self.skipped = Scorer(choice, lists, lacking), None
        self.needs, self._found = self._score.needs, []

    def of(self, inputs: dict[str, Any]) -> np.ndarray | None:
        """Return the score of a block of samples, or None and never ask again where it is skipped."""
        if self.skipped is None:
            try:
                return self._score(inputs)
            except Skip as skip:
                self.skipped = str(skip)
        return None

    def add(self, values: np.ndarray | None) -> None:
        """Take the values of one more block."""
        self._found.append(values)

    def values(self) -> np.ndarray:
        """Return the values of all blocks, shape (N,)."""
        return frozen(np.concatenate(self._found))


def fill(columns: list[Column], blocks: Iterable[tuple[dict[str, Any], int]]) -> np.ndarray | None:
    """Score the samples of all blocks, and return their predicted classes, shape (N,); None without logits.

    Args:
        columns: The scores.
        blocks: What there is for some samples, with how many of the first rows count.
    """
    predictions = []
    for values, predicted in on_threads(lambda block: _of_block(columns, *block), blocks):
        for column, of_block in zip(columns, values, strict=True):
            column.add(of_block)
        predictions.append(predicted)
    return None if not predictions or predictions[0] is None else np.concatenate(predictions)


def _of_block(
    columns: list[Column], inputs: dict[str, Any], count: int
) -> tuple[list[np.ndarray | None], np.ndarray | None]:
    values = [column.of(inputs) for column in columns]
    predicted = inputs["logits"].argmax(axis=1)[:count] if "logits" in inputs else None
    return [None if each is None else each[:count] for each in values], predicted
