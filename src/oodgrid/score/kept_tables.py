"""Keeps finished scores: as tables of earlier runs and, while a table is being made, as its parts.

A table lies in results/kept/score, where Snakemake cannot delete it, and has its second name (hard link) among the
experiment's scores, so that scores are stored once. Its metadata list its parts, each one fit on one set or stream, by
what decided it. The parts of a job that was killed lie beside the tables until their table is written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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
    """Where a part is: the rows of a table that belong to one fit and one set, or one stream."""

    table: Path
    fit: ScoredFit
    name: str


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

    def make(self, key: str, make: Callable[[Path], None]) -> None:
        """Call `make(path)` to write the part of that key unless it is kept, in a table or beside the tables."""
        path = self._part(key)
        if key not in self._places and not is_whole(path):
            with store.atomic(path) as beside:
                make(beside)

    def read(self, key: str) -> tuple[pl.DataFrame, ScorePart]:
        """Return the samples of a part with their scores, and what is said of them.

        Raises:
            OodgridError: It is gone.
        """
        for _ in range(TRIES):
            with suppress(OodgridError):
                if place := self._places.get(key):
                    skipped, device = place.fit.skipped_in.get(place.name, {}), place.fit.devices.get(place.name, "")
                    return self._rows(place), ScorePart(skipped=skipped, device=device)
                return manifests.read_table(self._part(key), ScorePart)
            self._scan()
        raise OodgridError(f"{self._part(key)} is missing: another run took it away. Run snakemake again")

    def write(self, table: pl.DataFrame, about: ScoreTable, path: Path) -> None:
        """Keep a table, give it its second name, and remove its parts and the older tables that it replaces.

        An older table goes if this one holds all its parts and no experiment has it any more. Equal tables of two
        experiments are two files: with one, the new time of either would make the other's metrics again.
        """
        identity = [self.store.name(path), about.model_dump(), table.columns]
        kept = self.folder / f"{digest(identity)[:32]}.parquet"
        try:
            _put(table, about, kept, path)
        except FileNotFoundError:  # a job of another experiment has just removed it, as an older table of nobody
            _put(table, about, kept, path)
        for key in about.parts:
            self._part(key).unlink(missing_ok=True)
        for other in self._tables - {kept}:
            held = {key for key, place in self._places.items() if place.table == other}
            with suppress(FileNotFoundError):
                if held <= about.parts and other.stat().st_nlink == 1:  # no experiment has it any more
                    other.unlink()

    def _part(self, key: str) -> Path:
        return self.folder / "parts" / f"{key}.parquet"

    def _scan(self) -> None:
        """Look up which table holds which part; a damaged table counts as not there."""
        self._tables: set[Path] = set()  # also those without a part, of which all was skipped
        self._places: dict[str, _Place] = {}
        self.geometry: dict[str, Geometry] = {}
        self._open: store.OpenTable | None = None
        for table in sorted(self.folder.glob("*.parquet")):
            with suppress(OodgridError):
                about = manifests.read(table, ScoreTable)
                self._tables.add(table)
                every = [each for fit in about.fits for each in fit.geometry.values()]
                self.geometry |= {each.key: each for each in [*every, about.cached] if each is not None}
                for fit in about.fits:
                    self._places |= {key: _Place(table, fit, name) for name, key in fit.parts.items()}

    def _rows(self, place: _Place) -> pl.DataFrame:
        """Return a part of a table. The table stays open: the next part is likely to be in it too."""
        if self._open is None or self._open.path != place.table:
            self._open = store.OpenTable(place.table)
        columns = self._open.columns
        named = "ood_dataset" if "ood_dataset" in columns else "dataset"
        keys = {named: place.name, "shots": place.fit.shots, "seed": place.fit.seed}
        return self._open.read([name for name in columns if name not in keys], **keys)


def _put(table: pl.DataFrame, about: ScoreTable, kept: Path, path: Path) -> None:
    """Write a table unless it is kept, and give it its second name."""
    if not is_whole(kept):
        manifests.write_table(kept, table, about)
    link(kept, path)
