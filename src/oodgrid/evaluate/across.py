"""Means over all ID sets of a backbone, with their certainty.

ID sets are fixed, as OOD sets are. What is drawn: the test samples of every dataset, and the fits. A dataset may have
several roles, as an OOD set that several ID sets are held against: its images are the same in each, under other
scores. So the influence values of one image are added up over its roles before they are squared. The fits of different
ID sets are independent draws, at equal seeds too: no training sees the images of another ID set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oodgrid import manifests
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.evaluate import certainty
from oodgrid.evaluate.influence import Layout, deviations, of_mean, variance
from oodgrid.evaluate.rows import ACCURACY, Pair, Row, Scope, Sizes
from oodgrid.evaluate.spreads import (
    MEMORY,
    Columns,
    References,
    Sets,
    Spreads,
    Vectors,
    as_table,
    from_table,
    pairs_of,
    parts_of,
    vectors_of,
)
from oodgrid.evaluate.summary import Column
from oodgrid.kept import Kept
from oodgrid.measures import MEASURES

SCOPES = ("near", "far", "overall")
T = TypeVar("T")


class Across(Pair):
    """The metrics of all ID sets of a backbone: rows are those that every ID set has.

    Attributes:
        pairs: By ID set.
    """

    def __init__(self, pairs: dict[str, Pair]) -> None:
        transductive = frozenset[str]().union(*(pair.transductive for pair in pairs.values()))
        super().__init__(pl.concat(pair.frame for pair in pairs.values()), transductive, frozenset())
        self.pairs = pairs

    @cached_property
    def rows(self) -> list[Row]:
        """The rows, in the order of the configuration."""
        return _common([pair.rows for pair in self.pairs.values()])

    @cached_property
    def accuracy_rows(self) -> list[Row]:
        """The rows of accuracies."""
        return _common([pair.accuracy_rows for pair in self.pairs.values()])

    def is_largest(self, row: Row) -> bool:
        """Return whether a row is at its method's largest shots for every ID set."""
        return all(pair.is_largest(row) for pair in self.pairs.values())

    def scopes(self, metric: str) -> list[Scope]:
        """Return over what a metric is averaged: the kinds of OOD sets that every ID set has."""
        if MEASURES[metric].of_id:
            return [Scope("id", None, ())]
        shown = SCOPES if MEASURES[metric].averaged else ()
        return [Scope(name, None, (q,)) for q, name in enumerate(shown) if all(self.sets(name).values())]

    def sets(self, scope: str) -> dict[str, tuple[int, ...]]:
        """Return the positions of the OOD sets of a scope, by ID set."""
        return {
            name: next((each.sets for each in pair.scopes("auroc") if each.name == scope), ())
            for name, pair in self.pairs.items()
        }

    def scope_of(self, id_dataset: str, scope: Scope) -> Scope:
        """Return a scope as one of an ID set."""
        return Scope(scope.name, None, self.sets(scope.name)[id_dataset])

    def fits(self, metric: str, scope: Scope) -> NDArray[np.float64]:
        """Return the mean over ID sets for every row and every seed and order that all have, shape (R, S, O)."""
        pairs = self.pairs.values()
        seeds = _common([pair.seeds for pair in pairs])
        orders = _common([pair.orders for pair in pairs])
        values = []
        for name, pair in self.pairs.items():
            place = {row: r for r, row in enumerate(pair.rows_of(metric))}
            at = ([place[row] for row in self.rows_of(metric)], *_places((pair.seeds, seeds), (pair.orders, orders)))
            values.append(pair.fits(metric, self.scope_of(name, scope))[np.ix_(*at)])
        return np.mean(values, axis=0)

    def sizes(self, scope: Scope) -> Sizes:
        """Return how many samples are behind a mean; of a set in several roles the samples once."""
        of_pairs = [pair.sizes(self.scope_of(name, scope)) for name, pair in self.pairs.items()]
        weights: dict[str, float] = {}
        counts: dict[str, int] = {}
        for name, sets in self.sets(scope.name).items():
            names, (_, n_oods) = list(self.pairs[name].oods), self.pairs[name].samples
            for j in sets:
                weights[names[j]] = weights.get(names[j], 0.0) + 1 / (len(sets) * len(self.pairs))
                counts[names[j]] = n_oods[j]
        together = sum(weight**2 / counts[name] for name, weight in weights.items())
        return Sizes(
            n_id=len(of_pairs) ** 2 / sum(1 / each.n_id for each in of_pairs),
            ood_together=1 / together if together else 0.0,
            ood_all=sum(counts.values()),
        )


