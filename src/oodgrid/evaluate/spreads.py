"""The sampling variances of every row, and of its differences to the rows that it is compared with.

The tables of one (backbone, ID set) are read fit by fit. Influence values are averaged over the fits of a row first;
then a row needs one vector for each rate. Those that others may be compared with wait in a file without a name, so
that memory holds a few at a time, whatever the number of rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oodgrid import manifests
from oodgrid.errors import OodgridError
from oodgrid.evaluate.influence import RATES, Layout, deviations, influence, of_mean, variance
from oodgrid.evaluate.rows import ACCURACY, Row
from oodgrid.evaluate.score_table import Samples, ScoreTable
from oodgrid.kept import Kept
from oodgrid.labels import has_class
from oodgrid.manifests import ScoredFit
from oodgrid.store import OpenTable
from oodgrid.threads import side_by_side

MEMORY = 2**28  # bytes of influence values that are summed at a time
Sets = tuple[int, ...]  # positions of the OOD sets of a mean; none of a rate of the ID samples alone
References = Mapping[tuple[str, Sets], Mapping[Row, list[Row]]]  # by rate, sets and row: the rows compared with


@dataclass
class Spreads:
    """Sampling variances, by rate and the sets of its mean.

    Attributes:
        variances: Of rows (with None), and of their differences to other rows.
        jumps: The rows whose rate jumps with its threshold (`influence`).
    """

    variances: dict[tuple[str, Sets, Row, Row | None], float] = field(default_factory=dict)
    jumps: set[tuple[str, Sets, Row]] = field(default_factory=set)


class Values(NamedTuple):
    """The influence values of one row on one rate.

    Attributes:
        row: Whose they are.
        rate: Of `RATES`, or ID accuracy.
        vector: As the layout has it.
        layout: Of the vector.
        jumps: On which of the OOD sets the rate of any fit jumps, shape (J,).
    """

    row: Row
    rate: str
    vector: NDArray[np.float32]
    layout: Layout
    jumps: NDArray[np.bool_]

    def jump_on(self, sets: Sets) -> bool:
        """Return whether the rate jumps on any of some OOD sets."""
        return bool(self.jumps[list(sets)].any())


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
    sets = [name for _, name in tables[0].table.oods()]  # variances are told by their positions
    pairs = pairs_of(references)
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


def pairs_of(references: References) -> list:
    """Return what is compared with what, as an identity has it."""
    return [[*key, [[row, others] for row, others in rows.items()]] for key, rows in references.items()]


def _compute(tables: list[Columns], references: References, stored: set[Row], vectors: Vectors) -> Spreads:
    """Return all variances: of the rows that are not stored table by table, of the others at the end."""
    result = Spreads()
    for each in tables:
        for of_row in vectors_of(each):
            row, rate, vector, layout, _ = of_row
            if row in stored:
                vectors.put((rate, row), of_row, each.table.path)
                continue
            for (of, sets), rows in references.items():
                if of == rate:
                    values = deviations(of_mean([vector[where] for where in layout.slices(sets)], len(sets)))
                    result.variances[rate, sets, row, None] = variance(values)
                    if of_row.jump_on(sets):
                        result.jumps.add((rate, sets, row))
                    for other in rows.get(row, ()):
                        vectors.check((rate, other), layout, each.table.path)
                        difference = variance(values, vectors.deviations((rate, other), sets))
                        result.variances[rate, sets, row, other] = difference
    for (rate, sets), rows in references.items():
        _add_stored(result, rate, sets, rows, vectors)
    return result


def _add_stored(result: Spreads, rate: str, sets: Sets, rows: Mapping[Row, list[Row]], vectors: Vectors) -> None:
    """Add the variances of the stored rows in one mean, and of their differences; many are compared with a few."""
    stored = [row for of, row in vectors.places if of == rate]
    if not stored:
        return
    nbytes = 8 * sum(where.stop - where.start for where in vectors.places[rate, stored[0]].layout.slices(sets))
    read = lru_cache(max(2, MEMORY // nbytes))(lambda row: vectors.deviations((rate, row), sets))
    for row in stored:
        place, values = vectors.places[rate, row], vectors.deviations((rate, row), sets)
        result.variances[rate, sets, row, None] = variance(values)
        if vectors.jump((rate, row), sets):
            result.jumps.add((rate, sets, row))
        for other in rows.get(row, ()):
            if (rate, other) in vectors.places:
                vectors.check((rate, other), place.layout, place.path)
                result.variances[rate, sets, row, other] = variance(values, read(other))


def vectors_of(columns: Columns) -> Iterator[Values]:
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


def _summed(table: ScoreTable, opened: OpenTable, fits: list[ScoredFit], of: dict[Row, list[str]]) -> Iterator[Values]:
    """Yield the vectors of some rows that belong to one number of shots."""
    sums: dict[Row, NDArray[np.float32]] = {}
    jumps: dict[Row, NDArray[np.bool_]] = {}
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
                jumps[row] = np.zeros((len(RATES), len(layout.n_oods)), bool)
            counts[row] = counts.get(row, 0) + len(rows[row])

        def add(row: Row, rows: dict = rows, pairs: list = pairs) -> None:
            for name in rows[row]:
                jumps[row] |= _add(table, pairs, name, sums[row])

        for _ in side_by_side(add, [row for row in rows if rows[row]]):
            pass
    for row, total in sums.items():
        total /= counts[row]
        for rate, vector, jumping in zip(RATES, total, jumps[row], strict=True):
            yield Values(row, rate, vector, layout, jumping)


def _add(table: ScoreTable, pairs: list, name: str, out: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Add the influence values of one column of a table, and return which rates jump, as `influence` does."""
    sides = [(of_id[name].to_numpy(), other[name].to_numpy()) for of_id, other in pairs]
    if table.drawn:  # all sets meet the same ID scores
        return influence(sides[0][0], [other for _, other in sides], out)
    layout = Layout(len(sides[0][0]), tuple(len(other) for _, other in sides))
    jumps = np.zeros((len(RATES), len(sides)), bool)
    for j, (of_id, other) in enumerate(sides):
        single = Layout(len(of_id), (len(other),))
        part = np.zeros((len(RATES), single.size), out.dtype)
        jumps[:, j] = influence(of_id, [other], part)[:, 0]
        for row, values in zip(out, part, strict=True):
            (of_id, of_oods), (one_id, one_ood) = layout.split(row), single.split(values)
            of_id[j] += one_id[0]
            of_oods[j] += one_ood[0]
    return jumps


