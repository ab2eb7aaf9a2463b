"""Importing features that somebody else computed: what `oodgrid import` does.

An imported file records what is lost: `normalised` where the norms are gone, `draws` where the shots are one fixed
draw, and that there is no image behind a row. No workflow rule makes these files, so none deletes them.
Half and single precision are kept bit for bit; double becomes single, which the file records.
"""

from __future__ import annotations

from pathlib import Path

from oodgrid import catalogue
from oodgrid.config import Dataset, Experiment, LabelList, expand
from oodgrid.config.label_list import ImportedTexts
from oodgrid.config.sources import Imported
from oodgrid.encode.importing.arrays import import_arrays, import_npy
from oodgrid.encode.importing.clip_retrieval import import_clip_retrieval
from oodgrid.encode.importing.pairs import import_derived
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
    "named_in_config",
]


def named_in_config(backbone: str, name: str, key: str) -> str:
    """Return a line that says how a configuration names what was imported under these names.

    Args:
        backbone: The name of the encoder.
        name: Of the dataset or the list of texts.
        key: Where an entry of it stands, "id_datasets" or "label_lists".
    """
    place = "id_datasets: or ood:" if key == "id_datasets" else f"{key}:"
    known = backbone in catalogue.entries("backbone")
    encoder = backbone if known else f"{{name: {backbone}, model: imported, pretrained: random}}"
    why = "" if known else "; nothing is loaded for imported features, so model and pretrained may say anything"
    return f"in a configuration: backbones: [{encoder}], and {{name: {name}, imported: {{}}}} under {place}{why}"


def import_experiment(results: Path, experiment: Experiment) -> list[Path]:
    """Import every dataset and label list that the experiment describes with `imported:`, under every backbone of it.

    Raises:
        OodgridError: It names none, or one of them cannot be read; those before it stay.
    """
    written = []
    datasets = {dataset.name: dataset for dataset in experiment.datasets()}.values()
    for dataset in sorted(datasets, key=lambda each: each.derived is not None):  # after those that they are made of
        if dataset.imported:
            for backbone in experiment.backbones:
                written += _import_dataset(results, backbone.name, dataset, dataset.imported)
    for text_list in experiment.wanted_lists():
        if text_list.imported:
            for backbone in experiment.backbones:
                written += _import_list(results, backbone.name, text_list, text_list.imported)
    if not written:
        raise OodgridError(
            f"experiment {experiment.experiment} imports nothing: no imported: of it names a file (tip_adapter, text). "
            "Features of your own come in by oodgrid import npz"
        )
    return written


def _import_list(results: Path, backbone: str, text_list: LabelList, source: ImportedTexts) -> list[Path]:
    if not source.text:  # imported by hand
        return []
    names = expand(source.labels) if source.labels else None
    template = next(iter(text_list.templates))  # of imported texts there is one, in a list
    return [import_text(results, backbone, text_list.name, expand(source.text), names, template, of_list=True)]


def _import_dataset(results: Path, backbone: str, dataset: Dataset, source: Imported) -> list[Path]:
    if source.derived:
        return import_derived(results, backbone, dataset.name, source.derived)
    written = []
    if source.tip_adapter:
        place = (results, backbone, dataset.name, expand(source.tip_adapter))
        written += import_tip_adapter(*place, source.test, dataset.classnames, source.pair_texts)
    if source.text:
        names = expand(source.classnames) if source.classnames else None
        written.append(import_text(results, backbone, dataset.name, expand(source.text), names, dataset.templates[0]))
    return written
