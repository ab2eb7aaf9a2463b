"""Where pseudo-OOD texts lie, and which of them a method learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oodgrid import paths, store
from oodgrid.config import ANY, Experiment, IdDataset, PseudoOod
from oodgrid.config.pseudo_ood import pseudo_ood_name
from oodgrid.identity import digest
from oodgrid.labels import has_class


def pseudo_ood_files(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> list[Path]:
    """Return the pseudo-OOD texts that a method learns from, if it does."""
    name = None if method == ANY else pseudo_ood_name(experiment.method(method))
    recipes = [recipe for recipe in experiment.id_dataset(id_dataset).pseudo_ood if recipe.name == name]
    return [pseudo_ood_file(results, experiment, backbone, id_dataset, recipe) for recipe in recipes]


def pseudo_ood_file(results: Path, experiment: Experiment, backbone: str, id_dataset: str, recipe: PseudoOod) -> Path:
    """Return where pseudo-OOD texts lie; an experiment of other draws, or of another recipe, has another file."""
    draws = digest([sorted(set(experiment.shots)), sorted(set(experiment.seeds)), recipe.recipe])[:8]
    return paths.pseudo_ood(results, backbone, id_dataset, recipe.name, draws)


def pseudo_ood_count(
    results: Path, experiment: Experiment, backbone: str, dataset: IdDataset, recipe: PseudoOod
) -> int | None:
    """Return how many texts there are to encode, at most; None where the training split is not there to count."""
    file = paths.features(results, backbone, dataset.name, dataset.file_of("train"))
    if not file.exists():
        return None
    labels, _ = store.read_split_labels(file)
    of_class = np.unique(labels[has_class(labels)], return_counts=True)[1]
    drawn = sum(int(np.minimum(of_class, shots).sum()) for shots in set(experiment.shots))
    return drawn * len(set(experiment.seeds)) * recipe.count


def pseudo_made(experiment: Experiment) -> list[str]:
    """Return the ID datasets of which pseudo-OOD texts are made."""
    return [dataset.name for dataset in experiment.id_datasets if dataset.pseudo_ood]
