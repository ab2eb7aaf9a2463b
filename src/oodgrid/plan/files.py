"""Which files an experiment adds up to, and which of them each job reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

from oodgrid import foreseen, grid, paths, registry
from oodgrid.config import ANY, Dataset, Experiment, IdDataset, Views
from oodgrid.identity import digest
from oodgrid.plan.corrupted import corrupted_files
from oodgrid.plan.pseudo_ood import pseudo_ood_files
from oodgrid.plan.text_files import text_files

_SUFFIXES = ("tex", "md", "csv", "html")
TABLES = (  # of each backbone and ID dataset
    *(f"{name}.{suffix}" for name in ("main", "scores", "sets") for suffix in _SUFFIXES),
    "main-column.tex",
    "full.csv",
    "skipped.csv",
    "skipped.md",
)
STREAM_TABLES = tuple(f"streams.{suffix}" for suffix in _SUFFIXES)  # where a score is transductive
GRADE_TABLES = tuple(f"grades.{suffix}" for suffix in _SUFFIXES)  # where the config asks for grades
SUMMARY = "summary.md"  # of the experiment


def feature_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return every feature and text file."""
    files = []
    for backbone in experiment.backbones:
        for dataset in {dataset.name: dataset for dataset in experiment.datasets()}.values():
            files += split_files(results, backbone.name, dataset)
        files += [text.path for text in text_files(results, experiment, backbone.name)]
    return files


def encoded_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return every file that encoding makes, with the views that methods learn from.

    They are targets, so that deleting one, as `verify` advises where images changed, makes it again with all that
    follows: Snakemake does not notice a missing intermediate file where the final ones exist.
    """
    files: set[Path] = set()
    for backbone in experiment.backbones:
        for dataset in experiment.datasets():
            files.update(() if dataset.imported else split_files(results, backbone.name, dataset))
        files.update(corrupted_files(results, experiment, backbone.name))
        for dataset in experiment.id_datasets:
            for method in grid.methods(experiment):
                for of_method in (view_files, pseudo_ood_files):
                    files.update(of_method(results, experiment, backbone.name, dataset.name, method))
        files.update(text.path for text in text_files(results, experiment, backbone.name) if text.is_encoded)
    return sorted(files)


def is_redrawn(results: Path, experiment: Experiment) -> bool:
    """Return whether a run can do no more than draw metrics that came with a clone: the imports are not there."""
    there = paths.metrics(results, experiment.experiment).exists()
    return there and not result_files(results, experiment) and not encoded_files(results, experiment)


def result_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return score tables and metrics, so that one which was deleted is made again; not where imports are missing.

    Then there are the metrics that came with a clone, from which the report is made.
    """
    imports = {d.name for d in experiment.datasets() if d.imported}
    tests = [paths.features(results, b.name, name, "test") for b in experiment.backbones for name in imports]
    tables = evaluated_files(results, experiment)
    return tables + score_files(results, experiment) if all(file.exists() for file in tests) else []


