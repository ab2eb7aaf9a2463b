"""Computes the values of scores on the samples of a set, or of a stream, under one fit.

What decides a score is this module and that of the score, each with all that it imports (`registry.score_code`). How
tables are written, what is kept and which angles are measured lies elsewhere, and changes no score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from oodgrid import registry
from oodgrid.config import Choice
from oodgrid.score.compute import Column, fill
from oodgrid.score.inputs import FitInputs, Samples

ONE_CLASS = "it compares classes, and the ID set has one"


class Values(NamedTuple):
    """What was computed of N samples.

    Attributes:
        scores: By variant, shape (N,), float64; not of those that were skipped.
        skipped: By variant, why there are no values.
        predictions: The predicted classes, shape (N,); None where there are no logits, or there is one class.
    """

    scores: dict[str, np.ndarray]
    skipped: dict[str, str]
    predictions: np.ndarray | None = None


def of_set(fit: FitInputs, samples: Samples, choices: Mapping[str, Choice], predict: bool = True) -> Values:
    """Return the scores of the samples of one set, block by block: first what needs no local features, then what does.

    A score has the same values whatever others are computed beside it.

    Args:
        fit: The fit.
        samples: The set.
        choices: The scores, by their variants.
        predict: Whether the predicted classes are wanted too.
    """
    columns = _columns(fit, choices)
    predictions: np.ndarray | None = None
    for local in (False, True):
        group = [column for column in columns.values() if ("local_logits" in column.needs) == local]
        if group or (predict and not local):
            predicted = fill(group, fit.blocks(samples, {need for column in group for need in column.needs}))
            predictions = predictions if local else predicted
    return _values(columns, predictions if predict and fit.few_shot.classes != 1 else None)


def of_stream(fit: FitInputs, parts: list[Samples], choices: Mapping[str, Choice]) -> Values:
    """Return transductive scores of all samples of several sets in one stream, once for every order that some have."""
    columns, count = _columns(fit, choices), sum(len(part.features.labels) for part in parts)
    for order, names in orders(choices).items():
        stream = _stream(order, count)
        inputs = fit.stream(parts, stream, {need for name in names for need in columns[name].needs})
        for name in names:
            values = columns[name].of(inputs)
            columns[name].add(None if values is None else values[np.argsort(stream)])
    return _values(columns)


def orders(choices: Mapping[str, Choice]) -> dict[int, list[str]]:
    """Return the seeds of the orders of streams, each with its transductive scores."""
    by_order: dict[int, list[str]] = {}
    for name, choice in choices.items():
        order = choice.params.get("order", registry.find("score", choice.name).params["order"])
        by_order.setdefault(order, []).append(name)
    return by_order


def places(order: int, count: int) -> np.ndarray:
    """Return where each of so many samples stands in the stream of an order, shape (N,)."""
    return np.argsort(_stream(order, count))


def _stream(order: int, count: int) -> np.ndarray:
    return np.random.default_rng(order).permutation(count)


def _columns(fit: FitInputs, choices: Mapping[str, Choice]) -> dict[str, Column]:
    """Return the columns of scores; those that say nothing of an ID set of one class are skipped where it is one."""
    one_class = fit.few_shot.classes == 1
    reasons = {
        name: ONE_CLASS if one_class and not registry.find("score", choice.name).makes_of_one else None
        for name, choice in choices.items()
    }
    return {name: Column(choice, fit.lacking, fit.texts.lists, reasons[name]) for name, choice in choices.items()}


def _values(columns: Mapping[str, Column], predictions: np.ndarray | None = None) -> Values:
    scores = {name: column.values() for name, column in columns.items() if not column.skipped}
    skipped = {name: reason for name, column in columns.items() if (reason := column.skipped)}
    return Values(scores, skipped, predictions)
