"""The stage score: every score of one method on every sample, in one table.

What is kept is not computed again, score by score: see `oodgrid.score.kept_tables`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from oodgrid import devices, foreseen, grid, paths, plan, registry, store
from oodgrid.config import ANY, Choice, Experiment, IdDataset
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.labels import plain_name
from oodgrid.manifests import Applied, AppliedFit, ScoredFit, ScoreTable
from oodgrid.progress import progress
from oodgrid.score.checks import check_plugins
from oodgrid.score.compute import needed, needs_of
from oodgrid.score.geometry import FitAngles
from oodgrid.score.identities import Identities
from oodgrid.score.inputs import FitInputs, Samples, read_fits, read_samples
from oodgrid.score.kept_tables import Columns, KeptTables
from oodgrid.score.products import computing_on, described_device
from oodgrid.score.texts import read_texts
from oodgrid.score.values import of_set, of_stream, places, protocol_of
from oodgrid.streams import place_column

KEYS = {"dataset": pl.String, "shots": pl.Int32, "seed": pl.Int32}
PREDICTION = "prediction"
SAMPLE = {"index": pl.Int32, "path": pl.String, "label": pl.Int32, PREDICTION: pl.Int32}


def score(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> Path:
    """Score every sample of every set under every (shots, seed) of one method, write the table and return its path.

    Columns: dataset, shots, seed, index, path (with hexadecimal numbers for bytes that are no UTF-8), label, prediction
    (null where there are no logits), and one float64 column per score. A score that was skipped is null; the table's
    metadata say why, fit by fit, and how many broken images a set lacks, and have the angles of
    `oodgrid.score.geometry`. Transductive scores go to a table beside it, `paths.streams`, with `ood_dataset` and the
    place of every sample in the stream of each order before their columns. Scores under other temperatures go to
    another, `paths.sweeps`, of the fits of the largest shots alone.

    Raises:
        OodgridError: A file that is needed is missing or damaged, class names of a pair overlap, or a plugin's score
            breaks the contract.
    """
    dataset = experiment.id_dataset(id_dataset)
    files = {
        name: paths.features(results, backbone, name, "test")
        for name in (id_dataset, *(ood.name for _, ood in dataset.pairs()))
    }
    choices = {choice.listed("score"): choice for choice in grid.scores(experiment, method)}
    alone = experiment.model_copy(update={"id_datasets": [dataset]})
    corruptions, made = grid.corruptions(choices.values()), plan.corrupted_files(results, alone, backbone, method)
    sets = {name: read_samples(name, file, corruptions, made) for name, file in files.items()}
    _check_class_names(dataset, sets)
    check_plugins(choices.values())
    draws = all("bank" in needs_of(choice) for choice in choices.values())
    applied, few_shot = read_fits(results, experiment, backbone, id_dataset, method, draws)
    few_shot.check_labels(sets[id_dataset].features.labels, "test")
    used = foreseen.used_anywhere(experiment, backbone, [dataset], method)  # what no row uses may not be there
    lists = [label_list.name for label_list in experiment.wanted_lists(used)]
    texts = read_texts(results, experiment.backbone(backbone), dataset, needed(choices.values()), lists)
    kept = KeptTables(results, backbone, id_dataset, method)
    identities = Identities(experiment, sets, few_shot, texts)
    tables = list(_tables(experiment, method, identities))
    job = _Job(results, experiment, applied, identities, tables, kept)
    title = f"score {method} on {id_dataset} ({backbone})"
    job.tell(title)
    fits = [job.run(fit) for fit in progress(applied.fits, desc=title, unit="fit")]
    for number, table in reversed(list(enumerate(tables))):
        path = table.path(results, experiment.experiment, backbone, id_dataset, method)
        job.write(number, fits, path)
    return path


@dataclass(frozen=True)
class _Table:
    """A table that the job is to write.

    Attributes:
        path: Where such tables lie, a function of `paths`.
        choices: The scores, by their variants.
        keys: What decides each column beside the rows: of these, and of the predicted classes.
        streams: Whether its rows are streams of the ID set and an OOD set.
        sweep: Whether it is of other temperatures, and has the fits of the largest shots alone.
    """

    path: Callable[..., Path]
    choices: dict[str, Choice]
    keys: dict[str, str]
    streams: bool = False
    sweep: bool = False


def _tables(experiment: Experiment, method: str, identities: Identities) -> Iterator[_Table]:
    """Yield the tables of a method, first that of single samples."""
    listed = grid.scores(experiment, method)

    def of(choices: Iterable[Choice], **others: str) -> tuple[dict[str, Choice], dict[str, str]]:
        variants = {choice.listed("score"): choice for choice in choices}
        return variants, others | {name: identities.of_score(choice) for name, choice in variants.items()}

    predicted = {PREDICTION: identities.prediction}
    yield _Table(paths.scores, *of((each for each in listed if not grid.transductive(each)), **predicted))
    if grid.has_streams(experiment):
        yield _Table(paths.streams, *of(filter(grid.transductive, listed)), streams=True)
    if experiment.temperatures:
        yield _Table(paths.sweeps, *of(grid.sweep(experiment, method), **predicted), sweep=True)


class _Piece(NamedTuple):
    """What a table is to have of one fit: the rows of one set, or of the stream of the ID set and an OOD set.

    Attributes:
        sets: The set, or both.
        rows: What decides the rows.
    """

    sets: tuple[str, ...]
    rows: str


@dataclass
class _Job:
    """Scores all fits of one method, and writes their tables."""

    results: Path
    experiment: Experiment
    applied: Applied
    identities: Identities
    tables: list[_Table]
    kept: KeptTables

    def __post_init__(self) -> None:
        self.sets = self.identities.sets
        self.largest = max((fit.shots for fit in self.applied.fits if fit.status == "ok"), default=0)
        self.angles = FitAngles(self.sets, self.kept.geometry)
        self._of_sets: dict[str, pl.DataFrame] = {}

    def tell(self, title: str) -> None:
        """Say how many scores are to be computed, and how many are kept."""
        fits = product(self.applied.fits, self.tables)
        pieces = [(table.keys, piece.rows) for fit, table in fits for piece in self._pieces(fit, table)]
        missing = [{keys[name] for name in self.kept.missing(rows, keys)} for keys, rows in pieces]
        every = {key for keys, _ in pieces for key in keys.values()} - {self.identities.prediction}
        lacking = every & set[str]().union(*missing)
        work = f"; work for {sum(map(bool, missing)):,} of {counted(len(pieces), 'set')} of all fits" if lacking else ""
        if every:
            todo = f"{len(lacking):,} of {counted(len(every), 'score')} to compute, {len(every) - len(lacking):,} kept"
            print(f"oodgrid: {title}: {todo}{work}", file=sys.stderr)

    def _pieces(self, fit: AppliedFit, table: _Table) -> list[_Piece]:
        """Return what a table is to have of one fit."""
        if fit.status != "ok" or (table.sweep and fit.shots < self.largest):
            return []
        id_set, *ood_sets = self.sets
        every = [(id_set, name) for name in ood_sets] if table.streams else [(name,) for name in self.sets]
        of_samples = not (table.streams or table.sweep)  # that has a row of each sample, even without a score
        return [_Piece(sets, self.identities.of_rows(fit, sets)) for sets in every if table.choices or of_samples]

    def run(self, fit: AppliedFit) -> list[ScoredFit]:
        """Compute what is not kept of one fit; return its entry in each table."""
        texts, precision = self.identities.texts, self.experiment.score_precision
        inputs = FitInputs(self.results, fit, self.applied, self.identities.few_shot, texts, precision)
        outcome = partial(ScoredFit, shots=fit.shots, seed=fit.seed, status=fit.status, reason=fit.reason)
        entries = []
        for table in self.tables:
            pieces = self._pieces(fit, table)
            for piece in pieces:
                self.kept.make(piece.rows, table.keys, partial(self._computed, inputs, table, piece))
            entries.append(outcome(rows={piece.sets[-1]: piece.rows for piece in pieces}))
        if fit.status == "ok" and fit.shots == self.largest and self.applied.method != ANY:
            geometry, no_geometry = self.angles.of_fit(inputs)
            entries[0] = outcome(rows=entries[0].rows, geometry=geometry, no_geometry=no_geometry)
        return entries

    def _computed(self, inputs: FitInputs, table: _Table, piece: _Piece, names: list[str]) -> Columns:
        """Return some columns of a piece, by their names, products being computed where the experiment says."""
        choices = {name: choice for name, choice in table.choices.items() if name in names}
        sets, on_gpu = [self.sets[name] for name in piece.sets], self.experiment.score_device == "gpu"
        with computing_on(devices.gpu("score_device: gpu") if on_gpu else None):
            device = described_device()
            if table.streams:
                id_set, *ood_sets = self.sets.values()
                values = of_stream(inputs, id_set, piece.sets[-1], {each.name: each for each in ood_sets}, choices)
            else:
                values = of_set(inputs, sets[0], choices, predict=PREDICTION in names)
        columns: dict[str, np.ndarray | None] = {PREDICTION: values.predictions, **values.scores}
        count = sum(len(each.features.labels) for each in sets)
        frame = pl.select(
            pl.repeat(None, count, dtype=dtype).alias(name)
            if (column := columns.get(name)) is None
            else pl.lit(pl.Series(name, column, dtype=dtype))
            for name, dtype in ((name, SAMPLE.get(name, pl.Float64)) for name in names)
        )
        return Columns(frame, values.skipped, dict.fromkeys(names, device) if device else {})

    def write(self, number: int, fits: list[list[ScoredFit]], path: Path) -> None:
        """Join what one of the tables is to have of all fits, and write it."""
        table, entries, frames = self.tables[number], [], []
        for of_tables in fits:
            fit = of_tables[number]
            columns = {name: self.kept.read(rows, table.keys) for name, rows in fit.rows.items()}
            frames += [self._frame(table, of_tables, name, of_set.table) for name, of_set in columns.items()]
            if fit.rows or not table.sweep:
                entries.append(_entry(fit, columns, [self.identities.prediction, table.keys]))
        places_of = dict.fromkeys(_places(table) if table.streams else (), pl.Int32)
        set_of_stream = {"ood_dataset": pl.String} if table.streams else {}
        names = {**set_of_stream, **KEYS, **SAMPLE, **places_of, **dict.fromkeys(table.choices, pl.Float64)}
        empty = pl.DataFrame(schema=names)
        about = ScoreTable(
            fits=entries,
            params={name: registry.find("score", c.name).params | c.params for name, c in table.choices.items()},
            scores=table.keys,
            broken_images={n: len(b) for n, s in self.sets.items() if (b := s.features.provenance.get("skipped"))},
            precision=self.experiment.score_precision,
            cached=None if table.streams or table.sweep else self.angles.of_cached(),
        )
        self.kept.write(pl.concat([empty, *(frame.select(empty.columns) for frame in frames)]), about, path)

    def _frame(self, table: _Table, fit: list[ScoredFit], name: str, scores: pl.DataFrame) -> pl.DataFrame:
        """Return the samples of a set, or of a stream, with their scores under one fit, given its entries."""
        keys = [pl.lit(fit[0].shots, pl.Int32).alias("shots"), pl.lit(fit[0].seed, pl.Int32).alias("seed")]
        if not table.streams:
            return self._samples(name).hstack(scores).with_columns(pl.lit(name).alias("dataset"), *keys)
        parts = []
        for of in (next(iter(self.sets)), name):
            predicted = self.kept.read(fit[0].rows[of], {PREDICTION: self.identities.prediction}).table
            parts.append(self._samples(of).hstack(predicted).with_columns(pl.lit(of).alias("dataset")))
        stream = pl.concat(parts).hstack(scores)
        sizes = [len(part) for part in parts]
        named = {
            column: pl.Series(places(*protocol, *sizes), dtype=pl.Int32) for column, protocol in _places(table).items()
        }
        return stream.with_columns(pl.lit(name).alias("ood_dataset"), *keys, **named)

    def _samples(self, name: str) -> pl.DataFrame:
        """Return what a set says of its samples, whatever the fit."""
        if name not in self._of_sets:
            features = self.sets[name].features
            names = store.frames.texts(features.paths)
            columns = {"index": np.arange(len(features.labels)), "path": names, "label": features.labels}
            schema = {name: SAMPLE[name] for name in columns}
            self._of_sets[name] = pl.DataFrame(columns, schema=schema, strict=False)
        return self._of_sets[name]


def _places(table: _Table) -> dict[str, tuple[str, int]]:
    """Return the columns with the places of samples in streams, each with protocol and order."""
    protocols = map(protocol_of, table.choices.values())
    return {place_column({"stream": stream, "order": order}): (stream, order) for stream, order in protocols}


def _entry(fit: ScoredFit, columns: dict[str, Columns], scores: list[Any]) -> ScoredFit:
    """Return the entry of a fit in a table with what is said of its columns, set by set."""
    devices_in = {name: of_set.devices for name, of_set in columns.items() if of_set.devices}
    update = {
        "parts": {name: digest([rows, *scores]) for name, rows in fit.rows.items()},
        "skipped": {score: why for of_set in columns.values() for score, why in of_set.skipped.items()},
        "skipped_in": {name: of_set.skipped for name, of_set in columns.items() if of_set.skipped},
        "devices": {name: "; ".join(sorted(set(those.values()))) for name, those in devices_in.items()},
        "devices_in": devices_in,
    }
    return fit.model_copy(update=update)


def _check_class_names(dataset: IdDataset, sets: dict[str, Samples]) -> None:
    """Refuse pairs whose class names, known only from the files, overlap."""
    id_names = {plain_name(name) for name in sets[dataset.name].features.classnames or ()}
    for kind, ood in dataset.pairs():
        shared = id_names & {plain_name(name) for name in sets[ood.name].features.classnames or ()}
        if shared and kind != "covariate" and not dataset.allow_overlap:
            raise OodgridError(
                f"OOD set {ood.name} overlaps ID set {dataset.name}: they share "
                f"{counted(len(shared), 'class name')}, as "
                f"'{min(shared)}'. Take it out, or write allow_overlap: true under {dataset.name} "
                "(tables will mark the pair)"
            )
