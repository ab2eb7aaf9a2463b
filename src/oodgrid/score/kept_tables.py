"""Keeps finished scores: in tables of earlier runs and, while a table is being made, in its parts.

A table lies in results/kept/score, where Snakemake cannot delete it, and has its second name (hard link) among the
experiment's scores, so that scores are stored once. Every column of every fit on one set, or on one stream, is found by
two digests: what decides the rows (fit and features), and what decides the column (the score, its parameters, its
code). So a new score is computed alone, and stands beside the others, which are copied to the bit. What a job has
computed lies in parts, beside the tables, until its table is written; also where it was killed before that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from oodgrid import manifests, store
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.kept import Kept, is_whole, link
from oodgrid.manifests import Geometry, ScoredFit, ScorePart, ScoreTable

TRIES = 2  # another job may remove a file just when it is read: it has moved a part, or replaced a table


@dataclass(frozen=True)
class _Place:
    """Where a column is: the rows of a table that belong to one fit and one set or stream, or all rows of a part."""

    file: Path
    column: str
    skipped: str | None
    device: str | None
    fit: ScoredFit | None = None
    of: str = ""


@dataclass
class Columns:
    """Some columns of one set, or of one stream, under one fit.

    Attributes:
        table: The columns, by their names.
        skipped: By the names of those that are null, why.
        devices: By the names of those that a GPU computed, which.
    """

    table: pl.DataFrame
    skipped: dict[str, str] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)


class KeptTables:
    """The kept tables and parts of one method of one (backbone, ID set), whatever the experiment.

    Attributes:
        geometry: The angles that tables say, by what decides them.
    """

    def __init__(self, results: Path, backbone: str, id_dataset: str, method: str) -> None:
        names = {"backbone": backbone, "id_dataset": id_dataset, "method": method}
        self.store = Kept(results, "score")
        self.folder = self.store.place(names)
        self._scan()

    def missing(self, rows: str, scores: Mapping[str, str]) -> list[str]:
        """Return the names of the columns, given with what decides each, that are not kept of some rows."""
        return [name for name, key in scores.items() if (rows, key) not in self._places]

    def make(self, rows: str, scores: Mapping[str, str], make: Callable[[list[str]], Columns]) -> None:
        """Keep what `make(names)` returns of the columns that are missing, if any are, in a part."""
        if names := self.missing(rows, scores):
            made = make(names)
            about = ScorePart(
                rows=rows, scores={name: scores[name] for name in names}, skipped=made.skipped, devices=made.devices
            )
            path = self.folder / "parts" / f"{digest([rows, sorted(about.scores.values())])}.parquet"
            manifests.write_table(path, made.table, about)
            self._add(path, _of_part(path, about))

    def read(self, rows: str, scores: Mapping[str, str]) -> Columns:
        """Return columns of some rows, by their names, given with what decides each.

        Raises:
            OodgridError: One is gone.
        """
        for _ in range(TRIES):
            if not (missing := self.missing(rows, scores)):
                with suppress(OodgridError):
                    return self._read({name: self._places[rows, key] for name, key in scores.items()})
            self._scan()
        names = ", ".join(missing or scores)
        raise OodgridError(f"{self.folder} lacks scores ({names}) that another run removed. Run snakemake again")

    def write(self, table: pl.DataFrame, about: ScoreTable, path: Path) -> None:
        """Keep a table, give it its second name, and remove the parts and the older tables that it replaces.

        An older table goes if newer ones hold all its columns and no experiment has it any more. Equal tables of two
        experiments are two files: with one, the new time of either would make the other's metrics again.
        """
        identity = [self.store.name(path), about.model_dump(), table.columns]
        kept = self.folder / f"{digest(identity)[:32]}.parquet"
        try:
            _put(table, about, kept, path)
        except FileNotFoundError:  # a job of another experiment has just removed it, as an older table of nobody
            _put(table, about, kept, path)
        self._add(kept, _of_table(kept, about))
        for file in self._files - {place.file for place in self._places.values()} - {kept}:
            with suppress(FileNotFoundError):
                if _is_part(file) or file.stat().st_nlink == 1:  # no experiment has it any more
                    file.unlink()

    def _scan(self) -> None:
        """Look up which file holds which columns: tables rather than parts; a damaged file counts as not there."""
        self._files: set[Path] = set()  # also those that hold nothing, as tables of before columns were kept apart
        self._places: dict[tuple[str, str], _Place] = {}
        self._open: dict[Path, store.OpenTable] = {}
        self.geometry: dict[str, Geometry] = {}
        for path in sorted(self.folder.glob("parts/*.parquet")):
            with suppress(OodgridError):
                self._add(path, _of_part(path, manifests.read(path, ScorePart)))
        for path in sorted(self.folder.glob("*.parquet")):
            with suppress(OodgridError):
                about = manifests.read(path, ScoreTable)
                self._add(path, _of_table(path, about))
                every = [each for fit in about.fits for each in fit.geometry.values()]
                self.geometry |= {each.key: each for each in [*every, about.cached] if each is not None}

    def _add(self, file: Path, places: Iterator[tuple[tuple[str, str], _Place]]) -> None:
        self._files.add(file)
        self._places |= dict(places)

    def _read(self, places: Mapping[str, _Place]) -> Columns:
        """Return columns, by their names, of where they are. Tables stay open: the next rows are likely in them too."""
        frames = []
        for file in dict.fromkeys(place.file for place in places.values()):
            here = {name: place for name, place in places.items() if place.file == file}
            rows = self._rows(next(iter(here.values())), sorted({place.column for place in here.values()}))
            frames.append(rows.select(pl.col(place.column).alias(name) for name, place in here.items()))
        skipped = {name: place.skipped for name, place in places.items() if place.skipped is not None}
        devices = {name: place.device for name, place in places.items() if place.device is not None}
        table = frames[0]
        for frame in frames[1:]:
            table = table.hstack(frame)
        return Columns(table.select(list(places)), skipped, devices)

    def _rows(self, place: _Place, columns: list[str]) -> pl.DataFrame:
        if place.fit is None:
            with store.OpenTable(place.file) as part:
                return part.read(columns)
        if place.file not in self._open:
            self._open[place.file] = store.OpenTable(place.file)
        table = self._open[place.file]
        named = "ood_dataset" if "ood_dataset" in table.columns else "dataset"
        return table.read(columns, **{named: place.of, "shots": place.fit.shots, "seed": place.fit.seed})


def _is_part(file: Path) -> bool:
    return file.parent.name == "parts"


def _of_part(path: Path, about: ScorePart) -> Iterator[tuple[tuple[str, str], _Place]]:
    """Yield what a part holds: what decides rows and column, with the place."""
    for name, key in about.scores.items():
        yield (about.rows, key), _Place(path, name, about.skipped.get(name), about.devices.get(name))


def _of_table(path: Path, about: ScoreTable) -> Iterator[tuple[tuple[str, str], _Place]]:
    """Yield what a table holds, likewise."""
    for fit in about.fits:
        for of, rows in fit.rows.items():
            skipped, devices = fit.skipped_in.get(of, {}), fit.devices_in.get(of, {})
            for name, key in about.scores.items():
                yield (rows, key), _Place(path, name, skipped.get(name), devices.get(name), fit, of)


def _put(table: pl.DataFrame, about: ScoreTable, kept: Path, path: Path) -> None:
    """Write a table unless it is kept, and give it its second name."""
    if not is_whole(kept):
        manifests.write_table(kept, table, about)
    link(kept, path)
