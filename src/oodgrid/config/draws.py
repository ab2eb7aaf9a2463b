"""Datasets of whose training split only what the draws of an experiment take is encoded."""

from __future__ import annotations

from typing import NamedTuple

from oodgrid.identity import digest


class Draws(NamedTuple):
    """The draws of an experiment: every number of shots with every seed, each rising."""

    shots: tuple[int, ...]
    seeds: tuple[int, ...]

    @property
    def digest(self) -> str:
        """What files of these draws are named by."""
        return digest([list(self.shots), list(self.seeds)])[:8]


class OfDraws:
    """A dataset that may be encoded in part: the experiment says for which draws, once it is read.

    It is no `Strict`, whose validator would run within those of the dataset instead of around them.
    """

    _draws: Draws | None  # a private attribute of the dataset

    @property
    def draws(self) -> Draws | None:
        """The draws for which the training split is encoded; None where the whole of it is."""
        return self._draws

    def encode_for(self, draws: Draws) -> None:
        """Take of the training split what these draws take, and no more."""
        self._draws = draws

    def file_of(self, split: str) -> str:
        """Return how the feature file of a split is called: the training split for some draws has one of its own."""
        return f"train.drawn-{self._draws.digest}" if split == "train" and self._draws else split
