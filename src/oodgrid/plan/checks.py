"""What is refused before the first job: files that are missing, or not what the configuration means."""

from __future__ import annotations

import shlex
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from oodgrid import digests, grid, paths, store
from oodgrid.config import Backbone, Dataset, Experiment, Imported, LabelList
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, all_of
from oodgrid.fewshot import FewShot
from oodgrid.foreseen import used_anywhere
from oodgrid.identity import differences, digest
from oodgrid.plan.corrupted import corrupted_files
from oodgrid.plan.files import (
    encoded_files,
    evaluated_files,
    feature_files,
    report_parts,
    score_files,
    split_files,
    views_file,
)
from oodgrid.plan.pseudo_ood import pseudo_ood_file
from oodgrid.plan.text_files import TextFile, text_files
from oodgrid.plan.triggers import ENCODE_VERSION
from oodgrid.texts import HEAD

SKEW = 10.0  # seconds by which the clocks of a cluster's machines may differ


def check_inputs(results: Path, experiment: Experiment, backbone_name: str, id_dataset_name: str) -> None:
    """Refuse the files that a job of adapt or score reads as `check_identities` does, and those of an earlier encoding.

    Snakemake makes those again, but it knows nothing of results that were moved, or are read by `oodgrid` alone.

    Raises:
        OodgridError: A file is another than is meant, naming the fields and both values, or is damaged.
    """
    backbone, dataset = experiment.backbone(backbone_name), experiment.id_dataset(id_dataset_name)
    experiment = experiment.model_copy(update={"backbones": [backbone], "id_datasets": [dataset]})
    check_identities(results, experiment)
    views = [views_file(results, experiment, backbone_name, id_dataset_name, each) for each in dataset.views]
    views += [pseudo_ood_file(results, experiment, backbone_name, id_dataset_name, each) for each in dataset.pseudo_ood]
    corrupted = corrupted_files(results, experiment, backbone_name)
    for file, provenance in _identities([*feature_files(results, experiment), *views, *corrupted]).items():
        if (version := provenance.get("encode_version", ENCODE_VERSION)) != ENCODE_VERSION:
            raise OodgridError(
                f"{file} is out of date: its encoding is of version {version} and that of this oodgrid is "
                f"{ENCODE_VERSION}. Delete it, and the next run makes it again"
            )
    check_labels(results, experiment)


def check_identities(results: Path, experiment: Experiment) -> None:
    """Refuse cached files that are not what the configuration means under their names, or do not fit each other.

    Raises:
        OodgridError: A file has another identity, naming the fields and both values, or is damaged.
    """
    for backbone in experiment.backbones:
        encoders: dict[Path, Any] = {}
        for dataset in _named(experiment):
            provenances = _identities(split_files(results, backbone.name, dataset))
            imported = dataset.imported
            identity = {"imported": _test_split(imported)} if imported else {"dataset": dataset.identity}
            for file, provenance in provenances.items():
                _check_identity(file, provenance, backbone, dataset, identity)
                _check_complete(file, provenance, dataset)
                _check_origin(results, file, provenance, backbone.name, dataset)
            _check_alike({file: each.get("classnames") for file, each in provenances.items()}, "classnames")
            encoders |= {file: each["backbone"] for file, each in provenances.items() if not imported}
        for dataset in experiment.id_datasets:
            views = [views_file(results, experiment, backbone.name, dataset.name, each) for each in dataset.views]
            for file, provenance in _identities(views).items():
                _check_identity(file, provenance, backbone, dataset, {"dataset": dataset.identity})
                encoders[file] = provenance["backbone"]
            for recipe in dataset.pseudo_ood:
                path = pseudo_ood_file(results, experiment, backbone.name, dataset.name, recipe)
                identity = {"dataset": dataset.identity, "pseudo_ood": recipe.recipe}
                for file, provenance in _identities([path]).items():
                    _check_identity(file, provenance, backbone, dataset, identity)
                    encoders[file] = provenance["backbone"]
        corrupted = corrupted_files(results, experiment, backbone.name)
        for file, provenance in _identities(list(corrupted)).items():
            dataset, corruption = corrupted[file]
            identity = {"dataset": dataset.identity, "corruption": corruption.identity}
            _check_identity(file, provenance, backbone, dataset, identity)
            _check_complete(file, provenance, dataset)
            encoders[file] = provenance["backbone"]
        for text in text_files(results, experiment, backbone.name):
            provenance = _check_texts(results, backbone, text) if text.path.exists() else {}
            if provenance and not text.entry.imported and "weights_sha256" in provenance["backbone"]:
                encoders[text.path] = provenance["backbone"]
        _check_alike(encoders, "backbone")


