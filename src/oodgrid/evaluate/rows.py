"""The rows and columns of the tables to come: what the metrics of one (backbone, ID set) add up to.

A row is a method at a number of shots under a score; its seeds, and of transductive scores the orders of the stream,
are fits of the same row. A column is a metric over one scope: an OOD set, or the mean over the sets of a kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oodgrid import registry
from oodgrid.evaluate.influence import RATES
from oodgrid.measures import MEASURES

ACCURACY = "id_accuracy"
CERTAIN = (*RATES, ACCURACY)  # the metrics that have a standard error
# What each mean is over: the OOD sets of these kinds, but those that share classes with the ID set.
SCOPES = {"near": ("near",), "far": ("far",), "overall": ("near", "far"), "covariate": ("covariate",)}


class Row(NamedTuple):
    """One method at one number of shots under one score; of an accuracy the score is None."""

    method: str
    shots: int
    score: str | None


class Scope(NamedTuple):
    """Over what a metric is averaged.

    Attributes:
        name: "near", "far", "overall", "covariate", "set" or "id".
        ood_dataset: The set of scope "set".
        sets: Positions of its OOD sets; empty for "id".
    """

    name: str
    ood_dataset: str | None
    sets: tuple[int, ...]


class Sizes(NamedTuple):
    """How many samples are behind a mean.

    Attributes:
        n_id: ID samples; of a mean over ID sets what they are worth together.
        ood_together: What the OOD samples of its sets are worth together.
        ood_all: OOD samples of all its sets.
    """

    n_id: float
    ood_together: float
    ood_all: float


def lower_is_better(metric: str) -> bool:
    """Return whether less of a metric is better."""
    return MEASURES[metric].better == "lower"


def over_fits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the fits that worked, shape (R,), of values (R, S, O); NaN where none did."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(axis=(1, 2)) / there.sum(axis=(1, 2))


def over_scopes(
    frame: pl.DataFrame, overlaps: Sequence[tuple[str, str]], by: Sequence[str], measures: Sequence[str]
) -> pl.DataFrame:
    """Return means over the OOD sets of every scope and then over seeds, by the rule of `Pair`, of other tables.

    Args:
        frame: Columns backbone, id_dataset, ood_dataset, ood_kind, seed and those named below; rows that worked.
        overlaps: Pairs of an ID and an OOD set that share classes: in no mean.
        by: What tells the rows of the result apart, beside the scope.
        measures: What is averaged; a null is left out.
    """
    pairs = pl.DataFrame(list(overlaps), schema={"id_dataset": pl.String, "ood_dataset": pl.String}, orient="row")
    averaged = frame.join(pairs, on=pairs.columns, how="anti", maintain_order="left")
    parts = [
        averaged.filter(pl.col("ood_kind").is_in(kinds)).with_columns(scope=pl.lit(scope))
        for scope, kinds in SCOPES.items()
    ]
    return over_seeds(pl.concat(parts), [*by, "scope"], measures)


def over_seeds(frame: pl.DataFrame, by: Sequence[str], measures: Sequence[str]) -> pl.DataFrame:
    """Return the mean over the sets of a scope, seed by seed, and then mean and sample deviation over seeds.

    A seed counts that has every set that another fit of the ID set has in that scope.
    """
    per_seed = frame.group_by(*by, "seed", maintain_order=True).agg(
        *(pl.col(name).mean() for name in measures), sets=pl.len()
    )
    whole = pl.col("sets") == pl.col("sets").max().over("backbone", "id_dataset", "scope")
    return (
        per_seed.filter(whole)
        .group_by(by, maintain_order=True)
        .agg(
            pl.col("sets").first(),
            seeds=pl.len(),
            **{name: pl.col(name).mean() for name in measures},
            **{f"{name}_sd": pl.col(name).std(ddof=1) for name in measures},
        )
    )


def without_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Return metrics with one score name for all orders of a stream, and columns `listed`, as it was, and `order`."""
    names: dict[str, str] = {}
    orders: dict[str, int] = {}
    for score, base, params in frame.select("score", "base_score", "params").unique(maintain_order=True).rows():
        parameters = json.loads(params)
        others = {name: value for name, value in parameters.items() if name != "order"}
        transductive = registry.find("score", base).transductive
        names[score] = registry.variant(base, others, registry.find("score", base).params) if transductive else score
        orders[score] = parameters.get("order", 0) if transductive else 0
    listed = pl.col("score")
    return frame.with_columns(
        listed=listed, score=listed.replace(names), order=listed.replace_strict(orders, return_dtype=pl.Int64)
    )


