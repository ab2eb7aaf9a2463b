"""One table of transductive scores, compared stream by stream."""

from __future__ import annotations

from typing import Any, ClassVar

import polars as pl

from oodgrid import manifests
from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.evaluate.score_table import Samples, ScoreTable
from oodgrid.manifests import ScoredFit
from oodgrid.measures import RATES
from oodgrid.streams import place_column


class StreamTable(ScoreTable):
    """One table of transductive scores: a stream holds the ID samples and those of one OOD set.

    No figure puts them beside scores of single samples.
    """

    by: ClassVar[tuple[str, ...]] = ("ood_dataset", "dataset")
    drawn = False

    def pair_of(self, sets: dict[Any, pl.DataFrame], ood: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the rows of the ID samples and of the OOD samples of one stream."""
        return sets[ood, self.id_dataset.name], sets[ood, ood]

    def measured(self) -> list[str]:
        """Return what tells the columns that are kept, with those of the first samples."""
        return [*super().measured(), *(f"first@{count}" for count in self.firsts)]

    def places(self, about: manifests.ScoreTable) -> dict[str, str]:
        """Return by score the column with the places of samples in its stream, where the first of these count."""
        return {name: place_column(about.params[name]) for name in self.scores} if self.firsts else {}

    def more(self, samples: Samples, ood: str, score: str) -> dict[str, float | None]:
        """Return the metrics that look at predictions, and those of the first samples of the stream."""
        sides = self.pair_of(samples.sets(), ood)
        measures = super().more(samples, ood, score)
        for count in self.firsts:
            of_id, other = (side.filter(pl.col(samples.places[score]) < count)[score].to_numpy() for side in sides)
            rates = metrics_from_counts(count_scores(of_id, other)) if len(of_id) and len(other) else {}
            measures |= {f"{rate}_first{count}": rates.get(rate) for rate in RATES}
        return measures

    def _rows(self, fit: ScoredFit, ood: str) -> list[str]:
        return [(fit.rows or fit.parts)[ood]]
