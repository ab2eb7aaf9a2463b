"""What the Snakemake rules ask: which files an experiment adds up to, and what makes each of them anew."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from oodgrid import grid, paths, registry, store
from oodgrid.config import ANY, Backbone, Choice, Dataset, Experiment, IdDataset, LabelList
from oodgrid.errors import OodgridError
from oodgrid.identity import code_fingerprint, differences, digest

ENCODE_VERSION = 2  # raise by hand when encoding itself changes its numbers: every feature file is then made again
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

# ------------------------------------------------------------------------------------------------------ files


def feature_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return every feature and text file."""
    files = []
    for backbone in experiment.backbones:
        for dataset in {dataset.name: dataset for dataset in experiment.datasets()}.values():
            files += _split_files(results, backbone.name, dataset)
        for dataset in experiment.id_datasets:
            files += _text_files(results, backbone.name, dataset)
            files += _shuffled_files(results, backbone.name, dataset, experiment.scores)
        files += _label_files(results, backbone.name, experiment.wanted_lists())
    return files


def encoded_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return every file that encoding makes, with the views that methods learn from.

    Whoever deletes one, as `verify` advises where images changed, wants it made again, and all that follows from it:
    Snakemake takes no notice of a file that is missing behind results which are there.
    """
    files: set[Path] = set()
    for backbone in experiment.backbones:
        for dataset in experiment.datasets():
            files.update(() if dataset.imported else _split_files(results, backbone.name, dataset))
        for dataset in experiment.id_datasets:
            files.update(() if dataset.imported else _text_files(results, backbone.name, dataset))
            for method in grid.methods(experiment):
                files.update(view_files(results, experiment, backbone.name, dataset.name, method))
    return sorted(files)


def shard_files(results: Path, experiment: Experiment, backbone: str, dataset: str) -> list[Path]:
    """Return the manifests of the shards in which a dataset is encoded; none where it is one job."""
    count = experiment.dataset(dataset).shards
    numbers = range(1, count + 1) if count > 1 else ()
    return [paths.shard(results, backbone, dataset, number, count) for number in numbers]


def fit_input(results: Path, experiment: Experiment, backbone: str, id_dataset: str) -> list[Path]:
    """Return what every fit may see: train, val and text; a test file only where the config asks for that leak."""
    dataset = experiment.id_dataset(id_dataset)
    chosen_on = "test" if dataset.leaky_selection_on_test else "val"
    splits = [f for f in _split_files(results, backbone, dataset) if f.stem in ("train", chosen_on)]
    return splits + _text_files(results, backbone, dataset)


def view_files(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> list[Path]:
    """Return the augmented views that a method learns from, if it does."""
    wanted = None if method == ANY else experiment.method(method).params.get("views")
    there = [views.family for views in experiment.id_dataset(id_dataset).views]
    return [paths.views(results, backbone, id_dataset, "train", wanted)] if wanted in there else []


def test_features(results: Path, experiment: Experiment, backbone: str, id_dataset: str) -> list[Path]:
    """Return the test split of the ID set and of its OOD sets."""
    dataset = experiment.id_dataset(id_dataset)
    names = [id_dataset, *(ood.name for _, ood in dataset.pairs())]
    return [paths.features(results, backbone, name, "test") for name in names]


def score_input(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> list[Path]:
    """Return what a score job reads: features, the splits with the shots, what apply left, and texts."""
    dataset = experiment.id_dataset(id_dataset)
    labelled = [f for f in _split_files(results, backbone, dataset) if f.stem in ("train", "val")]
    applied = [] if method == ANY else [paths.applied(results, experiment.experiment, backbone, id_dataset, method)]
    texts = _score_texts(results, experiment, backbone, dataset, grid.scores(experiment, method))
    return test_features(results, experiment, backbone, id_dataset) + labelled + applied + texts


def score_files(results: Path, experiment: Experiment) -> list[Path]:
    """Return every score table."""
    kinds = [paths.scores, paths.streams] if grid.has_streams(experiment) else [paths.scores]
    return [
        path(results, experiment.experiment, backbone.name, dataset.name, method)
        for path in kinds
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
    """Return the whole report."""
    page = results / experiment.experiment / "report.html"
    return [*table_files(results, experiment), *figure_files(results, experiment), page]


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
    root = results / experiment.experiment / what
    return [root / b.name / d.name for b in experiment.backbones for d in experiment.id_datasets]


def _split_files(results: Path, backbone: str, dataset: Dataset) -> list[Path]:
    files = {split: paths.features(results, backbone, dataset.name, split) for split in ("train", "val", "test")}
    if dataset.imported:  # what an import brought; the test split is asked for even where it is not there
        return [file for split, file in files.items() if split == "test" or file.exists()]
    return [files[split] for split in dataset.split_names]


def _text_files(results: Path, backbone: str, dataset: IdDataset) -> list[Path]:
    file = paths.texts(results, backbone, dataset.name)
    wanted = dataset.text == "classnames" and (not dataset.imported or file.exists())
    return [file] if wanted else []


def _shuffled_files(results: Path, backbone: str, dataset: IdDataset, scores: list[Choice]) -> list[Path]:
    """Return the prompts with their words shuffled, where a score asks for them; nothing makes them of an import."""
    wanted = dataset.text == "classnames" and not dataset.imported and _needed("prompt_variants", scores)
    return [paths.shuffled_texts(results, backbone, dataset.name)] if wanted else []


def _label_files(results: Path, backbone: str, lists: list[LabelList]) -> list[Path]:
    return [paths.label_texts(results, backbone, labels.name) for labels in lists]


def _score_texts(
    results: Path, experiment: Experiment, backbone: str, dataset: IdDataset, scores: list[Choice]
) -> list[Path]:
    classes = _text_files(results, backbone, dataset) if _needed("class_texts", scores) else []
    shuffled = _shuffled_files(results, backbone, dataset, scores)
    return classes + shuffled + _label_files(results, backbone, experiment.wanted_lists(scores))


def _needed(need: str, scores: list[Choice]) -> bool:
    return any(need in registry.find("score", score.name).needs for score in scores)


# ------------------------------------------------------------------------------------- what makes a file anew


def spec(experiment: Experiment, fields: tuple[str, ...], **names: str) -> str:
    """Return, as one JSON text, the parts of the experiment on which a job's results depend."""
    dataset = experiment.id_dataset(names["id_dataset"]) if "id_dataset" in names else None
    method = names.get("method")
    parts = {
        "method": lambda: method if method == ANY else _choice(experiment.method(method)),
        "units": lambda: [[unit.shots, unit.seed] for unit in grid.units(experiment, method)],
        "sets": lambda: [ood.name for _, ood in dataset.pairs()],
        "scores": lambda: [_choice(score) for score in experiment.scores],
        "encoded": lambda: _encoded_identities(experiment, experiment.backbone(names["backbone"]), dataset),
        "draws": lambda: [experiment.shots, experiment.seeds],
        "views": lambda: [views.model_dump() for views in dataset.views if views.family == names["family"]],
        "pairs": lambda: [[d.name, kind, ood.name] for d in experiment.id_datasets for kind, ood in d.pairs()],
    }
    return json.dumps({field: parts[field]() for field in fields}, sort_keys=True)


