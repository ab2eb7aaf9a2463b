"""Where corrupted test images lie, and which of them scores ask for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from oodgrid import grid, paths
from oodgrid.config import Choice, Dataset, Experiment
from oodgrid.corruptions import Corruption
from oodgrid.grid import corruptible


def corrupted_file(results: Path, backbone: str, dataset: str, corruption: Corruption) -> Path:
    """Return where the corrupted test images of a dataset lie."""
    return paths.features(results, backbone, dataset, corruption.split)


def corrupted_files(
    results: Path, backbone: str, datasets: Iterable[Dataset], scores: Iterable[Choice]
) -> dict[Path, tuple[Dataset, Corruption]]:
    """Return the files of corrupted test images of some datasets that some scores ask for, and what each is to hold."""
    wanted = grid.corruptions(scores)
    return {
        corrupted_file(results, backbone, dataset.name, corruption): (dataset, corruption)
        for dataset in corruptible(datasets)
        for corruption in wanted
    }


def corrupted_words(experiment: Experiment) -> dict[str, Corruption]:
    """Return the corruptions that the scores of an experiment ask for, by what their files are called."""
    return {corruption.split.partition(".")[2]: corruption for corruption in grid.corruptions(experiment.scores)}
