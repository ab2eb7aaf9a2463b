"""The stage evaluate: every score of every fit against every OOD set, as one tidy table, and the curves to draw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tqdm import tqdm

from oodgrid import grid, paths, store
from oodgrid.config import Experiment, IdDataset
from oodgrid.errors import OodgridError
from oodgrid.evaluate import curves as curve
from oodgrid.evaluate.intervals import COLUMNS, all_metrics
from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.identity import code_fingerprint
from oodgrid.kept import Kept
from oodgrid.labels import accuracy

NAMES = dict.fromkeys(("experiment", "backbone", "id_dataset", "ood_dataset", "ood_kind", "method"), pl.String)
METRICS = {
    **NAMES,
    **{"shots": pl.Int32, "seed": pl.Int32, "score": pl.String, "params": pl.String},
    **{"status": pl.String, "reason": pl.String, "n_id": pl.Int64, "n_ood": pl.Int64},
    **dict.fromkeys(COLUMNS, pl.Float64),
    "id_accuracy": pl.Float64,
}
CURVES = {
    **{name: METRICS[name] for name in ("backbone", "id_dataset", "ood_dataset", "ood_kind", "method", "shots")},
    **{"seed": pl.Int32, "score": pl.String, "roc_fpr": pl.List(pl.Float32), "roc_tpr": pl.List(pl.Float32)},
    **{"hist_edges": pl.List(pl.Float64), "hist_id": pl.List(pl.Float32), "hist_ood": pl.List(pl.Float32)},
    **{"threshold95": pl.Float64, "auroc": pl.Float64, "fpr95_id_pos": pl.Float64},
}


def evaluate(results: Path, experiment: Experiment) -> tuple[Path, Path]:
    """Write metrics.parquet and curves.parquet from the score tables, and return their paths.

    Raises:
        OodgridError: A score table is missing or damaged.
    """
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    tables = list(_tables(results, experiment))
    for table in tqdm(tables, desc="evaluate", unit="table", delay=5):
        rows += table.rows()
        curves += table.curves()
    written = paths.metrics(results, experiment.experiment), paths.curves(results, experiment.experiment)
    constant = {"experiment": experiment.experiment}
    frame = pl.DataFrame([constant | row for row in rows], schema=METRICS)
    store.write_table(written[1], pl.DataFrame(curves, schema=CURVES))
    broken = {(t.names["backbone"], name, count) for t in tables for name, count in t.broken_images.items()}
    transductive = [score.listed("score") for score in experiment.scores if grid.transductive(score)]
    about = {"overlaps": experiment.overlaps(), "broken_images": sorted(broken), "transductive": transductive}
    store.write_table(written[0], frame, about)
    return written


def _tables(results: Path, experiment: Experiment) -> Iterator[_ScoreTable]:
    kept = Kept(results, "evaluate")
    code = code_fingerprint("oodgrid.evaluate")
    for backbone in experiment.backbones:
        for id_dataset in experiment.id_datasets:
            for method in grid.methods(experiment):
                path = paths.scores(results, experiment.experiment, backbone.name, id_dataset.name, method)
                names = {"backbone": backbone.name, "id_dataset": id_dataset.name, "method": method}
                yield _ScoreTable(path, names, id_dataset, kept, code)
                if grid.has_streams(experiment):
                    path = paths.streams(results, experiment.experiment, backbone.name, id_dataset.name, method)
                    yield _StreamTable(path, names, id_dataset, kept, code)


@dataclass
class _ScoreTable:
    """One table of scores: one method of one (backbone, ID set), with all its fits."""

    path: Path
    names: dict[str, str]
    id_dataset: IdDataset
    kept: Kept
    code: str

    by = ("dataset",)

    def __post_init__(self) -> None:
        table, metadata = store.read_table(self.path)
        _check(self.path, table, metadata, self.by)
        self.fits, self.params = metadata["units"], metadata["params"]
        self.broken_images = metadata.get("broken_images", {})
        self.samples = {
            unit: _partition(samples, self.by)
            for unit, samples in table.partition_by("shots", "seed", as_dict=True).items()
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every row of metrics.parquet, in the order fit, score, OOD set.

        Raises:
            OodgridError: The table lacks a set of the config.
        """
        self._check_sets()
        for fit in self.fits if self.params else ():
            results = {} if fit["status"] != "ok" else {name: self._pair(fit, name) for _, name in self._oods()}
            accuracy = self._accuracy(fit) if fit["status"] == "ok" else None
            for score in self.params:
                for kind, name in self._oods():
                    key = self._key(fit, score) | {"ood_dataset": name, "ood_kind": kind}
                    yield (
                        key
                        | self._outcome(fit, score)
                        | results.get(name, {}).get(score, {})
                        | {"id_accuracy": accuracy}
                    )

    def curves(self) -> Iterator[dict[str, Any]]:
        """Yield the curves of the fit that figures show: the largest shots that worked, its first seed."""
        worked = [fit for fit in self.fits if fit["status"] == "ok"]
        if not worked:
            return
        shown = next(fit for fit in worked if fit["shots"] == max(f["shots"] for f in worked))
        for score in self.params:
            if score in shown["skipped"]:
                continue
            for kind, name in self._oods():
                key = self._key(shown, score) | {"ood_dataset": name, "ood_kind": kind}
                yield key | _curves(*self._values(shown, name, score))

    def _check_sets(self) -> None:
        wanted = {self.id_dataset.name, *(name for _, name in self._oods())}
        for fit in self.fits if self.params else ():
            there = {name for key in self.samples.get((fit["shots"], fit["seed"]), {}) for name in np.atleast_1d(key)}
            if fit["status"] == "ok" and (lacking := sorted(wanted - there)):
                of_fit = f"{fit['shots']} shots and seed {fit['seed']}"
                raise OodgridError(
                    f"{self.path} holds no scores of {', '.join(lacking)} for {of_fit}: it was made from another "
                    "config. snakemake --forcerun score makes it again"
                )

    def _oods(self) -> list[tuple[str, str]]:
        return [(kind, dataset.name) for kind, dataset in self.id_dataset.pairs()]

    def _key(self, fit: dict[str, Any], score: str) -> dict[str, Any]:
        return {**self.names, "shots": fit["shots"], "seed": fit["seed"], "score": score}

    def _outcome(self, fit: dict[str, Any], score: str) -> dict[str, Any]:
        status, reason = fit["status"], fit["reason"]
        if status == "ok" and score in fit["skipped"]:
            status, reason = "skipped", fit["skipped"][score]
        if status == "ok" and fit["shots"] and self.id_dataset.leaky_selection_on_test:
            leak = "hyper-parameters were chosen on the test set (leaky_selection_on_test)"
            reason = "; ".join(filter(None, (leak, reason)))
        return {"status": status, "reason": reason, "params": json.dumps(self.params[score])}

    def _values(self, fit: dict[str, Any], ood: str, score: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of the ID samples and of those of an OOD set."""
        of_fit = self.samples[fit["shots"], fit["seed"]]
        own, other = (of_fit[name][score].to_numpy() for name in (self.id_dataset.name, ood))
        return own, other

    def _accuracy(self, fit: dict[str, Any]) -> float | None:
        return _id_accuracy(self.samples[fit["shots"], fit["seed"]][self.id_dataset.name])

    def _parts(self, fit: dict[str, Any], ood: str) -> list[str]:
        """Return the kept files that hold the scores of a pair of sets."""
        return [fit["parts"][self.id_dataset.name], fit["parts"][ood]]

    def _pair(self, fit: dict[str, Any], ood: str) -> dict[str, dict[str, float]]:
        """Return the metrics of every score on one pair of sets; kept, because intervals take time."""
        scores = [score for score in self.params if score not in fit["skipped"]]
        parts = self._parts(fit, ood)

        def compute(path: Path) -> None:
            store.write_json(path, {score: self._compare(fit, ood, score) for score in scores})

        return store.read_json(self.kept.get({"parts": parts, "scores": scores, "code": self.code}, ".json", compute))

    def _compare(self, fit: dict[str, Any], ood: str, score: str) -> dict[str, float]:
        return all_metrics(*self._values(fit, ood, score))


class _StreamTable(_ScoreTable):
    """The same of transductive scores: a stream holds the ID samples and those of one OOD set."""

    by = ("ood_dataset", "dataset")

    def curves(self) -> Iterator[dict[str, Any]]:
        """Yield nothing: no figure puts them beside scores of single samples."""
        return iter(())

    def _values(self, fit: dict[str, Any], ood: str, score: str) -> tuple[np.ndarray, np.ndarray]:
        of_fit = self.samples[fit["shots"], fit["seed"]]
        own, other = (of_fit[ood, name][score].to_numpy() for name in (self.id_dataset.name, ood))
        return own, other

    def _accuracy(self, fit: dict[str, Any]) -> float | None:
        return _id_accuracy(self.samples[fit["shots"], fit["seed"]][self._oods()[0][1], self.id_dataset.name])

    def _parts(self, fit: dict[str, Any], ood: str) -> list[str]:
        return [fit["parts"][ood]]


def _id_accuracy(samples: pl.DataFrame) -> float | None:
    """Return the accuracy on the samples that have a class; None without such, or without predictions."""
    predicted = samples.filter(pl.col("prediction").is_not_null())
    return accuracy(predicted["prediction"].to_numpy(), predicted["label"].to_numpy())


def _check(path: Path, table: pl.DataFrame, metadata: dict[str, Any], by: tuple[str, ...]) -> None:
    """Raise OodgridError where a file is no table of the stage score, or a score has the name of another column."""
    about = [name for name in ("units", "params") if name not in metadata]
    fixed = {"shots", "seed", *by, "label", "prediction"}
    scores = metadata.get("params", {})
    columns = sorted((fixed | set(scores)) - set(table.columns)) if scores else []
    if about or columns:
        raise OodgridError(
            f"{path} is no table of scores: it lacks {', '.join(about + columns)}. "
            "Delete it, and the next run makes it again"
        )
    if taken := sorted(set(scores) & {*fixed, "dataset", "index", "path"}):
        raise OodgridError(f"{path}: a score is called {taken[0]}, as another column of its table is: rename the score")


def _partition(table: pl.DataFrame, by: tuple[str, ...]) -> dict[Any, pl.DataFrame]:
    """Return the samples by the values of some columns; by the value itself where it is one column."""
    found = table.partition_by(*by, as_dict=True)
    return {key[0]: samples for key, samples in found.items()} if len(by) == 1 else found


def _curves(id_scores: np.ndarray, ood_scores: np.ndarray) -> dict[str, Any]:
    counts = count_scores(id_scores, ood_scores)
    metrics = metrics_from_counts(counts)
    fpr, tpr = curve.roc_points(counts, most=128)
    edges, in_id, in_ood = curve.histograms(id_scores, ood_scores)
    return {
        "roc_fpr": fpr.tolist(),
        "roc_tpr": tpr.tolist(),
        "hist_edges": edges.tolist(),
        "hist_id": in_id.tolist(),
        "hist_ood": in_ood.tolist(),
        "threshold95": curve.id_threshold95(counts),
        "auroc": metrics["auroc"],
        "fpr95_id_pos": metrics["fpr95_id_pos"],
    }