def _encoded_identities(experiment: Experiment, backbone: Backbone, dataset: IdDataset) -> list[Any]:
    """Return what the config says of all that encoding makes for one ID dataset; nothing of what is imported."""
    sets = {d.name: d for d in (dataset, *(ood for _, ood in dataset.pairs())) if not d.imported}
    texts = [] if dataset.imported else [dataset.text_identity]
    return [backbone.identity, {name: d.identity for name, d in sets.items()}, texts] if sets else []


def apply_code(method: str) -> str:
    """Return the fingerprint of the code that applies a method."""
    return registry.fit_code(method) + code_fingerprint("oodgrid.adapt.apply")


def report_code(part: str) -> str:
    """Return the fingerprint of the code and the templates behind one part of the report."""
    room = Path(__file__).parent / "report"
    data = sorted(file for file in room.rglob("*") if file.suffix in (".j2", ".mplstyle"))
    return code_fingerprint(f"oodgrid.report.{part}") + digest([file.read_text(encoding="utf-8") for file in data])[:16]


def _choice(choice: Choice) -> list[Any]:
    return [choice.name, choice.params]


# ----------------------------------------------------------------------------------------- before the first job


def check_inputs(results: Path, experiment: Experiment, backbone: str, id_dataset: str) -> None:
    """Refuse what a job of adapt or score would read, where `check_identities` would refuse it, or it is out of date.

    Out of date are files of an earlier encoding and views of another count or seed. Snakemake makes them again, but of
    results that were moved, or are read by `oodgrid` alone, it knows nothing.

    Raises:
        OodgridError: A file is another than is meant, naming the fields and both values, or is damaged.
    """
    chosen = {"backbones": [experiment.backbone(backbone)], "id_datasets": [experiment.id_dataset(id_dataset)]}
    experiment = experiment.model_copy(update=chosen)
    check_identities(results, experiment)
    dataset = experiment.id_datasets[0]
    views = {paths.views(results, backbone, id_dataset, "train", v.family): v.model_dump() for v in dataset.views}
    for file, found in _identities([*feature_files(results, experiment), *views]).items():
        if (version := found.get("encode_version", ENCODE_VERSION)) != ENCODE_VERSION:
            lines = [f"its encoding is of version {version} and that of this oodgrid is {ENCODE_VERSION}"]
        else:
            lines = differences(found.get("views"), views[file], "views") if file in views else []
        if lines:
            raise OodgridError(f"{file} is out of date: {'; '.join(lines)}. Delete it, and the next run makes it again")