@dataclass
class Pair:
    """The metrics of one (backbone, ID set), as arrays.

    Attributes:
        frame: Its rows of metrics.parquet, with `without_order`.
        transductive: The scores of streams, by their names without order.
        overlapping: OOD sets that share classes with the ID set: in no mean.
    """

    frame: pl.DataFrame
    transductive: frozenset[str]
    overlapping: frozenset[str]
    _values: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @cached_property
    def oods(self) -> dict[str, str]:
        """The OOD sets, in order, each with its kind."""
        return dict(self.frame.select("ood_dataset", "ood_kind").unique(maintain_order=True).rows())

    @cached_property
    def samples(self) -> tuple[int, list[int]]:
        """The number of ID samples, and of the samples of every OOD set."""
        known = self.frame.filter(pl.col("n_id").is_not_null())
        of = dict(known.select("ood_dataset", "n_ood").unique(subset="ood_dataset").rows())
        return int(known["n_id"][0]), [of[name] for name in self.oods]

    @cached_property
    def rows(self) -> list[Row]:
        """The rows, in the order of the configuration."""
        return [Row(*key) for key in self.frame.select("method", "shots", "score").unique(maintain_order=True).rows()]

    @cached_property
    def accuracy_rows(self) -> list[Row]:
        """The rows of accuracies, which no score changes."""
        return list(dict.fromkeys(Row(row.method, row.shots, None) for row in self.rows))

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds of all fits. What has no shots has no seeds: its values stand at each of them."""
        return sorted(set(self.frame.filter(pl.col("shots") > 0)["seed"].to_list())) or [0]

    @cached_property
    def orders(self) -> list[int]:
        """The orders of streams. Other scores have none: their values stand at each of them."""
        of_streams = self.frame.filter(pl.col("score").is_in(list(self.transductive)))["order"]
        return sorted(set(of_streams.to_list())) or [0]

    @cached_property
    def bases(self) -> dict[str | None, str | None]:
        """The name that each method and each score is registered by."""
        methods = dict(self.frame.select("method", "base_method").unique().rows())
        none: dict[str | None, str | None] = {None: None}
        return none | methods | dict(self.frame.select("score", "base_score").unique().rows())

    @cached_property
    def without_shots(self) -> frozenset[str]:
        """The scores that look at no shots of a draw, by name."""
        scores = self.frame.select("score", "base_score", "params").unique().rows()
        return frozenset(
            name for name, base, params in scores if not registry.find("score", base).sees_draw(json.loads(params))
        )

    @cached_property
    def largest(self) -> dict[str, int]:
        """The largest shots of each method at which anything worked."""
        worked = pl.col("shots").filter(pl.col("status") == "ok").max()
        largest = self.frame.group_by("method").agg(shots=pl.coalesce(worked, pl.col("shots").max()))
        return dict(largest.rows())

    def is_largest(self, row: Row) -> bool:
        """Return whether a row is what tables of the largest shots show."""
        return row.shots == self.largest[row.method]

    def scopes(self, metric: str) -> list[Scope]:
        """Return over what a metric is averaged."""
        if MEASURES[metric].of_id:
            return [Scope("id", None, ())]
        sets = [Scope("set", name, (j,)) for j, name in enumerate(self.oods)]
        if not MEASURES[metric].averaged:
            return sets
        averaged = [(j, kind) for j, (name, kind) in enumerate(self.oods.items()) if name not in self.overlapping]
        means = {scope: tuple(j for kind in kinds for j, its in averaged if its == kind)
                 for scope, kinds in SCOPES.items()}  # fmt: skip
        return [Scope(name, None, where) for name, where in means.items() if where] + sets

    def sizes(self, scope: Scope) -> Sizes:
        """Return how many samples are behind a mean."""
        n_id, n_oods = self.samples
        of = [n_oods[j] for j in scope.sets]
        together = float(len(of) / np.mean([1 / n for n in of])) if of else 0.0
        return Sizes(n_id, together, sum(of))

    def rows_of(self, metric: str) -> list[Row]:
        """Return the rows of the columns of a metric."""
        return self.accuracy_rows if metric == ACCURACY else self.rows

    def fits(self, metric: str, scope: Scope) -> NDArray[np.float64]:
        """Return the mean over the scope for every row, seed and order, shape (R, S, O), NaN where there is none.

        What has no seeds or no orders has the same value at all of them. A metric of the ID samples alone has the same
        value with all OOD sets, but under scores of streams, where their samples come in between.
        """
        values = self._of_metric(metric)  # (R, S, O, J)
        return (values[:, :, :, list(scope.sets)] if scope.sets else values).mean(axis=3)

    def drawn(self, row: Row) -> tuple[bool, bool]:
        """Return whether a row has fits (seeds), and whether it has orders.

        Under no method, what looks at no shots is the same whatever the draw.
        """
        is_fixed = row.method == registry.ANY and row.score in self.without_shots
        return row.shots > 0 and not is_fixed, row.score in self.transductive

    def _of_metric(self, metric: str) -> NDArray[np.float64]:
        if metric not in self._values:
            self._values[metric] = self._array(metric)
        return self._values[metric]

    def _array(self, metric: str) -> NDArray[np.float64]:
        """Return a metric by row, seed, order and OOD set."""
        rows = self.rows_of(metric)
        place = {row: r for r, row in enumerate(rows)}
        seeds = {seed: s for s, seed in enumerate(self.seeds)}
        orders = {order: o for o, order in enumerate(self.orders)}
        oods = {name: j for j, name in enumerate(self.oods)}
        array = np.full((len(rows), len(seeds), len(orders), len(oods)), np.nan)
        columns = ("method", "shots", "score", "seed", "order", "ood_dataset", metric)
        known = self.frame.filter(
            pl.col(metric).is_not_null(), pl.col("status") == "ok" if metric != ACCURACY else True
        )
        for method, shots, score, seed, order, ood, value in known.select(columns).iter_rows():
            row = Row(method, shots, None if metric == ACCURACY else score)
            s = seeds[seed] if shots else slice(None)
            o = orders[order] if row.score in self.transductive else slice(None)
            array[place[row], s, o, oods[ood]] = value
        return array


def pairs_of(
    metrics: pl.DataFrame, transductive: Sequence[str], overlaps: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str, Pair]]:
    """Yield backbone, ID set and `Pair` of each, in order.

    Args:
        metrics: The rows of metrics.parquet.
        transductive: Scores of streams, by their names there.
        overlaps: Pairs of an ID set and an OOD set that share classes.
    """
    frame = without_order(metrics)
    streams = frozenset(frame.filter(pl.col("listed").is_in(list(transductive)))["score"].to_list())
    for (backbone, id_dataset), rows in frame.group_by("backbone", "id_dataset", maintain_order=True):
        overlapping = frozenset(ood for name, ood in overlaps if name == id_dataset)
        yield str(backbone), str(id_dataset), Pair(rows, streams, overlapping)


class Family(NamedTuple):
    """One comparison of a column: which rows, and with which row each.

    Attributes:
        against: Its name in comparisons.parquet.
        references: The row with which each is compared, by row.
        sizes: How many rows the family of each has, by row.
    """

    against: str
    references: Mapping[Row, Row]
    sizes: Mapping[Row, int]


BEST = {"best": lambda row: None, "best_of_score": lambda row: row.score, "best_of_method": lambda row: row.method}


def families(pair: Pair, metric: str, means: Mapping[Row, float]) -> list[Family]:
    """Return the comparisons of a column, of its rows that have a mean."""
    result = [_against_zero_shot(pair, metric, list(means), mcm) for mcm in (True, False)]
    largest = [row for row in means if pair.is_largest(row)]
    sign = -1 if lower_is_better(metric) else 1
    for against, group in BEST.items():
        if metric == ACCURACY and against != "best":
            continue
        groups: dict[tuple, list[Row]] = {}
        for row in largest:
            groups.setdefault((row.score in pair.transductive, group(row)), []).append(row)
        best = {
            key: max(rows, key=lambda row: sign * means[row]) for key, rows in groups.items()
        }  # of equals the first
        of = {row: key for key, rows in groups.items() for row in rows}
        result.append(Family(against, {r: best[of[r]] for r in largest}, {r: len(groups[of[r]]) for r in largest}))
    return [family for family in result if family.references]


def _against_zero_shot(pair: Pair, metric: str, rows: list[Row], mcm: bool) -> Family:
    """Return the comparison with zero-shot under MCM, or under the score of each row."""
    name = "zero_shot_mcm" if mcm else "zero_shot"
    there = {row.score: row for row in rows if pair.bases[row.method] == "zero_shot"}
    if mcm:
        fixed = None if metric == ACCURACY else _mcm(pair, there)
        references = dict.fromkeys(rows, fixed) if fixed else {}
    else:
        references = {row: there[row.score] for row in rows if row.score in there}
    count = {row: len(references) for row in references}
    return Family(name, references, count)


def _mcm(pair: Pair, zero_shot: Mapping[str | None, Row]) -> Row | None:
    """Return the row of MCM: with its default parameters, or else the first listed."""
    named = [row for score, row in zero_shot.items() if pair.bases[score] == "mcm"]
    return next((row for row in named if row.score == "mcm"), named[0] if named else None)
