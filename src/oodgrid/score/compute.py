"""Computes one score of many samples, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from threading import RLock
from typing import Any

import numpy as np

from oodgrid import registry
from oodgrid.config import Choice
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.grid import corruptions
from oodgrid.plugins import described, line_of
from oodgrid.score.contract import LocalLogits, Skip, TextList
from oodgrid.score.sharing import frozen
from oodgrid.score.threads import on_threads

ONE_AT_A_TIME = RLock()  # a user's score may use variables of its module; blocks are scored on several threads


def needed(choices: Iterable[Choice]) -> set[str]:
    """Return all needs of some scores, by the names of `oodgrid.score.contract`."""
    return {name for choice in choices for need in needs_of(choice) for name in need.split("|")}


def needs_of(choice: Choice) -> list[str]:
    """Return what a score needs, in the order of its arguments, of the bank that its parameters name."""
    return registry.find("score", choice.name).needs_with(choice.params)


class Scorer:
    """One score with its parameters, for all blocks of samples.

    Attributes:
        needs: What it needs, in the order of its arguments.
    """

    def __init__(self, choice: Choice, lists: dict[str, TextList], lacking: Callable[[str], str]) -> None:
        self.needs = needs_of(choice)
        self._entry = registry.find("score", choice.name)
        self._choice, self._lists, self._lacking = choice, lists, lacking
        self._alternatives = [need.split("|") for need in self.needs]
        plugin = f" in {self._entry.plugin}" if self._entry.plugin else ""
        self._who = f"score {choice.listed('score')}{plugin} gave"

    def __call__(self, inputs: dict[str, Any]) -> np.ndarray:
        """Return the score of N samples, shape (N,), float64; see `compute`."""
        arguments = [self._chosen(names, inputs) for names in self._alternatives]
        if self._entry.label_lists and "logits" in self.needs and not inputs.get("text_cosines"):
            raise Skip("it compares logits with cosines to texts of the same tower, and this method's are no cosines")
        state = {"state": inputs["state"]} if self._entry.keeps_state and "state" in inputs else {}
        values = _numbers(_call(self._entry, arguments, self._params | state), self._who)
        count = len(inputs["features"] if "features" in inputs else arguments[0])
        if values.shape != (count,):
            raise OodgridError(
                f"{self._who} shape {values.shape} for {counted(count, 'sample')}: one number per sample is needed"
            )
        if not np.isfinite(values).all():
            raise OodgridError(
                f"{self._who} {np.sum(~np.isfinite(values)):,} of {counted(count, 'value')} that are not finite"
            )
        return values

    def _chosen(self, names: list[str], inputs: dict[str, Any]) -> Any:
        """Return the input for one argument: the first that is there of those that would do."""
        for name in names:
            if name in inputs:
                value = self._versions(inputs[name]) if isinstance(inputs[name], dict) else inputs[name]
                return value.array if isinstance(value, LocalLogits) and self._entry.plugin else value
        raise Skip(f"it needs {' or '.join(names)}: {self._lacking(names[-1])}")

    def _versions(self, by_corruption: dict[str, np.ndarray]) -> np.ndarray:
        """Return what there is of the corrupted versions that the score names, V of them, shape (N, V, …)."""
        wanted = [corruption.split for corruption in corruptions([self._choice])]
        if missing := [name for name in wanted if name not in by_corruption]:
            raise Skip(f"it needs corrupted versions of the images, and this set has no {missing[0]}")
        return frozen(np.stack([by_corruption[name] for name in wanted], axis=1))

    @cached_property
    def _params(self) -> dict[str, Any]:
        params = dict(self._choice.params)
        if self._entry.uses_bank:
            params.pop("bank", None)  # `needs_of` has read it
        for name in self._entry.label_lists:
            params[name] = self._lists[params.get(name, self._entry.params[name])]
        return params


def compute(
    choice: Choice,
    inputs: dict[str, Any],
    lists: dict[str, TextList] | None = None,
    lacking: Callable[[str], str] = lambda need: "which is not there",
) -> np.ndarray:
    """Return one score of N samples, shape (N,), float64.

    Args:
        choice: The score with its parameters.
        inputs: What there is, by the names of `oodgrid.score.contract`.
        lists: Of texts, by the names of label lists.
        lacking: Returns why a need is not there.

    Raises:
        Skip: What the score needs is not there, or makes no sense.
        OodgridError: The score gave another shape or values that are not finite; or a plugin's score failed.
    """
    return Scorer(choice, lists or {}, lacking)(inputs)


def _call(entry: registry.Entry, arguments: list[Any], params: dict[str, Any]) -> Any:
    if entry.plugin is None:
        return entry.make(*arguments, **params)
    try:
        with ONE_AT_A_TIME:
            return entry.make(*arguments, **params)
    except (Skip, OodgridError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too: the job would end with nothing computed and status 0
        line = line_of(error, entry.plugin)
        raise OodgridError(f"score {entry.name} in {entry.plugin}{line} failed: {described(error)}") from error


def _numbers(returned: Any, who: str) -> np.ndarray:
    """Return what a score returned as a new array of float64: a score may return the same array for every block.

    Raises:
        OodgridError: It is anything but real numbers, even if NumPy would convert it.
    """
    kinds = {"c": "complex numbers", "b": "true and false", "O": "objects", "M": "dates", "m": "spans of time"}
    try:
        values = np.asarray(returned)
    except Exception as error:
        raise OodgridError(
            f"{who} what is no array ({described(error)}): one real number per sample is needed"
        ) from error
    if np.ma.isMaskedArray(returned):
        what = "a masked array"
    elif values.dtype.kind not in "fiu":
        what = kinds.get(values.dtype.kind, "no numbers")
    else:
        return np.array(values, dtype=np.float64)
    raise OodgridError(f"{who} {what} (type {values.dtype}): one real number per sample is needed")


class Column:
    """One score, of the blocks that were added; where a block was skipped it has no values.

    Attributes:
        needs: What it needs.
        skipped: Why there are no values, or None.
    """

    def __init__(
        self, choice: Choice, lacking: Callable[[str], str], lists: dict[str, TextList], skipped: str | None = None
    ) -> None:
        self._score = Scorer(choice, lists, lacking)
        self.needs = needed([choice])
        self.skipped = skipped
        self._blocks: list[np.ndarray] = []

    def of(self, inputs: dict[str, Any]) -> np.ndarray | None:
        """Return the score of a block of samples; None where it is skipped, and for all later blocks."""
        if self.skipped is None:
            try:
                return self._score(inputs)
            except Skip as skip:
                self.skipped = str(skip)
        return None

    def add(self, values: np.ndarray | None) -> None:
        """Append the values of one more block."""
        if values is not None:
            self._blocks.append(values)

    def values(self) -> np.ndarray:
        """Return the values of all blocks, shape (N,)."""
        return frozen(np.concatenate(self._blocks))


def fill(columns: list[Column], blocks: Iterable[tuple[Callable[[], dict[str, Any]], int]]) -> np.ndarray | None:
    """Score the samples of all blocks, and return their predicted classes, shape (N,); None without logits.

    Args:
        columns: The scores.
        blocks: What makes the inputs of scores for some samples, with how many of the first rows count.
    """
    predictions: list[np.ndarray] = []
    for scores, predicted in on_threads(lambda block: _of_block(columns, block[0](), block[1]), blocks):
        for column, values in zip(columns, scores, strict=True):
            column.add(values)
        if predicted is not None:
            predictions.append(predicted)
    return np.concatenate(predictions) if predictions else None


def _of_block(
    columns: list[Column], inputs: dict[str, Any], count: int
) -> tuple[list[np.ndarray | None], np.ndarray | None]:
    """Return every score of the first samples of a block, and their predicted classes where there are logits."""
    scores = [column.of(inputs) for column in columns]
    predicted = inputs["logits"].argmax(axis=1)[:count] if "logits" in inputs else None
    return [None if values is None else values[:count] for values in scores], predicted
