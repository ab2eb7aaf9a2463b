"""One table of scores: one method on one ID set, compared with every OOD set, with one fit or two in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl

from oodgrid import manifests, store
from oodgrid.config import IdDataset
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.evaluate import classification
from oodgrid.evaluate import curves as curve
from oodgrid.evaluate.intervals import all_metrics
from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.evaluate.mistakes import mistaken
from oodgrid.kept import Kept, is_whole
from oodgrid.labels import accuracy
from oodgrid.manifests import PairMetrics, ScoredFit
from oodgrid.threads import side_by_side


class Measured(NamedTuple):
    """What comes of the ID set and one OOD set under one fit.

    Attributes:
        metrics: By score, the numbers of metrics.parquet.
        curves: By score, those of curves.parquet; empty unless figures show the fit.
        accuracy: Of the classification of the ID samples; None where nothing was classified.
    """

    metrics: dict[str, dict[str, float | None]]
    curves: dict[str, dict[str, Any]]
    accuracy: float | None


@dataclass
class Samples:
    """The samples of one fit, whose scores are read when the first comparison wants them.

    Attributes:
        table: The table.
        about: What it says of the fit.
        scores: The scores that the fit has.
        by: The columns that tell the sets of samples apart.
        reading: Held while reading, for one fit after the other: so polars fills one set of buffers.
        places: Of scores of streams whose first samples count: the column with the places in the stream.
        keys: By score, what decides it beside the rows.
        accuracy: Of the classification of the ID samples.
    """

    table: store.OpenTable
    about: ScoredFit
    scores: list[str]
    by: tuple[str, ...]
    reading: AbstractContextManager[Any]
    places: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    accuracy: float | None = None
    _sets: dict[Any, pl.DataFrame] | None = None
    _named: dict[Any, pl.DataFrame] | None = None
    _of_id: dict[Any, classification.Rates] = field(default_factory=dict)
    _measuring: Lock = field(default_factory=Lock)

    def sets(self) -> dict[Any, pl.DataFrame]:
        """Return the scores of every set of samples, by the values of the columns `by`."""
        with self.reading:
            if self._sets is None:
                self._sets = self.columns([*self.scores, *dict.fromkeys(self.places.values()), "label", "prediction"])
            return self._sets

    def named(self) -> dict[Any, pl.DataFrame]:
        """Return the scores of every set as `sets` does, with the paths of the samples."""
        scored = self.sets()
        with self.reading:
            if self._named is None:
                paths = self.columns(["path"])
                self._named = {key: samples.with_columns(paths[key]["path"]) for key, samples in scored.items()}
            return self._named

    def once(self, key: Any, measure: Callable[[], classification.Rates]) -> classification.Rates:
        """Return what `measure` does of the ID samples, measured at the first call with a key; for several threads."""
        with self._measuring:
            if key not in self._of_id:
                self._of_id[key] = measure()
            return self._of_id[key]

    def columns(self, names: list[str]) -> dict[Any, pl.DataFrame]:
        """Return some columns of every set; by the value itself where one column tells sets apart."""
        rows = self.table.read([*self.by, *names], shots=self.about.shots, seed=self.about.seed)
        groups = rows.partition_by(*self.by, as_dict=True, include_key=False)
        return {key[0]: samples for key, samples in groups.items()} if len(self.by) == 1 else groups


@dataclass
class ScoreTable:
    """One table of scores of single samples.

    Attributes:
        path: The file.
        names: What all its rows in metrics.parquet share.
        scores: The scores that the config wants of it, each with the name that it is registered by.
        id_dataset: The ID set, with its OOD sets.
        kept: Where finished comparisons are kept.
        code: The fingerprint of the code that compares.
        recalls: At which false-positive rates are asked for.
        firsts: Of how many first samples of streams rates are asked for.
    """

    path: Path
    names: dict[str, str]
    scores: dict[str, str]
    id_dataset: IdDataset
    kept: Kept
    code: str
    recalls: tuple[Fraction, ...] = ()
    firsts: tuple[int, ...] = ()

    by: ClassVar[tuple[str, ...]] = ("dataset",)
    drawn = True  # whether figures show these scores

    def measure(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]:
        """Return the rows of metrics.parquet, those of curves.parquet, and how many broken images each set lacks.

        Rows are in the order fit, score, OOD set.

        Raises:
            OodgridError: The table is missing or damaged, or is not what the config wants.
        """
        rows: list[dict[str, Any]] = []
        curves: list[dict[str, Any]] = []
        with manifests.open_table(self.path, manifests.ScoreTable) as (table, about):
            self._check(table, about)
            fits = about.fits if self.scores else []
            shown = self.shown(fits)
            pairs = self._pairs(table, about, shown)
            comparisons = side_by_side(lambda pair: self._compare(*pair), pairs)
            for fit in fits:
                oods = self.oods() if fit.status == "ok" else []
                of_sets = {name: next(comparisons) for _, name in oods}
                for score, base in self.scores.items():
                    key = self.names | {"shots": fit.shots, "seed": fit.seed, "score": score, "base_score": base}
                    outcome = self._outcome(fit, score) | {"params": json.dumps(about.params[score])}
                    for kind, name in self.oods():
                        of_pair = key | {"ood_dataset": name, "ood_kind": kind}
                        measured = of_sets.get(name, Measured({}, {}, None))
                        rows.append(
                            of_pair | outcome | measured.metrics.get(score, {}) | {"id_accuracy": measured.accuracy}
                        )
                        if score in measured.curves:
                            curves.append(of_pair | measured.curves[score])
            return rows, curves, about.broken_images

    def shown(self, fits: list[ScoredFit]) -> ScoredFit | None:
        """Return the fit that figures show: the largest shots that worked, its first seed."""
        worked = [fit for fit in fits if fit.status == "ok"] if self.drawn else []
        return max(worked, key=lambda fit: fit.shots, default=None)  # of equals the first

    def _pairs(
        self, table: store.OpenTable, about: manifests.ScoreTable, shown: ScoredFit | None
    ) -> Iterator[tuple[Samples, str, bool]]:
        """Yield what is to be compared: the samples of a fit, an OOD set, and whether figures show it."""
        reading, places = Lock(), self.places(about)
        for fit in about.fits if self.scores else []:
            if fit.status != "ok":
                continue
            scores = [name for name in self.scores if name not in fit.skipped]
            samples = Samples(table, fit, scores, self.by, reading, places, about.scores)
            with reading:
                labelled = samples.columns(["label", "prediction"])
            self._check_sets(fit, labelled)
            samples.accuracy = _id_accuracy(self.pair_of(labelled, self.oods()[0][1])[0])
            for _, name in self.oods():
                yield samples, name, fit is shown

    def _compare(self, samples: Samples, ood: str, shown: bool) -> Measured:
        """Compare the ID set with an OOD set under one fit; metrics are kept, because intervals take time."""

        def of_scores(function: Callable[..., dict[str, Any]], scores: list[str]) -> dict[str, dict[str, Any]]:
            measures = {}
            of_id, other = self.pair_of(samples.sets(), ood)
            for score in scores:
                try:
                    measures[score] = function(of_id[score].to_numpy(), other[score].to_numpy())
                except OodgridError as error:
                    raise OodgridError(f"{self.path}: score {score}, OOD set {ood}: {error}") from error
            return measures

        def compute(scores: list[str]) -> dict[str, dict[str, float | None]]:
            rates = of_scores(self.rates, scores)
            return {name: row | self.more(samples, ood, name) for name, row in rates.items()}

        metrics = self._kept(samples, ood, compute)
        curves = of_scores(_curves, samples.scores) if shown else {}
        if "path" in samples.table.columns:
            for score, points in curves.items():
                points |= mistaken(*self.pair_of(samples.named(), ood), score)
        return Measured(metrics, curves, samples.accuracy)

    def _kept(
        self, samples: Samples, ood: str, compute: Callable[[list[str]], dict[str, dict[str, float | None]]]
    ) -> dict[str, dict[str, float | None]]:
        """Return the metrics of a pair by score, calling `compute(scores)` for those that are not kept.

        One record has those of all scores that experiments have of the pair, or had, each with what decided it: about a
        kB each, so that a score that is put back computes nothing. `kept gc` removes records as a whole.
        """
        rows = self._rows(samples.about, ood)
        path = self.kept.path({"rows": rows, "code": self.code, "measured": self.measured()}, ".json")

        def kept() -> PairMetrics:
            none = PairMetrics(parts=rows, code=self.code, metrics={})
            return manifests.read(path, PairMetrics) if is_whole(path) else none

        known = kept()
        keys = {score: samples.keys.get(score, "") for score in samples.scores}  # none of before: the rows decide all
        missing = [score for score, key in keys.items() if known.scores.get(score) != key]
        metrics = {score: known.metrics[score] for score in keys.keys() - set(missing)}
        if missing:
            metrics |= compute(missing)
            known = kept()  # another experiment may have added its scores meanwhile
            scores, every = known.scores | keys, known.metrics | metrics
            manifests.write(path, PairMetrics(parts=rows, code=self.code, metrics=every, scores=scores))
        return {score: metrics[score] for score in samples.scores}

    def measured(self) -> list[str]:
        """Return what tells the columns that are kept of a comparison: tables of two kinds may hold the same scores."""
        return [type(self).__name__, *map(str, self.recalls)]

    def places(self, about: manifests.ScoreTable) -> dict[str, str]:
        """Return by score the column with the places of samples in its stream, where the first of these count."""
        return {}

    def rates(self, id_scores: np.ndarray, ood_scores: np.ndarray) -> dict[str, float]:
        """Return the metrics of one score that look at nothing but the scores of the two sets."""
        return all_metrics(id_scores, ood_scores, recalls=self.recalls)

    def more(self, samples: Samples, ood: str, score: str) -> dict[str, float | None]:
        """Return the metrics that look at predictions, or at the covariate-shifted sets, of one score."""
        sets = samples.sets()
        of_id, other = self.pair_of(sets, ood)
        sides = of_id[score].to_numpy(), other[score].to_numpy()
        labels, predicted = of_id["label"].to_numpy(), of_id["prediction"].fill_null(-1).to_numpy()
        of_score = self.scores[score], sides[0], labels, predicted
        stream = "" if self.drawn else ood  # in each the ID samples have other scores
        alone = samples.once((score, stream), lambda: classification.of_id(*of_score))
        rates = classification.of_predictions(*of_score, sides[1], alone)
        shifted = [sets[name][score].to_numpy() for name in self._shifted(ood)]
        whole = metrics_from_counts(count_scores(np.concatenate([sides[0], *shifted]), sides[1])) if shifted else {}
        return rates | {f"{name}_fs": whole.get(name) for name in FULL_SPECTRUM}

    def _shifted(self, ood: str) -> list[str]:
        """Return the covariate-shifted sets that count as ID against an OOD set; none against one of themselves."""
        shifted = [name for kind, name in self.oods() if kind == "covariate"]
        return [] if ood in shifted or not self.drawn else shifted

    def oods(self) -> list[tuple[str, str]]:
        """Return kind and name of every OOD set, in order."""
        return [(kind, dataset.name) for kind, dataset in self.id_dataset.pairs()]

    def pair_of(self, sets: dict[Any, pl.DataFrame], ood: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the rows of the ID samples and of those of an OOD set."""
        return sets[self.id_dataset.name], sets[ood]

    def _rows(self, fit: ScoredFit, ood: str) -> list[str]:
        """Return what decides the samples of a pair of sets; of tables of before 2026-11-27 their scores, too."""
        of_sets = fit.rows or fit.parts
        return [of_sets[name] for name in (self.id_dataset.name, ood, *self._shifted(ood))]

    def _outcome(self, fit: ScoredFit, score: str) -> dict[str, str | None]:
        status, reason = fit.status, fit.reason
        if status == "ok" and score in fit.skipped:
            status, reason = "skipped", fit.skipped[score]
        if status == "ok" and fit.shots and self.id_dataset.leaky_selection_on_test:
            leak = "hyper-parameters were chosen on the test set (leaky_selection_on_test)"
            reason = "; ".join(filter(None, (leak, reason)))
        return {"status": status, "reason": reason}

    def _check(self, table: store.OpenTable, about: manifests.ScoreTable) -> None:
        """Raise OodgridError where a file is no table of scores, or of others than the config wants."""
        fixed = {"shots", "seed", *self.by, "label", "prediction"}
        scores = about.params
        columns = sorted((fixed | set(scores)) - set(table.columns)) if scores else []
        if columns:
            lacking = ", ".join(columns)
            raise OodgridError(f"{self.path} is no table of scores: it lacks {lacking}. {store.mend(self.path)}")
        if taken := sorted(set(scores) & {*fixed, "dataset", "index", "path"}):
            raise OodgridError(
                f"{self.path}: a score is called {taken[0]}, as another column of its table is: rename the score"
            )
        if differing := sorted(set(scores) ^ set(self.scores)):
            raise OodgridError(f"{self.path} and the config differ in the scores {', '.join(differing)}: {ANOTHER}")

    def _check_sets(self, fit: ScoredFit, sets: dict[Any, pl.DataFrame]) -> None:
        """Raise OodgridError where a fit lacks the samples of a set."""
        names = {self.id_dataset.name, *(name for _, name in self.oods())}
        if lacking := sorted(names - {name for key in sets for name in np.atleast_1d(key)}):
            of_fit = f"{counted(fit.shots, 'shot')} and seed {fit.seed}"
            raise OodgridError(f"{self.path} holds no scores of {', '.join(lacking)} for {of_fit}: {ANOTHER}")


FULL_SPECTRUM = ("auroc", "fpr95_id_pos", "fpr95_ood_pos", "aupr_in", "aupr_out")  # OpenOOD's, with the suffix _fs
ANOTHER = "it was made from another config. snakemake --forcerun score makes it again"


def _id_accuracy(samples: pl.DataFrame) -> float | None:
    """Return the accuracy on the samples that have a class; None without such, or without predictions."""
    predicted = samples.filter(pl.col("prediction").is_not_null())
    return accuracy(predicted["prediction"].to_numpy(), predicted["label"].to_numpy())


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
