"""Bringing in features that somebody else computed: what `oodgrid import` does.

An import says of itself what it has lost: `normalised` where the norms are gone, `draws` where the shots are
one fixed draw, and that no image stands behind a row. No workflow rule makes these files, so none deletes them.
Half and single precision are kept bit for bit; double becomes single, and the file says so.
"""

from __future__ import annotations

from pathlib import Path

from oodgrid.config import Dataset, Experiment, LabelList, expand
from oodgrid.encode.importing.arrays import import_arrays, import_npy
from oodgrid.encode.importing.clip_retrieval import import_clip_retrieval
from oodgrid.encode.importing.text import import_text
from oodgrid.encode.importing.tip_adapter import import_tip_adapter
from oodgrid.errors import OodgridError

__all__ = [
    "import_arrays",
    "import_clip_retrieval",
    "import_experiment",
    "import_npy",
    "import_text",
    "import_tip_adapter",
]


def import_experiment(results: Path, experiment: Experiment) -> list[Path]:
    """Import every dataset and label list that the experiment describes with `imported:`, under every backbone of it.

    Raises:
        OodgridError: It names none, or one of them cannot be read; those before it stay.
    """
    written = []
    for dataset in {dataset.name: dataset for dataset in experiment.datasets() if dataset.imported}.values():
        for backbone in experiment.backbones:
            written += _import_described(results, backbone.name, dataset)
    for labels in experiment.wanted_lists():
        for backbone in experiment.backbones if labels.imported and labels.imported.text else ():
            written.append(_import_labels(results, backbone.name, labels))
    if not written:
        raise OodgridError(f"experiment {experiment.experiment} imports nothing: no dataset of it has imported:")
    return written


def _import_labels(results: Path, backbone: str, labels: LabelList) -> Path:
    names = expand(labels.imported.labels) if labels.imported.labels else None
    return import_text(results, backbone, labels.name, expand(labels.imported.text), names, labels.templates[0], True)


def _import_described(results: Path, backbone: str, dataset: Dataset) -> list[Path]:
    described = dataset.imported
    written = []
    if described.tip_adapter:
        folder = expand(described.tip_adapter)
        written += import_tip_adapter(results, backbone, dataset.name, folder, described.test, dataset.classnames)
    if described.text:
        names = expand(described.classnames) if described.classnames else None
        written.append(
            import_text(results, backbone, dataset.name, expand(described.text), names, dataset.templates[0])
        )
    return written
