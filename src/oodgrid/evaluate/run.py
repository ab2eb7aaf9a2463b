"""The stage evaluate: every score of every fit against every OOD set, as one tidy table, and the curves to draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from oodgrid import grid, manifests, paths, store
from oodgrid.config import ANY, Choice, Experiment, IdDataset
from oodgrid.evaluate.angles import geometry
from oodgrid.evaluate.compare import compared
from oodgrid.evaluate.estimate.table import estimates
from oodgrid.evaluate.grades import graded
from oodgrid.evaluate.intervals import COLUMNS, fpr_columns
from oodgrid.evaluate.mistakes import SAMPLES
from oodgrid.evaluate.score_table import FULL_SPECTRUM, ScoreTable
from oodgrid.evaluate.stream_table import StreamTable
from oodgrid.evaluate.sweep import SweepTable, temperatures
from oodgrid.identity import computing_fingerprint
from oodgrid.kept import Kept
from oodgrid.measures import first_names
from oodgrid.plan import evaluated
from oodgrid.progress import progress

T = TypeVar("T", bound=ScoreTable)
NAMES = ("experiment", "backbone", "id_dataset", "ood_dataset", "ood_kind", "method", "base_method")
METRICS: dict[str, Any] = {
    **dict.fromkeys(NAMES, pl.String),
    **{"shots": pl.Int32, "seed": pl.Int32, "score": pl.String, "base_score": pl.String, "params": pl.String},
    **{"status": pl.String, "reason": pl.String, "n_id": pl.Int64, "n_ood": pl.Int64},
    **dict.fromkeys(COLUMNS, pl.Float64),
    **dict.fromkeys(("oscr", "aurc", "ece", "ece_floor"), pl.Float64),
    **dict.fromkeys((f"{name}_fs" for name in FULL_SPECTRUM), pl.Float64),
    "id_accuracy": pl.Float64,
}
CURVES: dict[str, Any] = {
    **{name: METRICS[name] for name in (*NAMES[1:], "shots", "seed", "score", "base_score")},
    **{"roc_fpr": pl.List(pl.Float32), "roc_tpr": pl.List(pl.Float32)},
    **{"hist_edges": pl.List(pl.Float64), "hist_id": pl.List(pl.Float32), "hist_ood": pl.List(pl.Float32)},
    **{"threshold95": pl.Float64, "auroc": pl.Float64, "fpr95_id_pos": pl.Float64},
    **{"mistaken_id": SAMPLES, "mistaken_ood": SAMPLES},
}


def evaluate(results: Path, experiment: Experiment) -> list[Path]:
    """Write the tables of `plan.evaluated`, and return their paths, that of metrics.parquet first.

    The tables of scores are read one after the other, and of each one fit or two at a time.

    Raises:
        OodgridError: A score table is missing or damaged, or is not what the config wants.
    """
    tables = list(_tables(results, experiment))
    for table in [*tables, *_sweeps(results, experiment)]:
        with store.opened(table.path):  # what is missing is said before hours of work
            pass
    columns = metrics_schema(experiment)
    rows, curves = [pl.DataFrame(schema=columns)], [pl.DataFrame(schema=CURVES)]
    broken: set[tuple[str, str, int]] = set()
    for table in progress(tables, desc="evaluate", unit="table"):
        measured, of_figures, lacking = table.measure()
        rows.append(pl.DataFrame([{"experiment": experiment.experiment} | row for row in measured], schema=columns))
        curves.append(pl.DataFrame(of_figures, schema=CURVES))
        broken |= {(table.names["backbone"], name, count) for name, count in lacking.items()}
    metrics = pl.concat(rows, rechunk=True)
    transductive = [score.listed("score") for score in experiment.scores if grid.transductive(score)]
    about = manifests.Metrics(
        overlaps=experiment.overlaps(),
        broken_images=sorted(broken),
        transductive=transductive,
        generated=[dataset.name for dataset in experiment.id_datasets if dataset.concept_world or dataset.generated],
    )
    summary, comparisons, ranks = compared(metrics, tables, about, results)
    place = (results, experiment.experiment)
    angles = geometry([(t.path, t.names, t.id_dataset) for t in tables], about.overlaps, experiment.experiment)
    swept = temperatures(list(_sweeps(results, experiment)), about.overlaps, experiment.experiment)
    manifests.write_table(paths.geometry(*place), angles, manifests.GeometryTable())
    manifests.write_table(paths.temperatures(*place), swept, manifests.Temperatures())
    manifests.write_table(paths.curves(*place), pl.concat(curves), manifests.Curves())
    manifests.write_table(paths.summary(*place), summary, manifests.Summary(**about.model_dump()))
    manifests.write_table(paths.comparisons(*place), comparisons, manifests.Comparisons(ranks=ranks))
    if experiment.grades:
        of_samples = [table for table in tables if not isinstance(table, StreamTable)]
        cells = graded(of_samples, experiment.grades, about.overlaps, experiment.experiment)
        manifests.write_table(paths.grades(*place), cells, manifests.GradesTable())
    if experiment.estimate:
        of_samples = [table for table in tables if not isinstance(table, StreamTable)]
        tried = estimates(of_samples, experiment.experiment, Kept(results, "evaluate"))
        manifests.write_table(paths.estimates(*place), *tried)
    manifests.write_table(paths.metrics(*place), metrics, about)
    return [path(*place) for path in evaluated(experiment)]


def metrics_schema(experiment: Experiment) -> dict[str, Any]:
    """Return the columns of metrics.parquet: `METRICS`, and behind them what the config asks for."""
    firsts = [name for count in experiment.firsts for name in first_names(count)]
    return METRICS | dict.fromkeys((*fpr_columns(experiment.recalls), *firsts), pl.Float64)


def _tables(results: Path, experiment: Experiment) -> Iterator[ScoreTable]:
    """Yield every table of scores, in the order of the configuration."""
    kinds = [(ScoreTable, paths.scores), (StreamTable, paths.streams)][: 1 + grid.has_streams(experiment)]
    for method in _methods(results, experiment):
        choices = grid.scores(experiment, method.names["method"])
        for kind, path in kinds:
            yield method.table(kind, path, [c for c in choices if grid.transductive(c) == (kind is StreamTable)])


def _sweeps(results: Path, experiment: Experiment) -> Iterator[SweepTable]:
    """Yield the tables of scores under other temperatures, of the methods that have such."""
    for method in _methods(results, experiment):
        if choices := grid.sweep(experiment, method.names["method"]):
            yield method.table(SweepTable, paths.sweeps, choices)


@dataclass
class _Method:
    """One method of one (backbone, ID set), of which there are tables of scores."""

    place: tuple[Path, str]
    names: dict[str, str]
    dataset: IdDataset
    shared: tuple[Kept, str, tuple[Fraction, ...], tuple[int, ...]]

    def table(self, kind: type[T], path: Callable[..., Path], choices: list[Choice]) -> T:
        """Return the table of some of its scores."""
        scores = {choice.listed("score"): choice.name for choice in choices}
        where = path(*self.place, *(self.names[name] for name in ("backbone", "id_dataset", "method")))
        return kind(where, self.names, scores, self.dataset, *self.shared)


def _methods(results: Path, experiment: Experiment) -> Iterator[_Method]:
    shared = Kept(results, "evaluate"), computing_fingerprint("oodgrid.evaluate"), experiment.recalls, experiment.firsts
    for backbone in experiment.backbones:
        for dataset in experiment.id_datasets:
            for method in grid.methods(experiment):
                base = ANY if method == ANY else experiment.method(method).name
                names = {"backbone": backbone.name, "id_dataset": dataset.name, "method": method, "base_method": base}
                yield _Method((results, experiment.experiment), names, dataset, shared)