def _accuracies(table: ScoreTable, opened: OpenTable, fits: list[ScoredFit]) -> Iterator[Values]:
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
        mean = np.mean(rights, axis=0).astype(np.float32)
        yield Values(row, ACCURACY, mean, Layout(len(rights[0]), ()), np.zeros(0, bool))


class Place(NamedTuple):
    """Where a vector is.

    Attributes:
        offset: Its first byte in the file.
        values: What it was stored of, without the vector.
        path: The table of scores that it is from.
    """

    offset: int
    values: Values
    path: Path

    @property
    def layout(self) -> Layout:
        """What it holds."""
        return self.values.layout


@dataclass
class Vectors:
    """Vectors of influence values by rate and row, on disk."""

    folder: Path
    places: dict[tuple[str, Row], Place] = field(default_factory=dict)

    def __enter__(self) -> Vectors:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file: Any = tempfile.TemporaryFile(dir=self.folder)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def put(self, key: tuple[str, Row], values: Values, path: Path) -> None:
        """Store a vector that is from a table."""
        self.places[key] = Place(self._file.seek(0, 2), values._replace(vector=values.vector[:0].copy()), path)
        self._file.write(np.ascontiguousarray(values.vector))

    def jump(self, key: tuple[str, Row], sets: Sets) -> bool:
        """Return whether the rate of a stored row jumps on any of some OOD sets."""
        return self.places[key].values.jump_on(sets)

    def get(self, key: tuple[str, Row], sets: Sets) -> list[NDArray[np.float32]]:
        """Return what belongs to some sets, as `Layout.slices` has it."""
        place = self.places[key]
        values = []
        for where in place.layout.slices(sets):
            values.append(np.empty(where.stop - where.start, np.float32))
            self._file.seek(place.offset + values[-1].itemsize * where.start)
            self._file.readinto(values[-1])
        return values

    def deviations(self, key: tuple[str, Row], sets: Sets) -> NDArray[np.float64]:
        """Return the deviations of the mean over some sets."""
        return deviations(of_mean(self.get(key, sets), len(sets)))

    def check(self, key: tuple[str, Row], layout: Layout, path: Path) -> None:
        """Refuse a table whose vectors have another layout than a stored one."""
        if self.places[key].layout != layout:
            raise OodgridError(f"{path} and the tables beside it hold other samples: snakemake --forcerun score")


SCHEMA = {
    "rate": pl.String,
    "sets": pl.String,
    **{f"{side}{name}": kind for side in ("", "other_") for name, kind in
       (("method", pl.String), ("shots", pl.Int32), ("score", pl.String))},
    "variance": pl.Float64,
    "jumps": pl.Boolean,  # null of differences
}  # fmt: skip


def as_table(spreads: Spreads) -> pl.DataFrame:
    """Return variances as a table, for keeping them."""
    lines = []
    for (rate, sets, row, other), value in spreads.variances.items():
        jumps = (rate, sets, row) in spreads.jumps if other is None else None
        lines.append((rate, " ".join(map(str, sets)), *row, *(other or (None,) * 3), value, jumps))
    return pl.DataFrame(lines, SCHEMA, orient="row")


def from_table(table: pl.DataFrame) -> Spreads:
    """Return the variances of a table."""
    result = Spreads()
    for rate, sets, *names, value, jumps in table.iter_rows():
        row, other, of = Row(*names[:3]), None if names[3] is None else Row(*names[3:]), tuple(map(int, sets.split()))
        result.variances[rate, of, row, other] = value
        if jumps:
            result.jumps.add((rate, of, row))
    return result