def check_identities(results: Path, experiment: Experiment) -> None:
    """Refuse cached files that are not what the configuration means under their names, or do not fit each other.

    Raises:
        OodgridError: A file has another identity, naming the fields and both values, or is damaged.
    """
    for backbone in experiment.backbones:
        encoders: dict[Path, Any] = {}
        for dataset in {dataset.name: dataset for dataset in experiment.datasets()}.values():
            found = _identities(_split_files(results, backbone.name, dataset))
            for file, provenance in found.items():
                meant = {"imported": _test_split(dataset)} if dataset.imported else {"dataset": dataset.identity}
                _check_identity(file, provenance, backbone, dataset, meant)
                _check_complete(file, provenance, dataset)
            _check_alike({file: provenance.get("classnames") for file, provenance in found.items()}, "classnames")
            encoders |= {file: provenance["backbone"] for file, provenance in found.items() if not dataset.imported}
        for dataset in experiment.id_datasets:
            families = [paths.views(results, backbone.name, dataset.name, "train", v.family) for v in dataset.views]
            for file, provenance in _identities(families).items():
                _check_identity(file, provenance, backbone, dataset, {"dataset": dataset.identity})
                encoders[file] = provenance["backbone"]
            encoders |= _check_texts(results, experiment, backbone, dataset)
        encoders |= _check_label_texts(results, experiment, backbone)
        _check_alike(encoders, "backbone")


def _check_texts(results: Path, experiment: Experiment, backbone: Backbone, dataset: IdDataset) -> dict[Path, Any]:
    """Check the texts of the classes, and return by what backbone those were made that were encoded."""
    shuffled = _shuffled_files(results, backbone.name, dataset, experiment.scores)
    found = _identities(_text_files(results, backbone.name, dataset) + shuffled)
    for file, provenance in found.items():
        meant = dataset.shuffled_identity if file in shuffled else dataset.text_identity
        meant = {"templates": dataset.templates[:1]} if dataset.imported else meant
        _check_identity(file, provenance, backbone, dataset, {"text": meant})
        if not dataset.imported:
            images = _identities(_split_files(results, backbone.name, dataset))
            named = {path: names for path, about in images.items() if (names := about.get("classnames"))}
            _check_alike({**named, file: provenance["text"]["classnames"]}, "classnames")
    return {} if dataset.imported else {file: provenance["backbone"] for file, provenance in found.items()}


def _check_label_texts(results: Path, experiment: Experiment, backbone: Backbone) -> dict[Path, Any]:
    """Check the texts of label lists, and return by what backbone those were made that were encoded."""
    encoders = {}
    for labels in experiment.wanted_lists():
        for file, provenance in _identities(_label_files(results, backbone.name, [labels])).items():
            _check_identity(file, provenance, backbone, labels, {"text": labels.identity})
            if not labels.imported:
                encoders[file] = provenance["backbone"]
            if labels.drop_classes_of:
                texts = _identities([paths.texts(results, backbone.name, labels.drop_classes_of)])
                classes = {path: digest(about["text"]["classnames"]) for path, about in texts.items()}
                _check_alike({**classes, file: provenance["text"]["classes_sha256"]}, "classes_sha256")
    return encoders


def _identities(files: list[Path]) -> dict[Path, dict[str, Any]]:
    return {file: store.read_provenance(file) for file in files if file.exists()}