def _check_texts(results: Path, backbone: Backbone, file: TextFile) -> dict[str, Any]:
    """Check a text file against the configuration and against the classes that it goes with; return its provenance."""
    provenance, entry = store.read_provenance(file.path), file.entry
    if file.source is HEAD:
        _check_head(results, file, provenance, backbone)
        return provenance
    _check_identity(file.path, provenance, backbone, entry, {"text": file.source.identity(entry)})
    if isinstance(entry, LabelList):
        if entry.classes_of:
            texts = _identities([paths.texts(results, backbone.name, entry.classes_of)])
            classes = {path: digest(each["text"]["classnames"]) for path, each in texts.items()}
            _check_alike({**classes, file.path: provenance["text"]["classes_sha256"]}, "classes_sha256")
    elif not entry.imported:
        images = _identities(split_files(results, backbone.name, entry))
        classnames = {path: names for path, each in images.items() if (names := each.get("classnames"))}
        _check_alike({**classnames, file.path: provenance["text"]["classnames"]}, "classnames")
    return provenance


def _check_head(results: Path, file: TextFile, provenance: dict[str, Any], backbone: Backbone) -> None:
    """Refuse the head of another network, with other outputs, or for other classes of the set, than is meant."""
    own, entry = None if backbone.head is None else backbone.head.identity, file.entry
    assert isinstance(entry, Dataset)
    names = entry.known_classes or None  # None: the set's files name its classes
    text = {"text": {"classnames": names}} if names else {}
    if lines := differences(provenance, {"backbone": backbone.identity, "head": own, **text}):
        raise _other_meaning(file.path, lines)
    images = {} if names else _identities(split_files(results, backbone.name, entry))
    classnames = {path: known for path, each in images.items() if (known := each.get("classnames"))}
    _check_alike({**classnames, file.path: provenance["text"]["classnames"]}, "classnames")


def _identities(files: list[Path]) -> dict[Path, dict[str, Any]]:
    return {file: store.read_provenance(file) for file in files if file.exists()}


def _check_identity(
    file: Path, provenance: dict[str, Any], backbone: Backbone, entry: Dataset | LabelList, identity: dict[str, Any]
) -> None:
    """Refuse a file whose provenance is not what the configuration says of the backbone and the entry."""
    if ("imported" in provenance) != (entry.imported is not None):
        was, is_now = ("imported", "encoded") if "imported" in provenance else ("encoded", "imported")
        what = "label list" if isinstance(entry, LabelList) else "dataset"
        raise OodgridError(f"{file} was {was} but the config wants it {is_now}: use another {what} name, or delete it")
    encoder = {"name": backbone.name} if entry.imported else backbone.identity
    if lines := differences(provenance, {"backbone": encoder, **identity}):
        raise _other_meaning(file, lines)


def _other_meaning(file: Path, lines: list[str]) -> OodgridError:
    return OodgridError(
        f"{file} is not what the config means by its name: {'; '.join(lines)}. "
        "Give the changed entry another name, or delete the file"
    )


def _check_complete(file: Path, provenance: dict[str, Any], dataset: Dataset) -> None:
    skipped = provenance.get("skipped", [])
    if skipped and dataset.on_error == "stop":
        raise OodgridError(
            f"{file} lacks {counted(len(skipped), 'broken image')}, the first {skipped[0][0]}, but the config says "
            f"on_error: stop. Write on_error: skip for {dataset.name}, or mend the images and delete the file"
        )


def _check_origin(results: Path, file: Path, provenance: dict[str, Any], backbone: str, dataset: Dataset) -> None:
    """Refuse a scenario of imported pairs that was made of others than there are now: its pairs were imported anew."""
    scenario = dataset.imported and dataset.imported.derived
    if not scenario:
        return
    origin, test = (paths.features(results, backbone, scenario.of, split) for split in (file.stem, "test"))
    now = store.read_digest(origin) if origin.exists() else None
    if test.exists() and provenance["imported"].get("origin") != now:
        are = "holds others" if now else "is no longer there"
        raise OodgridError(
            f"{file} is {scenario.scenario} pairs made of those of {scenario.of}, and {origin} {are} now: run "
            "oodgrid import experiment CONFIG again, which makes both"
        )


def _check_alike(parts: dict[Path, Any], what: str) -> None:
    """Refuse a file that differs from the first: weights or classes changed between two runs."""
    for file, value in parts.items():
        first, expected = next(iter(parts.items()))
        if lines := differences(value, expected, what):
            why = "; ".join(lines).replace("in the config", f"in {first}")
            raise OodgridError(f"{file} does not fit {first}: {why}. Delete the one that is out of date")


def check_finished(results: Path, experiment: Experiment) -> None:
    """Refuse metrics, tables, figures and a page that changed since they were written: Snakemake compares times only.

    Raises:
        OodgridError: A file is damaged or edited, or was made from others; the message names them all.
    """
    name, mistakes = experiment.experiment, []
    manifests = [paths.digests(results, name, part) for part in report_parts(results, experiment)]
    for file in (*evaluated_files(results, experiment), *manifests):
        try:
            if file.exists():
                digests.check(file, missing=False) if file in manifests else store.check(file)
        except OodgridError as error:
            mistakes.append(str(error))
    if mistakes:
        raise OodgridError("; ".join(mistakes))