def evaluated_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return the tables that the stage evaluate leaves."""
    return [path(results, experiment.experiment) for path in evaluated(experiment)]


def evaluated(experiment: Experiment) -> list[Callable[..., Path]]:
    """Return where these tables lie, as functions of `paths`."""
    asked = {paths.grades: bool(experiment.grades), paths.estimates: experiment.estimate}
    return [*paths.EVALUATED, *(path for path, wanted in asked.items() if wanted)]


def shard_files(results: Path, experiment: Experiment, backbone: str, dataset: str) -> list[Path]:
    """Return the manifests of the shards in which a dataset is encoded; none where it is one job."""
    return [paths.shard(results, backbone, dataset, *shard) for shard in _shards(experiment.dataset(dataset))]


def view_shard_files(
    results: Path, experiment: Experiment, backbone: str, id_dataset: str, family: str, draws: str
) -> list[Path]:
    """Return the manifests of the shards in which views are encoded; none where that is one job."""
    place = (results, backbone, id_dataset, family, draws)
    return [paths.view_shard(*place, *shard) for shard in _shards(experiment.id_dataset(id_dataset))]


def _shards(dataset: Dataset) -> list[tuple[int, int]]:
    """Return number and count of the shards in which a dataset is encoded; none where it is one job."""
    return [(number, dataset.shards) for number in range(1, dataset.shards + 1)] if dataset.shards > 1 else []


def encoded_splits(results: Path, experiment: Experiment, backbone: str, dataset: str) -> list[Path]:
    """Return the feature files of a dataset that one job makes: of whole splits."""
    entry = experiment.dataset(dataset)
    return [paths.features(results, backbone, dataset, split) for split in _whole_splits(entry)]


def _whole_splits(dataset: Dataset) -> tuple[str, ...]:
    return tuple(split for split in dataset.split_names if dataset.file_of(split) == split)


def drawn(experiment: Experiment) -> list[str]:
    """Return the ID datasets of whose training split only what the draws take is encoded."""
    return [dataset.name for dataset in experiment.id_datasets if dataset.draws]


def fit_input(results: Path, experiment: Experiment, backbone: str, id_dataset: str) -> list[Path]:
    """Return what every fit may see: train, val and text; a test file only where the config asks for that leak."""
    dataset = experiment.id_dataset(id_dataset)
    seen = ("train", "val", "test") if dataset.leaky_selection_on_test else ("train", "val")
    splits = [f for f in split_files(results, backbone, dataset) if _split(f) in seen]
    return splits + [text.path for text in text_files(results, _only(experiment, dataset), backbone, scores=False)]


def drawn_from(results: Path, experiment: Experiment, backbone: str, id_dataset: str) -> list[Path]:
    """Return the training split of which draws have views, and the val split where another job makes it."""
    dataset = experiment.id_dataset(id_dataset)
    apart = ("train", "val") if dataset.train == "drawn" else ("train",)
    return [file for file in split_files(results, backbone, dataset) if _split(file) in apart]


def view_files(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> list[Path]:
    """Return the augmented views that a method learns from, if it does."""
    family = None if method == ANY else experiment.method(method).params.get("views")
    dataset = experiment.id_dataset(id_dataset)
    asked = family is not None and not foreseen.method_is_skipped(experiment, backbone, id_dataset, method)
    encoded = [views for views in dataset.views if views.family == family] if asked else []
    return [views_file(results, experiment, backbone, id_dataset, views) for views in encoded]


def outlier_files(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> list[Path]:
    """Return the training splits of OOD sets that a method learns from, if it learns from labelled OOD samples."""
    if method == ANY or "outliers" not in registry.find("method", experiment.method(method).name).needs:
        return []
    oods = [ood for _, ood in experiment.id_dataset(id_dataset).pairs()]
    return [file for ood in oods for file in split_files(results, backbone, ood) if _split(file) == "train"]


def fitted_parts(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> list[Path]:
    """Return the manifests of the fits of the methods that a method combines; none for most."""
    place = (results, experiment.experiment, backbone, id_dataset)
    return [paths.fitted(*place, part) for part in grid.parts(experiment, method)]


def applied_parts(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> list[Path]:
    """Return the manifests of what these methods left of each set."""
    place = (results, experiment.experiment, backbone, id_dataset)
    return [paths.applied(*place, part) for part in grid.parts(experiment, method)]


def views_file(results: Path, experiment: Experiment, backbone: str, id_dataset: str, views: Views) -> Path:
    """Return where views lie; an experiment of other draws, or of another count or seed of views, has another file."""
    draws = digest([sorted(set(experiment.shots)), sorted(set(experiment.seeds)), views.model_dump()])[:8]
    return paths.views(results, backbone, id_dataset, views.family, draws)


def test_features(results: Path, experiment: Experiment, backbone: str, id_dataset: str) -> list[Path]:
    """Return the test split of the ID set and of its OOD sets."""
    dataset = experiment.id_dataset(id_dataset)
    names = [id_dataset, *(ood.name for _, ood in dataset.pairs())]
    return [paths.features(results, backbone, name, "test") for name in names]


def score_input(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> list[Path]:
    """Return what a score job reads: features, the splits with the shots, what apply left, and texts."""
    dataset = experiment.id_dataset(id_dataset)
    labelled = [f for f in split_files(results, backbone, dataset) if _split(f) in ("train", "val")]
    applied = [] if method == ANY else [paths.applied(results, experiment.experiment, backbone, id_dataset, method)]
    alone = _only(experiment, dataset)
    read = [text.path for text in text_files(results, alone, backbone, method, fits=False)]
    read += corrupted_files(results, alone, backbone, method)
    return test_features(results, experiment, backbone, id_dataset) + labelled + applied + read


def score_tables(experiment: Experiment) -> list[Callable[..., Path]]:
    """Return where the tables of a score job lie, as functions of `paths`."""
    streams = [paths.streams] if grid.has_streams(experiment) else []
    return [paths.scores, *streams, *([paths.sweeps] if experiment.temperatures else [])]


def score_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return every score table."""
    return [
        path(results, experiment.experiment, backbone.name, dataset.name, method)
        for path in score_tables(experiment)
        for backbone in experiment.backbones
        for dataset in experiment.id_datasets
        for method in grid.methods(experiment)
    ]


