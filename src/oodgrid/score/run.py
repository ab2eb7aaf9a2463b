"""The stage score: every score of one method on every sample, in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from oodgrid import devices, grid, manifests, paths, registry, store
from oodgrid.config import ANY, Choice, Experiment, IdDataset, Precision
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.fewshot import FewShot
from oodgrid.identity import digest
from oodgrid.labels import plain_name
from oodgrid.manifests import Applied, AppliedFit, Geometry, ScoredFit, ScorePart, ScoreTable
from oodgrid.progress import progress
from oodgrid.score.checks import check_plugins
from oodgrid.score.compute import Column, fill, needed, needs_of
from oodgrid.score.geometry import FitAngles
from oodgrid.score.inputs import FitInputs, Samples, read_fits
from oodgrid.score.kept_tables import KeptTables
from oodgrid.score.products import computing_on, described_device
from oodgrid.score.texts import Texts, read_texts

KEYS = {"dataset": pl.String, "shots": pl.Int32, "seed": pl.Int32}
ONE_CLASS = "it compares classes, and the ID set has one"
SAMPLE = {"index": pl.Int32, "path": pl.String, "label": pl.Int32, "prediction": pl.Int32}


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
    sets = {name: Samples(name, store.read_features(file), file) for name, file in files.items()}
    _check_class_names(dataset, sets)
    choices = {choice.listed("score"): choice for choice in grid.scores(experiment, method)}
    check_plugins(choices.values())
    draws = all("bank" in needs_of(choice) for choice in choices.values())
    applied, few_shot = read_fits(results, experiment, backbone, id_dataset, method, draws)
    few_shot.check_labels(sets[id_dataset].features.labels, "test")
    lists = [label_list.name for label_list in experiment.wanted_lists(choices.values())]
    texts = read_texts(results, backbone, dataset, needed(choices.values()), lists)
    job = _Job(
        results,
        sets,
        applied,
        few_shot,
        texts,
        choices,
        {choice.listed("score"): choice for choice in grid.sweep(experiment, method)},
        experiment.score_precision,
        experiment.score_device == "gpu",
        KeptTables(results, backbone, id_dataset, method),
    )
    title = f"score {method} on {id_dataset} ({backbone})"
    fits = [job.run(fit) for fit in progress(applied.fits, desc=title, unit="fit")]
    place = (results, experiment.experiment, backbone, id_dataset, method)
    if grid.has_streams(experiment):
        job.write([fit.streams for fit in fits], job.of_streams, paths.streams(*place))
    if experiment.temperatures:
        job.write([fit.sweep for fit in fits if fit.sweep.parts], job.of_sweep, paths.sweeps(*place))
    return job.write([fit.samples for fit in fits], job.of_samples, paths.scores(*place), cached=job.angles.of_cached())


class _Entries(NamedTuple):
    """The entries of one fit: in the table of scores, of streams, and of scores under other temperatures."""

    samples: ScoredFit
    streams: ScoredFit
    sweep: ScoredFit


@dataclass
class _Job:
    """Scores all fits of one method: the feature files, the texts, the scores, and the store of finished parts."""

    results: Path
    sets: dict[str, Samples]
    applied: Applied
    few_shot: FewShot
    texts: Texts
    choices: dict[str, Choice]
    of_sweep: dict[str, Choice]
    precision: Precision
    on_gpu: bool
    kept: KeptTables

    def __post_init__(self) -> None:
        self.code = sorted({registry.score_code(choice.name) for choice in self.choices.values()})
        self.of_streams = {name: choice for name, choice in self.choices.items() if grid.transductive(choice)}
        self.of_samples = {name: choice for name, choice in self.choices.items() if name not in self.of_streams}
        self.largest = max((fit.shots for fit in self.applied.fits if fit.status == "ok"), default=0)
        self.angles = FitAngles(self.sets, self.kept.geometry)

    def run(self, fit: AppliedFit) -> _Entries:
        """Score one fit on the sets and streams that are not kept; return its entry in each of the tables."""
        outcome = partial(ScoredFit, shots=fit.shots, seed=fit.seed, status=fit.status, reason=fit.reason)
        if fit.status != "ok":
            return _Entries(outcome(), outcome(), outcome())
        inputs = FitInputs(self.results, fit, self.applied, self.few_shot, self.texts, self.precision)
        id_set, *ood_sets = self.sets
        shown = fit.shots == self.largest
        parts = {name: self._of_set(inputs, name, self.of_samples) for name in self.sets}
        sweep = {name: self._of_set(inputs, name, self.of_sweep) for name in self.sets if shown and self.of_sweep}
        streams = {
            ood: self._part(fit, [id_set, ood], self.of_streams, partial(self._score_stream, inputs, id_set, ood))
            for ood in (ood_sets if self.of_streams else ())
        }
        geometry, no_geometry = self.angles.of_fit(inputs) if shown and self.applied.method != ANY else ({}, {})
        samples = outcome(parts=parts, geometry=geometry, no_geometry=no_geometry)
        return _Entries(samples, outcome(parts=streams), outcome(parts=sweep))

    def write(
        self, fits: list[ScoredFit], choices: dict[str, Choice], path: Path, cached: Geometry | None = None
    ) -> Path:
        """Join the parts of some scores in one table: of scores of single samples, or of transductive ones."""
        transductive = choices is self.of_streams
        entries, tables = [], []
        for fit in fits:
            parts: dict[str, ScorePart] = {}
            for name, key in fit.parts.items():
                table, parts[name] = self.kept.read(key)
                tables.append(_keyed(table, fit, name, transductive))
            in_some = {score: reason for part in parts.values() for score, reason in part.skipped.items()}
            skipped_in = {name: part.skipped for name, part in parts.items() if part.skipped}
            on_gpu = {name: part.device for name, part in parts.items() if part.device}
            update = {"skipped": in_some, "skipped_in": skipped_in, "devices": on_gpu}
            entries.append(fit.model_copy(update=update))
        places = {f"place@order={order}": pl.Int32 for order in _orders(self.of_streams if transductive else {})}
        columns = {**SAMPLE, **places, **dict.fromkeys(choices, pl.Float64)}
        empty = pl.DataFrame(schema={**({"ood_dataset": pl.String} if transductive else {}), **KEYS, **columns})
        params = {name: registry.find("score", c.name).params | c.params for name, c in choices.items()}
        broken = {n: len(images) for n, s in self.sets.items() if (images := s.features.provenance.get("skipped"))}
        about = ScoreTable(fits=entries, params=params, broken_images=broken, precision=self.precision, cached=cached)
        self.kept.write(pl.concat([empty, *(table.select(empty.columns) for table in tables)]), about, path)
        return path

    def _of_set(self, fit: FitInputs, name: str, choices: dict[str, Choice]) -> str:
        """Return the key by which some scores of single samples of one set are kept, making them if need be."""
        return self._part(fit.fit, [name], choices, partial(self._score, fit, choices, name))

    def _part(self, fit: AppliedFit, names: list[str], choices: dict[str, Choice], make: Callable[[Path], None]) -> str:
        """Return the key by which some scores of some sets are kept, calling `make(path)` where they are not."""
        applied = [fit.classifier, fit.bank, fit.val, *(fit.sets.get(name) for name in names)]
        identity = {
            "fit": [fit.shots, fit.seed, *applied],
            "features": [self.sets[name].features.digest for name in names],
            "labelled": self.few_shot.digests(fit.shots, fit.seed)
            if fit.shots or "train" in needed(self.choices.values())
            else None,
            "texts": self.texts.digests,
            "scores": sorted([listed, choice.name, choice.params] for listed, choice in choices.items()),
            "precision": self.precision,
            "code": self.code,
        }
        key = digest(identity)
        self.kept.make(key, partial(self._computed, make))
        return key

    def _computed(self, make: Callable[[Path], None], path: Path) -> None:
        """Call `make(path)`, its products being computed where the experiment says."""
        with computing_on(devices.gpu("score_device: gpu") if self.on_gpu else None):
            make(path)

    def _score(self, fit: FitInputs, choices: dict[str, Choice], name: str, path: Path) -> None:
        """Score the samples of one set, block by block: first what needs no local features, then what does."""
        columns = {n: Column(c, fit.lacking, self.texts.lists, self._one_class(c)) for n, c in choices.items()}
        predictions: np.ndarray | None = None
        for local in (False, True):
            group = [column for column in columns.values() if ("local_logits" in column.needs) == local]
            if local and not group:
                break
            blocks = fit.blocks(self.sets[name], {need for column in group for need in column.needs})
            predicted = fill(group, blocks)
            predictions = predictions if local else predicted
        table = _samples(self.sets[name].features, None if self.few_shot.classes == 1 else predictions)
        _write_part(path, table, columns)

    def _one_class(self, choice: Choice) -> str | None:
        """Return why a score says nothing of an ID set of one class, where that is what it is given."""
        alone = self.few_shot.classes == 1 and not registry.find("score", choice.name).makes_of_one
        return ONE_CLASS if alone else None

    def _score_stream(self, fit: FitInputs, id_set: str, ood: str, path: Path) -> None:
        """Score ID and OOD samples in one stream, once for every order that some score has as a parameter."""
        columns = {n: Column(c, fit.lacking, self.texts.lists, self._one_class(c)) for n, c in self.of_streams.items()}
        parts = [self.sets[id_set], self.sets[ood]]
        table = pl.concat([_samples(p.features, None).with_columns(dataset=pl.lit(p.name)) for p in parts])
        for order, names in _orders(self.of_streams).items():
            stream = np.random.default_rng(order).permutation(len(table))
            inputs = fit.stream(parts, stream, {need for name in names for need in columns[name].needs})
            place = np.argsort(stream)
            for name in names:
                values = columns[name].of(inputs)
                columns[name].add(None if values is None else values[place])
            added = {f"place@order={order}": pl.Series(place, dtype=pl.Int32)}
            if "logits" in inputs and self.few_shot.classes != 1:
                added["prediction"] = pl.Series(inputs["logits"].argmax(axis=1)[place], dtype=pl.Int32)
            table = table.with_columns(**added)
        _write_part(path, table, columns)


def _orders(choices: dict[str, Choice]) -> dict[int, list[str]]:
    """Return the seeds of the orders of streams, each with its transductive scores."""
    by_order: dict[int, list[str]] = {}
    for name, choice in choices.items():
        order = choice.params.get("order", registry.find("score", choice.name).params["order"])
        by_order.setdefault(order, []).append(name)
    return by_order


def _samples(features: store.Features, prediction: np.ndarray | None) -> pl.DataFrame:
    names = store.frames.texts(features.paths)
    columns = [np.arange(len(features.labels)), names, features.labels, prediction]
    return pl.DataFrame(dict(zip(SAMPLE, columns, strict=True)), schema_overrides=SAMPLE)


def _write_part(path: Path, table: pl.DataFrame, columns: dict[str, Column]) -> None:
    table = table.with_columns(pl.lit(None, pl.Float64).alias(n) for n, c in columns.items() if c.skipped)
    values = {name: column.values() for name, column in columns.items() if not column.skipped}
    skipped = {name: reason for name, column in columns.items() if (reason := column.skipped)}
    about = ScorePart(skipped=skipped, device=described_device())
    manifests.write_table(path, table.with_columns(**values), about)


def _keyed(table: pl.DataFrame, fit: ScoredFit, name: str, transductive: bool) -> pl.DataFrame:
    """Return the samples of a part, with the columns that tell it from others."""
    keys = {"shots": fit.shots, "seed": fit.seed, ("ood_dataset" if transductive else "dataset"): name}
    types = {**KEYS, "ood_dataset": pl.String}
    return table.with_columns(pl.lit(value, dtype=types[key]).alias(key) for key, value in keys.items())


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
