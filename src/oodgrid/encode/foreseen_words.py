"""Words of class names, prompts and lists that a backbone never saw, found before the first job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from oodgrid import catalogue, paths, plan, registry, store
from oodgrid.backbones.words import check_words
from oodgrid.config import Backbone, Dataset, Experiment, LabelList
from oodgrid.encode.sources import ImageSet
from oodgrid.encode.text_lists import prompts, read_text_list
from oodgrid.errors import all_of


def check_all_words(results: Path, experiment: Experiment, opened: Mapping[str, Mapping[str, ImageSet]]) -> None:
    """Refuse texts that are still to be encoded and hold words that a backbone never saw.

    Args:
        results: The results folder.
        experiment: The experiment.
        opened: The splits of datasets that are still to be encoded, as far as they were opened.

    Raises:
        OodgridError: There are such words; `Mistakes` has a line for each backbone and dataset, list or method.
    """
    if paths.metrics(results, experiment.experiment).exists():
        return
    checks = []
    for backbone in (
        each for each in experiment.backbones if each.text_encoder.pretrained.startswith(catalogue.PACKAGE)
    ):
        for file in plan.text_files(results, experiment, backbone.name):
            if not (file.entry.imported or file.path.exists()):
                checks.append(partial(_check_file, results, experiment, backbone, file, opened))
        checks += [
            partial(check_words, backbone.text_encoder, [text], whose) for whose, text in _first_words(experiment)
        ]
    all_of(*checks)


def _check_file(
    results: Path, experiment: Experiment, backbone: Backbone, file: plan.TextFile,
    opened: Mapping[str, Mapping[str, ImageSet]],
) -> None:  # fmt: skip
    entry = file.entry
    if isinstance(entry, LabelList):
        if entry.noise_images:
            return  # a list of no words
        dataset = experiment.id_dataset(entry.classes_of) if entry.classes_of else None
        classes = _class_names(results, backbone, dataset, opened) if dataset else []
        texts, whose = prompts(entry, read_text_list(entry, classes)).texts, f"label list {entry.name}"
    else:
        names = _class_names(results, backbone, entry, opened)
        by_template = file.source.prompts(entry.templates, names) if file.source.prompts and names else []
        texts, whose = [of_names for _, of_names in by_template], f"the {file.source.what} of {entry.name}"
    check_words(backbone.text_encoder, (text for one in texts for text in one), whose)


def _class_names(
    results: Path, backbone: Backbone, dataset: Dataset, opened: Mapping[str, Mapping[str, ImageSet]]
) -> Sequence[str]:
    """Return the class names of a dataset, none where they are not known yet."""
    if dataset.known_classes:
        return dataset.known_classes
    if dataset.name in opened:
        return opened[dataset.name]["test"].classnames or []
    file = paths.features(results, backbone.name, dataset.name, "test")
    return store.read_provenance(file).get("classnames") or [] if file.exists() else []


def _first_words(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """Yield the words with which prompt learners begin, and whose they are."""
    for method in experiment.methods:
        entry = registry.find("method", method.name)
        init = {**entry.params, **method.params}.get("init")
        if "text_tower" in entry.needs and isinstance(init, str):
            yield f"init of method {method.listed('method')}", init
