"""Scores of streams: of one fit, every transductive score in the order that its protocol has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from oodgrid import registry, streams
from oodgrid.config import Choice
from oodgrid.score.compute import Column
from oodgrid.score.contract import State
from oodgrid.score.inputs import FitInputs, Samples

Values = np.ndarray | None  # None where a score is skipped


class Scored(NamedTuple):
    """The scores of the ID samples followed by those of one OOD set.

    Attributes:
        columns: Every score.
        places: By the names of their columns, where each sample stands in the streams, shape (N,).
        predictions: Shape (N,); None without logits.
    """

    columns: dict[str, Column]
    places: dict[str, np.ndarray]
    predictions: Values


def arranged(stream: str, order: int, n_id: int, n_ood: int) -> np.ndarray:
    """Return the rows of ID samples followed by OOD samples in the order in which a stream has them, shape (N,).

    A stream that carries over comes to every set in the order of a mixed one.
    """
    rng = np.random.default_rng(order)
    if stream not in (streams.ID_FIRST, streams.OOD_FIRST):
        return rng.permutation(n_id + n_ood)
    halves = [rng.permutation(n_id), n_id + rng.permutation(n_ood)]
    return np.concatenate(halves if stream == streams.ID_FIRST else halves[::-1])


class FitStreams:
    """The transductive scores of one fit on the ID set with every OOD set.

    Args:
        fit: The fit.
        sets: The ID set and its OOD sets.
        choices: The scores, by the names under which results list them.
        column: Makes what a score is added to.
    """

    def __init__(
        self,
        fit: FitInputs,
        sets: dict[str, Samples],
        choices: dict[str, Choice],
        column: Callable[[FitInputs, Choice], Column],
    ) -> None:
        self.fit, self._choices, self._column = fit, choices, column
        self._id_set, *self._ood_sets = sets.values()
        self._params = {name: registry.find("score", c.name).params | c.params for name, c in choices.items()}
        self._carried: dict[tuple[str, str], Values] = {}  # by score and OOD set
        self._of_carried: dict[str, Column] = {}

    def sequences(self, ood: str) -> list[list[str]]:
        """Return, for each way in which sets follow each other, those up to one OOD set."""
        names = [each.name for each in self._ood_sets]
        every = [streams.sequence(stream, names) for stream in self._carrying().values()]
        return sorted({tuple(each[: each.index(ood) + 1]): each[: each.index(ood) + 1] for each in every}.values())

    def before(self, ood: str) -> list[str]:
        """Return the OOD sets on which scores of the stream of one OOD set depend beside it."""
        earlier = {name for each in self.sequences(ood) for name in each if name != ood}
        return [each.name for each in self._ood_sets if each.name in earlier]

    def scored(self, ood: str) -> Scored:
        """Return the scores of the ID samples and of those of one OOD set."""
        samples = next(each for each in self._ood_sets if each.name == ood)
        scored = Scored({n: self._column(self.fit, c) for n, c in self._choices.items()}, {}, None)
        for (stream, order), names in self._groups().items():
            if streams.carries_over(stream):
                self._carry_over(stream, order, names)
                for name in names:
                    scored.columns[name].skipped = self._of_carried[name].skipped
                    scored.columns[name].add(self._carried[name, ood])
                    scored.places[streams.place_column(self._params[name])] = self._place(stream, order, samples)
                continue
            inputs, place = self._inputs(stream, order, samples, names)
            for name in names:
                values = scored.columns[name].of(inputs)
                scored.columns[name].add(None if values is None else values[place])
                scored.places[streams.place_column(self._params[name])] = place
            scored = scored._replace(predictions=_predicted(inputs, place))
        if not any(not streams.carries_over(stream) for stream, _ in self._groups()):
            inputs, place = self._inputs(streams.MIXED, 0, samples, [])
            scored = scored._replace(predictions=_predicted(inputs, place))
        return scored

    def _carrying(self) -> dict[str, str]:
        """Return the protocols of the scores that remember one OOD set when they come to the next."""
        listed = {name: params.get("stream", streams.MIXED) for name, params in self._params.items()}
        return {name: stream for name, stream in listed.items() if streams.carries_over(stream)}

    def _groups(self) -> dict[tuple[str, int], list[str]]:
        """Return the scores of every protocol and order: they share their inputs."""
        groups: dict[tuple[str, int], list[str]] = {}
        for name, params in self._params.items():
            groups.setdefault((params.get("stream", streams.MIXED), params["order"]), []).append(name)
        return groups

    def _carry_over(self, stream: str, order: int, names: list[str]) -> None:
        """Score the streams of all OOD sets one after the other, the first time that one of them is asked for."""
        if names[0] in self._of_carried:
            return
        by_name = {each.name: each for each in self._ood_sets}
        states: dict[str, State] = {name: {} for name in names}
        for name in names:
            self._of_carried[name] = self._column(self.fit, self._choices[name])
        for ood in streams.sequence(stream, by_name):
            inputs, place = self._inputs(stream, order, by_name[ood], names)
            for name in names:
                values = self._of_carried[name].of(inputs | {"state": states[name]})
                self._carried[name, ood] = None if values is None else values[place]

    def _inputs(self, stream: str, order: int, samples: Samples, names: list[str]) -> tuple[dict[str, Any], np.ndarray]:
        """Return the inputs of scores in the order of a stream, and where each sample stands in it."""
        place = self._place(stream, order, samples)
        needs = {need for name in names for need in self._column(self.fit, self._choices[name]).needs}
        return self.fit.stream([self._id_set, samples], np.argsort(place), needs), place

    def _place(self, stream: str, order: int, samples: Samples) -> np.ndarray:
        n_id, n_ood = (len(each.features.labels) for each in (self._id_set, samples))
        return np.argsort(arranged(stream, order, n_id, n_ood))


def _predicted(inputs: dict[str, Any], place: np.ndarray) -> Values:
    return inputs["logits"].argmax(axis=1)[place] if "logits" in inputs else None
