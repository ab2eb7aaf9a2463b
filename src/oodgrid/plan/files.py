"""Which files an experiment adds up to, and which of them each job reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from oodgrid import grid, paths, registry
from oodgrid.config import ANY, Choice, Dataset, Experiment, IdDataset, LabelList, Views
from oodgrid.identity import digest

TABLES = (
    "main.tex",
    "main.csv",
    "main.md",
    "scores.tex",
    "scores.csv",
    "scores.md",
    "full.csv",
    "skipped.csv",
    "skipped.md",
)
STREAM_TABLES = ("streams.tex", "streams.csv", "streams.md")  # where a score is transductive
FIGURES = ("roc", "histograms", "shots", "scores")
FORMATS = ("pdf", "svg", "png")


def feature_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return every feature and text file."""
    files = []
    for backbone in experiment.backbones:
        for dataset in {dataset.name: dataset for dataset in experiment.datasets()}.values():
            files += split_files(results, backbone.name, dataset)
        for dataset in experiment.id_datasets:
            files += text_files(results, backbone.name, dataset)
            files += shuffled_files(results, backbone.name, dataset, experiment.scores)
        files += label_files(results, backbone.name, experiment.wanted_lists())
    return files


def encoded_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return every file that encoding makes, with the views that methods learn from.

    Whoever deletes one, as `verify` advises where images changed, wants it made again, and all that follows from it:
    Snakemake takes no notice of a file that is missing behind results which are there.
    """
    files: set[Path] = set()
    for backbone in experiment.backbones:
        for dataset in experiment.datasets():
            files.update(() if dataset.imported else split_files(results, backbone.name, dataset))
        for dataset in experiment.id_datasets:
            files.update(() if dataset.imported else text_files(results, backbone.name, dataset))
            files.update(shuffled_files(results, backbone.name, dataset, experiment.scores))
            for method in grid.methods(experiment):
                files.update(view_files(results, experiment, backbone.name, dataset.name, method))
        lists = [labels for labels in experiment.wanted_lists() if not labels.imported]
        files.update(label_files(results, backbone.name, lists))
    return sorted(files)


def result_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return score tables and metrics, so that one which was deleted is made again; not where imports are missing.

    Then there are the metrics that came with a clone, from which the report is made.
    """
    imports = {d.name for d in experiment.datasets() if d.imported}
    tests = [paths.features(results, b.name, name, "test") for b in experiment.backbones for name in imports]
    metrics = [paths.metrics(results, experiment.experiment), paths.curves(results, experiment.experiment)]
    return metrics + score_files(results, experiment) if all(file.exists() for file in tests) else []


def shard_files(results: Path, experiment: Experiment, backbone: str, dataset: str) -> list[Path]:
    """Return the manifests of the shards in which a dataset is encoded; none where it is one job."""
    count = experiment.dataset(dataset).shards
    numbers = range(1, count + 1) if count > 1 else ()
    return [paths.shard(results, backbone, dataset, number, count) for number in numbers]


def encoded_splits(results: Path, experiment: Experiment, backbone: str, dataset: str) -> list[Path]:
    """Return the feature files of a dataset that encoding makes."""
    return split_files(results, backbone, experiment.dataset(dataset))


def fit_input(results: Path, experiment: Experiment, backbone: str, id_dataset: str) -> list[Path]:
    """Return what every fit may see: train, val and text; a test file only where the config asks for that leak."""
    dataset = experiment.id_dataset(id_dataset)
    seen = ("train", "val", "test") if dataset.leaky_selection_on_test else ("train", "val")
    splits = [f for f in split_files(results, backbone, dataset) if f.stem in seen]
    return splits + text_files(results, backbone, dataset)