def _common(of_pairs: list[list[T]]) -> list[T]:
    """Return what all lists hold, in the order of the first."""
    shared = set.intersection(*map(set, of_pairs))
    return [each for each in of_pairs[0] if each in shared]


def _places(*pairs: tuple[list[int], list[int]]) -> Iterator[list[int]]:
    for every, chosen in pairs:
        yield [every.index(each) for each in chosen]


@dataclass
class MeanColumn(Column):
    """One column of the means over ID sets.

    Attributes:
        parts: The same column of every ID set.
    """

    parts: Sequence[Column] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.means = self._over_sets([part.means for part in self.parts])

    def _over_sets(self, of_parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the mean over ID sets, shape (R,): NaN where one has none; their seeds may differ."""
        rows = [
            [values[part.place[row]] for row in self.rows] for part, values in zip(self.parts, of_parts, strict=True)
        ]
        return np.mean(rows, axis=0)

    @cached_property
    def ends(self) -> list[NDArray[np.float64]]:
        """Lower and upper ends of the intervals of single fits, their means by row."""
        return [self._over_sets(ends) for ends in zip(*(part.ends for part in self.parts), strict=True)]

    @property
    def sets(self) -> int:
        """In how many pairs of an ID set and an OOD set it is the mean."""
        return sum(part.sets for part in self.parts)

    def fits(self, rows: Sequence[Row], others: Sequence[Row] | None = None) -> tuple[certainty.Fits, NDArray[np.int_]]:
        """Return how much the mean over ID sets of rows or differences varies with the fits, each set's independent.

        The variance is that of one fit of every ID set, its degrees of freedom are Satterthwaite's.
        """
        of_parts = [part.fits(rows, others) for part in self.parts]
        variance, df, number = (np.array(each) for each in zip(*(fits for fits, _ in of_parts), strict=True))
        of_means = variance / number / len(self.parts) ** 2  # (D, R)
        together, counts = of_means.sum(axis=0), len(self.parts) / (1 / number).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            degrees = together**2 / np.where(of_means > 0, of_means**2 / df, 0).sum(axis=0)
        degrees = np.where(together == 0, df.sum(axis=0), degrees)  # equal fits everywhere
        degrees = np.where((df >= 1).all(axis=0), degrees, 0.0)  # of one fit nothing is known
        return certainty.Fits(together * counts, degrees, counts), of_parts[0][1]


def mean_columns(across: Across, metrics: Sequence[str], spreads: Spreads) -> Iterator[Column]:
    """Yield every column of the means over ID sets."""
    for metric in metrics:
        for scope in across.scopes(metric):
            parts = [
                Column(pair, metric, across.scope_of(name, scope), Spreads()) for name, pair in across.pairs.items()
            ]
            yield MeanColumn(across, metric, scope, spreads, parts)


# --------------------------------------------------------------------------------------------------- variances


def spreads_across(
    across: Across, tables: Mapping[str, Sequence[Columns]], references: References, kept: Kept, code: str
) -> Spreads:
    """Return the sampling variances of all means over ID sets, and of their differences; kept, as those of one are.

    Args:
        across: The metrics.
        tables: The score tables with their rows, by ID set.
        references: What every row is compared with; a scope stands for its sets.
        kept: Where finished work is kept.
        code: The fingerprint of the code.

    Raises:
        OodgridError: A table is damaged, or holds other samples of a dataset than another.
    """
    parts = sorted({part for of_set in tables.values() for each in of_set for part in parts_of(each)})
    pairs = pairs_of(references)
    oods = {name: list(pair.oods.items()) for name, pair in across.pairs.items()}
    scopes = {name: {scope: list(across.sets(scope)[name]) for scope in SCOPES} for name in across.pairs}
    identity = {"across": parts, "pairs": pairs, "oods": oods, "scopes": scopes, "code": code}

    def compute(path: Path) -> None:
        with Vectors(kept.folder) as vectors:
            influences = Influences(across, vectors)
            for name, of_set in tables.items():
                influences.read(name, of_set)
            variances = influences.variances(references)
        manifests.write_table(path, as_table(variances), manifests.Spreads(parts=parts, code=code))

    return from_table(manifests.read_table(kept.get(identity, ".parquet", compute), manifests.Spreads)[0])


class Influences:
    """The influence values of every image on the means over ID sets, by row and rate; on disk by ID set."""

    def __init__(self, across: Across, vectors: Vectors) -> None:
        self.across, self._vectors = across, vectors
        self._sizes: dict[str, int] = {}

    def read(self, id_dataset: str, tables: Sequence[Columns]) -> None:
        """Store the influence values of the rows of one ID set."""
        for table in tables:
            for values in vectors_of(table):
                if values.rate != ACCURACY:
                    self._check(id_dataset, values.layout, table.table.path)
                self._vectors.put((f"{id_dataset}/{values.rate}", values.row), values, table.table.path)

    def _check(self, id_dataset: str, layout: Layout, path: Path) -> None:
        """Refuse a dataset that has another number of samples here than in another role."""
        names = [id_dataset, *self.across.pairs[id_dataset].oods]
        for name, size in zip(names, (layout.n_id, *layout.n_oods), strict=True):
            if self._sizes.setdefault(name, size) != size:
                raise OodgridError(
                    f"{path} holds {counted(size, 'sample')} of {name}, and a table of another ID set does not: "
                    "snakemake "
                    "--forcerun score"
                )

    def variances(self, references: References) -> Spreads:
        """Return the variances of all rows that every ID set has, and of the differences that are asked for."""
        result = Spreads()
        for (rate, scope), rows in references.items():
            summed = lru_cache(self._fitting())(partial(self._summed, rate, scope))
            known = [row for row in self.across.rows_of(rate) if self._has(rate, row)]
            for row in known:
                of_row = summed(row)
                result.variances[rate, scope, row, None] = variance(of_row)
                if self._jumps(rate, scope, row):
                    result.jumps.add((rate, scope, row))
                for other in rows.get(row, ()):
                    if self._has(rate, other):
                        result.variances[rate, scope, row, other] = variance(of_row, summed(other))
        return result

    def _fitting(self) -> int:
        """Return of how many rows the deviations may be in memory."""
        return max(2, MEMORY // (8 * max(sum(self._sizes.values()), 1)))

    def _has(self, rate: str, row: Row) -> bool:
        return all((f"{name}/{rate}", row) in self._vectors.places for name in self.across.pairs)

    def _sets(self, id_dataset: str, scope: Sets) -> Sets:
        """Return the OOD sets of one ID set that a scope stands for."""
        return self.across.sets(SCOPES[scope[0]])[id_dataset] if scope else ()

    def _jumps(self, rate: str, scope: Sets, row: Row) -> bool:
        """Return whether the rate of a row jumps with its threshold for any ID set."""
        return any(self._vectors.jump((f"{name}/{rate}", row), self._sets(name, scope)) for name in self.across.pairs)

    def _summed(self, rate: str, scope: Sets, row: Row) -> NDArray[np.float64]:
        """Return the deviations of one mean, the values of the images of every dataset summed over its roles."""
        totals: dict[str, NDArray[np.float64]] = {}
        for id_dataset, pair in self.across.pairs.items():
            sets = self._sets(id_dataset, scope)
            names = [id_dataset, *(list(pair.oods)[j] for j in sets)]
            values = of_mean(self._vectors.get((f"{id_dataset}/{rate}", row), sets), len(sets))
            for name, part in zip(names, values, strict=True):
                totals[name] = totals.get(name, 0) + part / len(self.across.pairs)
        return deviations(list(totals.values()))
