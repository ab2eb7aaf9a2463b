"""Which detector of an experiment: by the names that a user gives, or the best by its metrics."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodgrid import config, grid, manifests, paths
from oodgrid.config import ANY, Choice, Experiment
from oodgrid.counts import counted, plural
from oodgrid.errors import OodgridError, near, unknown
from oodgrid.manifests import Comparisons, Metrics

if TYPE_CHECKING:
    import polars as pl

DEFAULT = Path("config.yaml")
BY_USER = "method and score were named"


@dataclass(frozen=True)
class Wanted:
    """What a user asked for; None where nothing was named."""

    backbone: str | None = None
    id_dataset: str | None = None
    method: str | None = None
    score: str | None = None
    shots: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Chosen:
    """One detector of an experiment.

    Attributes:
        backbone, id_dataset, method: By their names in the experiment; the method maybe `any`.
        score: The score.
        shots, seed: Of the fit; both 0 for methods without shots.
        why: Who chose method and score, and by what.
    """

    backbone: str
    id_dataset: str
    method: str
    score: Choice
    shots: int
    seed: int
    why: str = BY_USER

    def __str__(self) -> str:
        fit = f" at {counted(self.shots, 'shot')}, seed {self.seed}" if self.shots else ""
        return f"{self.method}{fit} on {self.id_dataset} ({self.backbone})"

    @property
    def options(self) -> str:
        """What names it on the command line."""
        fit = f" --shots {self.shots} --seed {self.seed}" if self.shots else ""
        return (
            f"--backbone {self.backbone} --id-dataset {self.id_dataset} --method {self.method} "
            f"--score {self.score.listed('score')}{fit}"
        )


def planned(results: Path, experiment: str) -> Experiment:
    """Return an experiment by its name, as its last run was planned.

    Raises:
        OodgridError: None of that name was run here.
    """
    files = sorted(results.glob(str(paths.planned(Path(), "*", "*"))), key=lambda path: path.stat().st_mtime_ns)
    latest = {file.parents[1].name: file for file in files}
    if experiment in latest:
        return config.load(latest[experiment])
    described = _described()
    if experiment in described:
        raise not_run(results, experiment)
    if latest or near(experiment, described):
        raise unknown(f"experiment in {results}", experiment, {**latest, **described})
    raise OodgridError(f"no experiment was run in {results}: run snakemake first, or name its folder by --results")


def not_run(results: Path, experiment: str) -> OodgridError:
    """Return the error for an experiment of which there are no fits, with the command that makes them."""
    file, metrics = _described().get(experiment, DEFAULT), paths.metrics(results, experiment)
    there = f": {metrics} is there, but no fit" if metrics.exists() else ""
    option = "" if file == DEFAULT else f" --configfile {shlex.quote(str(file))}"
    return OodgridError(f"experiment {experiment} was not run here{there}. Run snakemake --cores 8{option} first")


def _described() -> dict[str, Path]:
    """Return the configurations in this folder by the names of their experiments."""
    files: dict[str, Path] = {}
    for file in (DEFAULT, *sorted(Path("experiments").glob("*.yaml"))):
        with suppress(OodgridError):  # a config that cannot be read says so where it is used
            files.setdefault(str(config.read_config_file(file).get("experiment")), file)
    return files


def choose(results: Path, experiment: Experiment, wanted: Wanted) -> Chosen:
    """Return the detector that is meant; where method or score are not named, the best of the experiment.

    Raises:
        OodgridError: A name is none of the experiment's, or it has several and none was named; the score is
            transductive; or no metrics are there to choose by.
    """
    backbone = _only(experiment.backbones, experiment.backbone, wanted.backbone, "backbones", "--backbone")
    dataset = _only(experiment.id_datasets, experiment.id_dataset, wanted.id_dataset, "ID datasets", "--id-dataset")
    if wanted.method is not None and wanted.method != ANY:
        experiment.method(wanted.method)
    score = None if wanted.score is None else _score(experiment, wanted.score)
    for name, value, known in (("shots", wanted.shots, experiment.shots), ("seed", wanted.seed, experiment.seeds)):
        if value and value not in known:
            raise OodgridError(f"the experiment has no {name} {value}: choose of {', '.join(map(str, sorted(known)))}")
    if wanted.method is None or score is None:
        return _best(results, experiment, wanted, backbone, dataset, score)
    shots, seed = _fit(experiment, wanted.method, wanted)
    return Chosen(backbone, dataset, wanted.method, score, shots, seed)


def _only(things: Iterable[Any], find: Any, name: str | None, what: str, option: str) -> str:
    names = [thing.name for thing in things]
    if name is not None:
        return str(find(name).name)
    if len(names) > 1:
        raise OodgridError(f"the experiment has several {what}: choose one by {option}, of {', '.join(names)}")
    return names[0]


def _score(experiment: Experiment, name: str) -> Choice:
    known = {score.listed("score"): score for score in experiment.scores}
    if name not in known:
        raise unknown("score of this experiment", name, known)
    if grid.transductive(known[name]):
        raise OodgridError(
            f"score {name} is transductive: its value for an image depends on the images before it in a stream, so it "
            "can judge no image by itself; choose another score"
        )
    if grid.takes_corrupted(known[name]):
        raise OodgridError(
            f"score {name} looks at corrupted versions of each image, which a detector does not make; choose another "
            "score"
        )
    return known[name]


def _fit(experiment: Experiment, method: str, wanted: Wanted) -> tuple[int, int]:
    """Return shots and seed: as given, else the most shots and the first seed."""
    fits = [(fit.shots, fit.seed) for fit in grid.fits(experiment, method)]
    if fits == [(0, 0)]:
        if wanted.shots or wanted.seed:
            raise OodgridError(f"method {method} learns from no shots: leave out --shots and --seed")
        return 0, 0
    return (
        max(experiment.shots) if wanted.shots is None else wanted.shots,
        experiment.seeds[0] if wanted.seed is None else wanted.seed,
    )


def _best(
    results: Path, experiment: Experiment, wanted: Wanted, backbone: str, dataset: str, score: Choice | None
) -> Chosen:
    """Return the detector of highest AUROC: the mean over OOD sets (covariate shifts are none) and seeds."""
    table, about = manifests.read_table(paths.metrics(results, experiment.experiment), Metrics)
    rows = _candidates(table, about, experiment, wanted, backbone, dataset, score)
    if not len(rows):
        raise OodgridError(
            "no detector of the experiment has metrics of every OOD set under what was asked for: name others, or less"
        )
    best, among, alike = rows.row(0, named=True), counted(len(rows), "detector"), ""
    named = [f"{name} {value}" for name, value in (("method", wanted.method), ("score", wanted.score)) if value]
    if not (named or wanted.shots or wanted.seed) and (
        by_best_set := _by_best_set(results, experiment, backbone, dataset, rows)
    ):
        best, family, others = by_best_set
        among = f"{counted(family, 'detector')} at their most shots"
        alike = f"; {others or 'no'} {plural(others, 'other')} cannot be told from it"
    chosen_score = next(each for each in experiment.scores if each.listed("score") == best["score"])
    shots, seed = (
        (0, 0) if not best["shots"] else _fit(experiment, best["method"], replace(wanted, shots=best["shots"]))
    )
    why = (
        f"the best of {among}{' with ' * bool(named)}{' and '.join(named)} by AUROC on the experiment's OOD sets, "
        f"{100 * best['auroc']:.2f} on average{alike}: a choice made by OOD results, whose number is optimistic"
    )
    return Chosen(backbone, dataset, best["method"], chosen_score, shots, seed, why)


def _by_best_set(
    results: Path, experiment: Experiment, backbone: str, dataset: str, rows: pl.DataFrame
) -> tuple[dict[str, Any], int, int] | None:
    """Return the best detector at the most shots, of how many, and how many others are not distinguishable from it.

    None where the experiment has no comparisons.
    """
    file = paths.comparisons(results, experiment.experiment)
    if not file.exists():
        return None
    import polars as pl

    family = manifests.read_table(file, Comparisons)[0].filter(
        pl.col("backbone") == backbone, pl.col("id_dataset") == dataset, pl.col("scope") == "overall",
        pl.col("metric") == "auroc", pl.col("against") == "best", ~pl.col("transductive"),
    )  # fmt: skip
    best = family.filter("is_best").select("method", "shots", "score").rows()
    whole = [row for row in rows.iter_rows(named=True) if (row["method"], row["shots"], row["score"]) in best]
    return (whole[0], len(family), int(family["in_best_set"].sum()) - 1) if whole else None


def _candidates(
    table: pl.DataFrame, about: Metrics, experiment: Experiment, wanted: Wanted, backbone: str, dataset: str,
    score: Choice | None,
) -> pl.DataFrame:  # fmt: skip
    """Return method, shots, score and mean AUROC of every detector that has all its rows, best first."""
    import polars as pl

    named = {"method": wanted.method, "shots": wanted.shots or None, "score": score and score.listed("score")}
    table = table.filter(
        pl.col("backbone") == backbone, pl.col("id_dataset") == dataset, pl.col("ood_kind") != "covariate",
        ~pl.col("score").is_in(about.transductive),
        *(pl.col(name) == value for name, value in named.items() if value is not None),
    )  # fmt: skip
    overlapping = [ood for own, ood in about.overlaps if own == dataset]  # their numbers stand in no mean
    table = table.filter(~pl.col("ood_dataset").is_in(overlapping))
    if wanted.method is None:  # a method that combines others is no function of an image
        combining = [name for name in grid.methods(experiment) if grid.parts(experiment, name)]
        table = table.filter(~pl.col("method").is_in(combining))
    if wanted.seed is not None:
        table = table.filter(pl.col("seed").is_in([0, wanted.seed]))
    of_each = table.group_by("method", "shots", "score", maintain_order=True).agg(
        pl.col("auroc").mean(), whole=(pl.col("status") == "ok").all()
    )
    return of_each.filter("whole").sort("auroc", descending=True, maintain_order=True)