def view_files(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> list[Path]:
    """Return the augmented views that a method learns from, if it does."""
    wanted = None if method == ANY else experiment.method(method).params.get("views")
    dataset = experiment.id_dataset(id_dataset)
    there = [] if dataset.imported else [views for views in dataset.views if views.family == wanted]
    return [views_file(results, experiment, backbone, id_dataset, views) for views in there]


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
    labelled = [f for f in split_files(results, backbone, dataset) if f.stem in ("train", "val")]
    applied = [] if method == ANY else [paths.applied(results, experiment.experiment, backbone, id_dataset, method)]
    texts = _score_texts(results, experiment, backbone, dataset, grid.scores(experiment, method))
    return test_features(results, experiment, backbone, id_dataset) + labelled + applied + texts


def score_tables(experiment: Experiment) -> list[Callable[..., Path]]:
    """Return where the tables of a score job lie, as functions of `paths`."""
    return [paths.scores, paths.streams] if grid.has_streams(experiment) else [paths.scores]


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
    return [folder / name for folder in _pair_folders(results, experiment, "tables") for name in names]


def figure_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return every figure of the report."""
    return [
        folder / f"{name}.{suffix}"
        for folder in _pair_folders(results, experiment, "figures")
        for name in FIGURES
        for suffix in FORMATS
    ]


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
    found: dict[tuple[str, ...], set[str]] = {}
    for dataset in experiment.datasets():
        if not dataset.imported:
            found.setdefault(dataset.split_names, set()).add(dataset.name)
    return {splits: sorted(names) for splits, names in sorted(found.items())}


def viewed(experiment: Experiment) -> list[str]:
    """Return the ID datasets of which augmented views are encoded."""
    return [d.name for d in experiment.id_datasets if d.views]


def encoded_texts(experiment: Experiment) -> list[str]:
    """Return the ID datasets whose class names are encoded."""
    return [d.name for d in experiment.id_datasets if not d.imported and d.text == "classnames"]


def shuffles(experiment: Experiment) -> bool:
    """Return whether a score asks for prompts with their words shuffled."""
    return _needed("prompt_variants", experiment.scores)


def encoded_lists(experiment: Experiment) -> list[str]:
    """Return the label lists that are encoded."""
    return [labels.name for labels in experiment.wanted_lists() if not labels.imported]


def either(names: Iterable[str]) -> str:
    """Return a wildcard constraint that matches these names and nothing else."""
    return "|".join(sorted(map(re.escape, set(names)))) or "(?!)"


def _pair_folders(results: Path, experiment: Experiment, what: str) -> list[Path]:
    root = paths.report(results, experiment.experiment, what)
    return [root / b.name / d.name for b in experiment.backbones for d in experiment.id_datasets]


def split_files(results: Path, backbone: str, dataset: Dataset) -> list[Path]:
    """Return the feature files of a dataset: of its splits, or what an import brought."""
    files = {split: paths.features(results, backbone, dataset.name, split) for split in ("train", "val", "test")}
    if dataset.imported:  # what an import brought; the test split is asked for even where it is not there
        return [file for split, file in files.items() if split == "test" or file.exists()]
    return [files[split] for split in dataset.split_names]


def text_files(results: Path, backbone: str, dataset: IdDataset) -> list[Path]:
    """Return the text file of the classes, where there is one or is to be one."""
    file = paths.texts(results, backbone, dataset.name)
    wanted = dataset.text == "classnames" and (not dataset.imported or file.exists())
    return [file] if wanted else []


def shuffled_files(results: Path, backbone: str, dataset: IdDataset, scores: list[Choice]) -> list[Path]:
    """Return the prompts with their words shuffled, where a score asks for them; nothing makes them of an import."""
    wanted = dataset.text == "classnames" and not dataset.imported and _needed("prompt_variants", scores)
    return [paths.shuffled_texts(results, backbone, dataset.name)] if wanted else []


def label_files(results: Path, backbone: str, lists: list[LabelList]) -> list[Path]:
    """Return the text files of lists of labels."""
    return [paths.label_texts(results, backbone, labels.name) for labels in lists]


def _score_texts(
    results: Path, experiment: Experiment, backbone: str, dataset: IdDataset, scores: list[Choice]
) -> list[Path]:
    classes = text_files(results, backbone, dataset) if _needed("class_texts", scores) else []
    shuffled = shuffled_files(results, backbone, dataset, scores)
    return classes + shuffled + label_files(results, backbone, experiment.wanted_lists(scores))


def _needed(need: str, scores: list[Choice]) -> bool:
    return any(need in registry.find("score", score.name).needs for score in scores)
