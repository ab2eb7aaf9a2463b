"""Computes the values of scores on the samples of a set, or of a stream, under one fit.

What decides a score is this module and that of the score, each with all that it imports (`registry.score_code`). How
tables are written, what is kept and which angles are measured lies elsewhere, and changes no score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from oodgrid import registry, streams
from oodgrid.config import Choice
from oodgrid.score.compute import Column, fill, needed
from oodgrid.score.inputs import FitInputs, Samples
from oodgrid.score.states import State

Protocol = tuple[str, int]  # of a stream, and the seed of its order
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


def of_stream(
    fit: FitInputs, id_set: Samples, ood: str, ood_sets: Mapping[str, Samples], choices: Mapping[str, Choice]
) -> Values:
    """Return transductive scores of the samples of the ID set followed by those of an OOD set.

    Args:
        fit: The fit.
        id_set: The ID set.
        ood: The OOD set.
        ood_sets: All OOD sets, in their order: some streams come to one after the other.
        choices: The scores, by their variants.
    """
    columns = _columns(fit, choices)
    for (stream, order), names in _groups(choices).items():
        chosen = {name: choices[name] for name in names}
        if streams.carries_over(stream):
            _carry_over(fit, id_set, ood_sets, (stream, order), chosen)
            for name in names:
                values, columns[name].skipped = fit.carried[name, ood]
                columns[name].add(values)
            continue
        of_stream = _inputs(fit, id_set, ood_sets[ood], (stream, order), chosen)
        for name in names:
            columns[name].add(_in_place(columns[name], *of_stream))
    return _values(columns)


def _carry_over(
    fit: FitInputs, id_set: Samples, ood_sets: Mapping[str, Samples], protocol: Protocol, choices: Mapping[str, Choice]
) -> None:
    """Score the streams of all OOD sets one after the other, unless that is done: `fit.carried` has the values."""
    columns = _columns(
        fit, {name: each for name, each in choices.items() if (name, next(iter(ood_sets))) not in fit.carried}
    )
    states: dict[str, State] = {name: {} for name in columns}
    for ood in streams.sequence(protocol[0], ood_sets) if columns else ():
        inputs, place = _inputs(fit, id_set, ood_sets[ood], protocol, choices)
        for name, column in columns.items():
            values = _in_place(column, inputs | {"state": states[name]}, place)
            fit.carried[name, ood] = values, column.skipped


def _inputs(
    fit: FitInputs, id_set: Samples, ood_set: Samples, protocol: Protocol, choices: Mapping[str, Choice]
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the inputs of scores in the order of a stream, and where each sample stands in it."""
    place = places(*protocol, len(id_set.features.labels), len(ood_set.features.labels))
    return fit.stream([id_set, ood_set], np.argsort(place), needed(choices.values())), place


def _in_place(column: Column, inputs: dict[str, Any], place: np.ndarray) -> np.ndarray | None:
    values = column.of(inputs)
    return None if values is None else values[place]


def protocol_of(choice: Choice) -> Protocol:
    """Return how the samples of the stream of a score follow each other, and the seed of its order."""
    params = registry.find("score", choice.name).params | choice.params
    return params.get("stream", streams.MIXED), params["order"]


def _groups(choices: Mapping[str, Choice]) -> dict[Protocol, list[str]]:
    """Return the transductive scores of every protocol and order: they share their inputs."""
    groups: dict[Protocol, list[str]] = {}
    for name, choice in choices.items():
        groups.setdefault(protocol_of(choice), []).append(name)
    return groups


def places(stream: str, order: int, n_id: int, n_ood: int) -> np.ndarray:
    """Return where each ID sample and then each OOD sample stands in a stream, shape (N,)."""
    return np.argsort(arranged(stream, order, n_id, n_ood))


def arranged(stream: str, order: int, n_id: int, n_ood: int) -> np.ndarray:
    """Return the rows of ID samples followed by OOD samples in the order in which a stream has them, shape (N,).

    A stream that carries over comes to every set in the order of a mixed one.
    """
    rng = np.random.default_rng(order)
    if stream not in (streams.ID_FIRST, streams.OOD_FIRST):
        return rng.permutation(n_id + n_ood)
    halves = [rng.permutation(n_id), n_id + rng.permutation(n_ood)]
    return np.concatenate(halves if stream == streams.ID_FIRST else halves[::-1])


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
