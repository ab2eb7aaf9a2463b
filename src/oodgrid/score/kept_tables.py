"""Scores that are finished: in the tables of earlier runs, or, while a table is being made, as parts of it.

A table lies in results/kept/score, where Snakemake cannot delete it, and has its second name (hard link) among the
experiment's scores, so that scores are stored once. Its metadata say of what each of its parts is made: one fit on one
set, or on one stream. The parts of a job that was killed lie beside the tables and go when their table stands.
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
from oodgrid.manifests import ScoredFit, ScorePart, ScoreTable

TRIES = 2  # another job may move a part into its table just when it is looked for


@dataclass(frozen=True)
class _Place:
    """Where a part lies: in the rows of a table that are of one fit on the set, or the stream, of that name."""

    table: Path
    fit: ScoredFit
    name: str


class KeptTables:
    """The kept tables and parts of one method of one (backbone, ID set), whatever the experiment."""

    def __init__(self, results: Path, backbone: str, id_dataset: str, method: str) -> None:
        names = {"backbone": backbone, "id_dataset": id_dataset, "method": method}
        self.folder = Kept(results, "score").place(names)
        self._scan()

    def make(self, key: str, make: Callable[[Path], None]) -> None:
        """Call `make(path)` to write the part of that key, where it stands neither in a table nor beside them."""
        path = self._part(key)
        if key not in self._places and not is_whole(path):
            with store.atomic(path) as beside:
                make(beside)

    def read(self, key: str) -> tuple[pl.DataFrame, dict[str, str]]:
        """Return the samples of a part with their scores, and why scores were skipped.

        Raises:
            OodgridError: It is gone.
        """
        for _ in range(TRIES):
            with suppress(OodgridError):
                if place := self._places.get(key):
                    return self._rows(place), place.fit.skipped_in.get(place.name, {})
                table, about = manifests.read_table(self._part(key), ScorePart)
                return table, about.skipped
            self._scan()
        raise OodgridError(f"{self._part(key)} is missing: another run took it away. Run snakemake again")

    def write(self, table: pl.DataFrame, about: ScoreTable, path: Path) -> None:
        """Keep a table and give it its second name; parts, and older tables all of whose parts it holds, go."""
        kept = self.folder / f"{digest([about.model_dump(), table.columns])[:32]}.parquet"
        if not is_whole(kept):
            manifests.write_table(kept, table, about)
        link(kept, path)
        for key in about.parts:
            self._part(key).unlink(missing_ok=True)
        for other in {place.table for place in self._places.values()} - {kept}:
            held = {key for key, place in self._places.items() if place.table == other}
            with suppress(FileNotFoundError):
                if held <= about.parts and other.stat().st_nlink == 1:  # no experiment has it any more
                    other.unlink()

    def _part(self, key: str) -> Path:
        return self.folder / "parts" / f"{key}.parquet"

    def _scan(self) -> None:
        """Look through the tables; what is damaged counts as not there."""
        self._places: dict[str, _Place] = {}
        self._open: store.OpenTable | None = None
        for table in sorted(self.folder.glob("*.parquet")):
            with suppress(OodgridError):
                for fit in manifests.read(table, ScoreTable).fits:
                    self._places |= {key: _Place(table, fit, name) for name, key in fit.parts.items()}

    def _rows(self, place: _Place) -> pl.DataFrame:
        """Return a part of a table; the last table stays open, for its parts are asked for one after the other."""
        if self._open is None or self._open.path != place.table:
            self._open = store.OpenTable(place.table)
        columns = self._open.columns
        named = "ood_dataset" if "ood_dataset" in columns else "dataset"
        keys = {named: place.name, "shots": place.fit.shots, "seed": place.fit.seed}
        return self._open.read([name for name in columns if name not in keys], **keys)
