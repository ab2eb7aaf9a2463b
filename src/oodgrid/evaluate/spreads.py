"""The sampling variances of every row, and of its differences to the rows that it is compared with.

The tables of one (backbone, ID set) are read fit by fit. Influence values are averaged over the fits of a row first;
then a row needs one vector for each rate. Those that others may be compared with wait in a file without a name, so
that memory holds a few at a time, whatever the number of rows.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oodgrid import manifests
from oodgrid.errors import OodgridError
from oodgrid.evaluate.influence import RATES, Layout, Spread, influence, spread
from oodgrid.evaluate.rows import ACCURACY, Row
from oodgrid.evaluate.score_table import Samples, ScoreTable
from oodgrid.kept import Kept
from oodgrid.labels import has_class
from oodgrid.manifests import ScoredFit
from oodgrid.store import OpenTable
from oodgrid.threads import side_by_side

MEMORY = 2**28  # bytes of influence values that are summed at a time
References = Mapping[str, Mapping[Row, list[Row]]]  # by rate and row: the rows that it is compared with
Spreads = dict[tuple[str, Row, Row | None], Spread]  # by rate, row and the one compared with; None: of the row itself


@dataclass
class Columns:
    """The columns of score tables that belong to the rows of one table.

    Attributes:
        table: Where they are.
        rows: By row, under which names the table has its score: one for each order of a stream.
    """

    table: ScoreTable
    rows: dict[Row, list[str]]


def spreads(tables: list[Columns], references: References, stored: set[Row], kept: Kept, code: str) -> Spreads:
    """Return the variances of all rows of one (backbone, ID set); kept, because every sample has a say in them.

    Args:
        tables: Those whose rows others are compared with at all shots come first.
        references: What every row is compared with.
        stored: The rows that may be compared with, or are compared with a row of a table that comes later.
        kept: Where finished work is kept.
        code: The fingerprint of the code.

    Raises:
        OodgridError: A table is damaged, or holds other samples than the first.
    """
    parts = sorted({part for each in tables for part in parts_of(each)})
    pairs = [[rate, list(row), list(map(list, of))] for rate, rows in references.items() for row, of in rows.items()]
    sets = [name for _, name in tables[0].table.oods()]  # variances are listed in this order
    identity = {"spreads": parts, "sets": sets, "pairs": pairs, "code": code}

    def compute(path: Path) -> None:
        with Vectors(kept.folder) as vectors:
            variances = _compute(tables, references, stored, vectors)
        manifests.write_table(path, as_table(variances), manifests.Spreads(parts=parts, code=code))

    return from_table(manifests.read_table(kept.get(identity, ".parquet", compute), manifests.Spreads)[0])


def parts_of(columns: Columns) -> Iterator[str]:
    """Yield what decides the scores of a table."""
    with manifests.open_table(columns.table.path, manifests.ScoreTable) as (_, about):
        yield from about.parts


def _compute(tables: list[Columns], references: References, stored: set[Row], vectors: Vectors) -> Spreads:
    """Return all variances, table by table; the differences between rows of different tables at the end."""
    variances: Spreads = {}
    for each in tables:
        for row, rate, vector, layout in vectors_of(each):
            variances[rate, row, None] = spread(vector, layout)
            if row in stored:
                vectors.put((rate, row), vector, layout)
                continue
            for other in references[rate].get(row, ()):
                variances[rate, row, other] = _difference(vector, *vectors.get((rate, other)), layout, each.table)
    for rate, row in vectors.places:
        of = [other for other in references[rate].get(row, ()) if other != row and (rate, other) in vectors.places]
        if not of:
            continue
        vector, layout = vectors.get((rate, row))
        for other in of:
            variances[rate, row, other] = _difference(vector, *vectors.get((rate, other)), layout, tables[0].table)
    return variances


def _difference(vector: NDArray, other: NDArray, layout: Layout, of_other: Layout | None, table: ScoreTable) -> Spread:
    if of_other != layout:
        raise OodgridError(f"{table.path} and the tables beside it hold other samples: snakemake --forcerun score")
    return spread(vector - other, layout)


def vectors_of(columns: Columns) -> Iterator[tuple[Row, str, NDArray[np.float32], Layout]]:
    """Yield the influence values of every row and rate of a table, averaged over fits."""
    table = columns.table
    with manifests.open_table(table.path, manifests.ScoreTable) as (opened, about):
        for shots in dict.fromkeys(fit.shots for fit in about.fits):
            fits = [fit for fit in about.fits if fit.shots == shots and fit.status == "ok"]
            of = {row: names for row, names in columns.rows.items() if row.shots == shots}
            if fits and table.drawn:
                yield from _accuracies(table, opened, fits)
            for chunk in _chunks(table, opened, fits, of):
                yield from _summed(table, opened, fits, chunk)


def _chunks(
    table: ScoreTable, opened: OpenTable, fits: list[ScoredFit], of: dict[Row, list[str]]
) -> Iterator[dict[Row, list[str]]]:
    """Yield some of the rows at a time, as many as memory may hold vectors of."""
    if not fits or not of:
        return
    samples = opened.read(list(table.by), shots=fits[0].shots, seed=fits[0].seed).height
    rows = max(1, MEMORY // (4 * len(RATES) * samples * len(table.oods())))  # a vector is shorter than that
    items = list(of.items())
    for start in range(0, len(items), rows):
        yield dict(items[start : start + rows])


def _summed(
    table: ScoreTable, opened: OpenTable, fits: list[ScoredFit], of: dict[Row, list[str]]
) -> Iterator[tuple[Row, str, NDArray[np.float32], Layout]]:
    """Yield the vectors of some rows that belong to one number of shots."""
    sums: dict[Row, NDArray[np.float32]] = {}
    counts: dict[Row, int] = {}
    layout = Layout(0, ())
    for fit in fits:
        names = [name for names in of.values() for name in names if name not in fit.skipped]
        if not names:
            continue
        sets = Samples(opened, fit, names, table.by, nullcontext()).sets()
        pairs = [table.pair_of(sets, ood) for _, ood in table.oods()]
        layout = Layout(len(pairs[0][0]), tuple(len(other) for _, other in pairs))
        rows = {row: [name for name in names if name not in fit.skipped] for row, names in of.items()}
        for row in rows:
            if rows[row] and row not in sums:
                sums[row], counts[row] = np.zeros((len(RATES), layout.size), np.float32), 0
            counts[row] = counts.get(row, 0) + len(rows[row])

        def add(row: Row, rows: dict = rows, pairs: list = pairs) -> None:
            for name in rows[row]:
                _add(table, pairs, name, sums[row])

        for _ in side_by_side(add, [row for row in rows if rows[row]]):
            pass
    for row, total in sums.items():
        total /= counts[row]
        for rate, vector in zip(RATES, total, strict=True):
            yield row, rate, vector, layout


def _add(table: ScoreTable, pairs: list, name: str, out: NDArray[np.float32]) -> None:
    """Add the influence values of one column of a table."""
    sides = [(of_id[name].to_numpy(), other[name].to_numpy()) for of_id, other in pairs]
    if table.drawn:  # all sets meet the same ID scores
        influence(sides[0][0], [other for _, other in sides], out)
        return
    layout = Layout(len(sides[0][0]), tuple(len(other) for _, other in sides))
    for j, (of_id, other) in enumerate(sides):
        single = Layout(len(of_id), (len(other),))
        part = np.zeros((len(RATES), single.size), out.dtype)
        influence(of_id, [other], part)
        for row, values in zip(out, part, strict=True):
            (of_id, of_oods), (one_id, one_ood) = layout.split(row), single.split(values)
            of_id[j] += one_id[0]
            of_oods[j] += one_ood[0]


def _accuracies(
    table: ScoreTable, opened: OpenTable, fits: list[ScoredFit]
) -> Iterator[tuple[Row, str, NDArray, Layout]]:
    """Yield which ID samples are classified right, as the vector of a rate without OOD samples."""
    rights = []
    for fit in fits:
        sets = Samples(opened, fit, [], table.by, nullcontext()).columns(["label", "prediction"])
        of_id = table.pair_of(sets, table.oods()[0][1])[0]
        known = of_id.filter(pl.col("prediction").is_not_null())
        labels = known["label"].to_numpy()
        rights.append((known["prediction"].to_numpy() == labels)[has_class(labels)])
    if len(rights[0]) and len({len(right) for right in rights}) == 1:
        row = Row(table.names["method"], fits[0].shots, None)
        yield row, ACCURACY, np.mean(rights, axis=0).astype(np.float32), Layout(len(rights[0]), ())


@dataclass
class Vectors:
    """Vectors on disk, of which the last few used are in memory too."""

    folder: Path
    places: dict[tuple[str, Row], tuple[int, Layout]] = field(default_factory=dict)
    _recent: OrderedDict = field(default_factory=OrderedDict)

    def __enter__(self) -> Vectors:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file: Any = tempfile.TemporaryFile(dir=self.folder)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def put(self, key: tuple[str, Row], vector: NDArray[np.float32], layout: Layout) -> None:
        """Store a vector."""
        self.places[key] = self._file.seek(0, 2), layout
        self._file.write(np.ascontiguousarray(vector))

    def get(self, key: tuple[str, Row]) -> tuple[NDArray[np.float32], Layout]:
        """Return a vector and its layout."""
        offset, layout = self.places[key]
        if key not in self._recent:
            self._file.seek(offset)
            vector = np.empty(layout.size, np.float32)
            self._file.readinto(vector)
            self._recent[key] = vector
            if len(self._recent) * vector.nbytes > MEMORY and len(self._recent) > 2:
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
        return self._recent[key], layout


SCHEMA = {
    "rate": pl.String,
    **{f"{side}{name}": kind for side in ("", "other_") for name, kind in
       (("method", pl.String), ("shots", pl.Int32), ("score", pl.String))},
    "of_id": pl.List(pl.Float64),
    "of_ood": pl.List(pl.Float64),
}  # fmt: skip


def as_table(variances: Spreads) -> pl.DataFrame:
    """Return variances as a table, for keeping them."""
    rows = [
        (rate, *row, *(other or (None, None, None)), each.of_id.ravel().tolist(), each.of_ood.tolist())
        for (rate, row, other), each in variances.items()
    ]
    return pl.DataFrame(rows, SCHEMA, orient="row")


def from_table(table: pl.DataFrame) -> Spreads:
    """Return the variances of a table."""
    variances: Spreads = {}
    for rate, method, shots, score, other_method, other_shots, other_score, of_id, of_ood in table.iter_rows():
        side = round(len(of_id) ** 0.5)
        other = None if other_method is None else Row(other_method, other_shots, other_score)
        variances[rate, Row(method, shots, score), other] = Spread(
            np.array(of_id).reshape(side, side), np.array(of_ood)
        )
    return variances