def _check_identity(
    file: Path, found: dict[str, Any], backbone: Backbone, entry: Dataset | LabelList, meant: dict[str, Any]
) -> None:
    if ("imported" in found) != (entry.imported is not None):
        was, is_now = ("imported", "encoded") if "imported" in found else ("encoded", "imported")
        what = "label list" if isinstance(entry, LabelList) else "dataset"
        raise OodgridError(f"{file} was {was} but the config wants it {is_now}: use another {what} name, or delete it")
    encoder = {"name": backbone.name} if entry.imported else backbone.identity
    if lines := differences(found, {"backbone": encoder, **meant}):
        raise OodgridError(
            f"{file} is not what the config means by its name: {'; '.join(lines)}. "
            "Give the changed entry another name, or delete the file"
        )


def _check_complete(file: Path, found: dict[str, Any], dataset: Dataset) -> None:
    skipped = found.get("skipped", [])
    if skipped and dataset.on_error == "stop":
        raise OodgridError(
            f"{file} lacks {len(skipped)} broken images, the first {skipped[0][0]}, but the config says "
            f"on_error: stop. Write on_error: skip for {dataset.name}, or mend the images and delete the file"
        )


def _check_alike(parts: dict[Path, Any], what: str) -> None:
    """Refuse files of which one says something else than the first: weights or classes changed between two runs."""
    for file, found in parts.items():
        first, wanted = next(iter(parts.items()))
        if lines := differences(found, wanted, what):
            said = "; ".join(lines).replace("in the config", f"in {first}")
            raise OodgridError(f"{file} does not fit {first}: {said}. Delete the one that is out of date")


def _test_split(dataset: Dataset) -> dict[str, str]:
    """Return what an import by this description says of itself; one brought by hand, `imported: {}`, may differ."""
    return {"test": dataset.imported.test} if dataset.imported.tip_adapter else {}


def check_imports(results: Path, experiment: Experiment) -> None:
    """Say in one line which imports and label lists are missing, unless there are metrics from which to report.

    Raises:
        OodgridError: A test split or a list is not there.
    """
    if paths.metrics(results, experiment.experiment).exists():
        return
    for backbone in experiment.backbones:
        for dataset in experiment.datasets():
            file = paths.features(results, backbone.name, dataset.name, "test")
            if dataset.imported and not file.exists():
                raise OodgridError(
                    f"{file} is missing: the features of {dataset.name} are imported. "
                    "Run oodgrid import experiment CONFIG first"
                )
        for labels in experiment.wanted_lists():
            _check_label_list(labels, paths.label_texts(results, backbone.name, labels.name))


def _check_label_list(labels: LabelList, file: Path) -> None:
    if file.exists():
        return
    if labels.imported:
        raise OodgridError(
            f"{file} is missing: the texts of label list {labels.name} are imported. Run oodgrid import experiment "
            f"CONFIG, or oodgrid import text FILE --backbone NAME --label-list {labels.name}"
        )
    if gone := next((source for source in labels.source_files if not source.exists()), None):
        raise OodgridError(f"label list {labels.name}: {gone} does not exist: mend the path")


def config_path(results: Path, experiment: str) -> Path:
    """Return where the configuration of an experiment lies for its jobs."""
    return results / experiment / "config.yaml"


def write_config(results: Path, experiment: str, config: dict[str, Any]) -> None:
    """Write down what the jobs are to read, with what the command line changed; untouched where it is the same."""
    path = config_path(results, experiment)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with store.atomic(path) as beside:
            beside.write_text(text, encoding="utf-8")


def gpu_per_job() -> int:
    """Return 1 where this machine has an NVIDIA GPU, so that its jobs take turns on it, and 0 elsewhere."""
    return int(Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None)


def threads(cores: int | None, experiment: Experiment) -> dict[str, int]:
    """Return the threads of the jobs of each stage: the CPUs shared out among as many jobs as there are.

    One thread for each of many jobs does more than many threads for one job after the other.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpus = min(cpus, cores or cpus)
    pairs = len(experiment.backbones) * len(experiment.id_datasets)
    jobs = {
        "encode": len(experiment.backbones) * len({dataset.name for dataset in experiment.datasets()}),
        "adapt": pairs * len(experiment.methods),
        "score": pairs * len(grid.methods(experiment)),
    }
    return {stage: max(1, cpus // count) for stage, count in jobs.items()}
