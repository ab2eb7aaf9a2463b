"""Where corrupted test images lie, and which of them rows of an experiment use."""

from __future__ import annotations

from pathlib import Path

from oodgrid import foreseen, grid, paths
from oodgrid.config import Dataset, Experiment
from oodgrid.corruptions import Corruption
from oodgrid.grid import corruptible


def corrupted_file(results: Path, backbone: str, dataset: str, corruption: Corruption) -> Path:
    """Return where the corrupted test images of a dataset lie."""
    return paths.features(results, backbone, dataset, corruption.split)


def corrupted_files(
    results: Path, experiment: Experiment, backbone: str, method: str | None = None
) -> dict[Path, tuple[Dataset, Corruption]]:
    """Return the files of corrupted test images that rows may use, of one method or of any, and what each is to hold.

    Where no method of the experiment gets a score that looks at them, there are none.
    """
    files: dict[Path, tuple[Dataset, Corruption]] = {}
    if not any(map(grid.takes_corrupted, experiment.scores)):
        return files
    for dataset in experiment.id_datasets:
        by_ood = foreseen.used(experiment, backbone, dataset.name, method)
        for _, ood in dataset.pairs():
            for corruption in grid.corruptions(by_ood[ood.name]):
                for each in corruptible((dataset, ood)):
                    files[corrupted_file(results, backbone, each.name, corruption)] = each, corruption
    return files


def corrupted_words(experiment: Experiment) -> dict[str, Corruption]:
    """Return the corruptions that the scores of an experiment ask for, by what their files are called."""
    return {corruption.split.partition(".")[2]: corruption for corruption in grid.corruptions(experiment.scores)}