def check_labels(results: Path, experiment: Experiment) -> None:
    """Refuse ID datasets with labels that are none of their classes, naming all such files at once.

    Files of an earlier encoding are made again and do not count.

    Raises:
        OodgridError: There are such labels, naming every file and its first row.
    """
    mistakes = []
    for backbone in experiment.backbones:
        for dataset in experiment.id_datasets:
            few_shot = FewShot(results, backbone.name, dataset)
            for file in filter(Path.exists, split_files(results, backbone.name, dataset)):
                labels, _, provenance = store.read_labels(file)
                try:
                    if provenance.get("encode_version", ENCODE_VERSION) == ENCODE_VERSION:
                        few_shot.check_labels(labels, file.stem)
                except OodgridError as error:
                    mistakes.append(str(error))
    if mistakes:
        raise OodgridError("; ".join(mistakes))


def _test_split(imported: Imported) -> dict[str, Any]:
    """Return the identity of an import by this description; one brought by hand, `imported: {}`, may differ."""
    if imported.derived:
        return imported.derived.model_dump()
    texts = imported.pair_texts.identity if imported.pair_texts else None
    return {"test": imported.test, "pair_texts": texts} if imported.tip_adapter else {}


def check_imports(results: Path, experiment: Experiment) -> None:
    """Refuse missing imports and label lists, unless there are metrics to report from.

    Raises:
        OodgridError: A test split or a list is missing; `Mistakes` has a line for each.
    """
    if paths.metrics(results, experiment.experiment).exists():
        return
    imported = [dataset for dataset in _named(experiment) if dataset.imported]
    for backbone in experiment.backbones:
        tests = [(dataset, paths.features(results, backbone.name, dataset.name, "test")) for dataset in imported]
        wanted = experiment.wanted_lists(used_anywhere(experiment, backbone.name, experiment.id_datasets))
        lists = [(each, paths.label_texts(results, backbone.name, each.name)) for each in wanted]
        all_of(
            *(partial(_check_imported, dataset, file) for dataset, file in tests),
            *(partial(_check_label_list, label_list, file) for label_list, file in lists),
        )


def _named(experiment: Experiment) -> list[Dataset]:
    """Return every dataset once."""
    return list({dataset.name: dataset for dataset in experiment.datasets()}.values())


def unencoded(results: Path, experiment: Experiment) -> list[Dataset]:
    """Return the datasets whose images are still to be encoded; none where there are metrics to report from."""
    if paths.metrics(results, experiment.experiment).exists():
        return []
    return [
        dataset
        for dataset in _named(experiment)
        if not dataset.imported
        and not all(file.exists() for b in experiment.backbones for file in split_files(results, b.name, dataset))
    ]


def _check_imported(dataset: Dataset, file: Path) -> None:
    if file.exists():
        return
    by_hand = not (dataset.imported and (dataset.imported.tip_adapter or dataset.imported.derived))
    how = f"npz FILE --backbone {file.parent.parent.name} --dataset {dataset.name} --split test, and other splits"
    raise OodgridError(
        f"{file} is missing: the features of {dataset.name} are imported. Run oodgrid import "
        + (f"{how} likewise" if by_hand else "experiment CONFIG first")
    )


def _check_label_list(label_list: LabelList, file: Path) -> None:
    if file.exists():
        return
    if label_list.imported:
        raise OodgridError(
            f"{file} is missing: the texts of label list {label_list.name} are imported. Run oodgrid import experiment "
            f"CONFIG, or oodgrid import text FILE --backbone NAME --label-list {label_list.name}"
        )
    if missing := next((source for source in label_list.source_files if not source.exists()), None):
        raise OodgridError(f"label list {label_list.name}: {missing} does not exist: mend the path")


def check_clock(results: Path, experiment: Experiment) -> None:
    """Refuse files with a time in the future, as a clock that was ahead leaves them.

    Snakemake would compute, find the output older than its input, and stop every such job.

    Raises:
        OodgridError: A job would read a file of the future, with the command that sets the times right.
    """
    now = time.time()
    ahead = [file for file in _read_by_jobs(results, experiment) if file.exists() and file.stat().st_mtime > now + SKEW]
    if ahead:
        when, is_now = (datetime.fromtimestamp(t).isoformat(" ", "minutes") for t in (ahead[0].stat().st_mtime, now))
        others = f" and {counted(len(ahead) - 1, 'other file')}" if ahead[1:] else ""
        raise OodgridError(
            f"{ahead[0]}{others} come from the future ({when}; the clock of this machine says {is_now}), and Snakemake "
            "would stop every job that reads them. Set the clock, or where it was ahead and is right again: "
            f"find {shlex.quote(str(results))}/ -newermt now -exec touch -t $(date +%Y%m%d%H%M.%S) {{}} +"
        )


def _read_by_jobs(results: Path, experiment: Experiment) -> list[Path]:
    """Return every file that a job of the experiment may read."""
    name = experiment.experiment
    files = {*feature_files(results, experiment), *encoded_files(results, experiment)}
    files |= {*score_files(results, experiment), *evaluated_files(results, experiment)}
    for backbone in experiment.backbones:
        for dataset in experiment.id_datasets:
            for method in grid.methods(experiment):
                place = (results, name, backbone.name, dataset.name, method)
                files |= {paths.fitted(*place), paths.applied(*place)}
    return sorted(files)