def table_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return every table of the report."""
    names = TABLES + (STREAM_TABLES if grid.has_streams(experiment) else ())
    names += GRADE_TABLES if experiment.grades else ()
    of_pairs = [folder / name for folder in _pair_folders(results, experiment, "tables") for name in names]
    return [paths.report(results, experiment.experiment, "tables") / SUMMARY, *of_pairs]


def figure_files(results: Path, experiment: Experiment, figure: str | None = None) -> list[Path]:
    """Return the files of every figure, or of one: of each ID dataset, and of each backbone where it has several."""
    root = paths.report(results, experiment.experiment, "figures")
    of_pair = paths.FIGURES + asked_figures(experiment)
    names: dict[Path, tuple[str, ...]] = dict.fromkeys(_pair_folders(results, experiment, "figures"), of_pair)
    of_backbone = paths.figures_of_backbone(len(experiment.id_datasets))
    names |= {root / backbone.name: of_backbone for backbone in experiment.backbones}
    return [
        folder / f"{name}{width}.{suffix}"
        for folder, names_of_folder in names.items()
        for name, width, suffix in product(names_of_folder, paths.WIDTHS, paths.FORMATS)
        if figure in (None, name)
    ]


def asked_figures(experiment: Experiment) -> tuple[str, ...]:
    """Return the figures of each backbone and ID dataset that the configuration asks for."""
    return tuple(figure for key, figure in paths.FIGURES_IF_ASKED.items() if getattr(experiment, key))


def report_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return the whole report, with the digests of its parts."""
    parts = report_parts(results, experiment)
    digests = [paths.digests(results, experiment.experiment, part) for part in parts]
    return [file for files in parts.values() for file in files] + digests


def report_parts(results: Path, experiment: Experiment) -> dict[str, list[Path]]:
    """Return the files of each part of the report."""
    return {
        "tables": table_files(results, experiment),
        "figures": figure_files(results, experiment),
        "page": [paths.report(results, experiment.experiment, "page")],
    }


def encoded(experiment: Experiment) -> dict[tuple[str, ...], list[str]]:
    """Return the datasets that encoding makes, by the splits that they have."""
    names_by_splits: dict[tuple[str, ...], set[str]] = {}
    for dataset in experiment.datasets():
        if not dataset.imported:
            names_by_splits.setdefault(_whole_splits(dataset), set()).add(dataset.name)
    return {splits: sorted(names) for splits, names in sorted(names_by_splits.items())}


def viewed(experiment: Experiment) -> list[str]:
    """Return the ID datasets of which augmented views are encoded."""
    return [d.name for d in experiment.id_datasets if d.views]


def either(names: Iterable[str]) -> str:
    """Return a wildcard constraint that matches these names and nothing else."""
    return "|".join(sorted(map(re.escape, set(names)))) or "(?!)"


def _pair_folders(results: Path, experiment: Experiment, what: str) -> list[Path]:
    root = paths.report(results, experiment.experiment, what)
    return [root / b.name / d.name for b in experiment.backbones for d in experiment.id_datasets]


def split_files(results: Path, backbone: str, dataset: Dataset) -> list[Path]:
    """Return the feature files of a dataset: of its splits, or what an import brought."""
    splits = ("train", "val", "test")
    files = {split: paths.features(results, backbone, dataset.name, dataset.file_of(split)) for split in splits}
    if dataset.imported:  # what an import brought; the test split is asked for even where it is not there
        return [file for split, file in files.items() if split == "test" or file.exists()]
    return [files[split] for split in dataset.split_names]


def _split(file: Path) -> str:
    """Return the split of a feature file of `split_files`, the whole of it or a part."""
    return file.name.partition(".")[0]


def _only(experiment: Experiment, dataset: IdDataset) -> Experiment:
    return experiment.model_copy(update={"id_datasets": [dataset]})
