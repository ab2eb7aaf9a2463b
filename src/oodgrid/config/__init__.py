"""One experiment, as a user writes it: the models that validate it and give it its meaning.

Names are looked up in the catalogue and the registry; every mistake is one line with a did-you-mean. Nothing
here imports torch. The JSON schema for editors is generated from these models (`oodgrid schema`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from oodgrid.config.backbone import Backbone
from oodgrid.config.base import SLUG, SPLITS, expand, wrong_name
from oodgrid.config.dataset import Dataset
from oodgrid.config.draws import Draws
from oodgrid.config.experiment import KINDS, Choice, Experiment, IdDataset, Precision, load_plugins, with_plugins
from oodgrid.config.label_list import ImportedTexts, LabelList, Lexicographer
from oodgrid.config.pairs import PairTable
from oodgrid.config.pseudo_ood import PseudoOod
from oodgrid.config.reading import check_config_files, read, read_config_file
from oodgrid.config.sources import (
    Derived,
    HuggingFace,
    Imported,
    ListFile,
    NumpyArrays,
    TextTable,
    Torchvision,
    Webdataset,
)
from oodgrid.config.splits import Views
from oodgrid.config.values import marked
from oodgrid.config.wording import lines_of
from oodgrid.errors import Mistakes, OodgridError
from oodgrid.registry import ANY

__all__ = [
    "ANY",
    "KINDS",
    "SLUG",
    "SPLITS",
    "Backbone",
    "Choice",
    "Dataset",
    "Derived",
    "Draws",
    "Experiment",
    "HuggingFace",
    "IdDataset",
    "Imported",
    "ImportedTexts",
    "LabelList",
    "Lexicographer",
    "ListFile",
    "NumpyArrays",
    "PairTable",
    "Precision",
    "PseudoOod",
    "TextTable",
    "Torchvision",
    "Views",
    "Webdataset",
    "build",
    "check_config_files",
    "expand",
    "load",
    "load_plugins",
    "parse",
    "read_config_file",
    "schema",
    "wrong_name",
]


Part = TypeVar("Part", bound=BaseModel)


def load(path: Path) -> Experiment:
    """Read an experiment file (YAML or JSON), and run the plugins that it names.

    Raises:
        OodgridError: The file is missing, is no YAML or says something that does not exist or fit.
    """
    raw, mistakes = read(path)
    return _validated(raw, mistakes, f"config {path}")


def parse(raw: Any) -> Experiment:
    """Return the experiment that a parsed configuration describes, having run the plugins that it names.

    Raises:
        OodgridError: It says something that does not exist or does not fit; `Mistakes` has a line for each.
    """
    if not isinstance(raw, dict):
        raise OodgridError("the config is empty or no mapping: see config.yaml for an example")
    return _validated(*marked(raw, "config"), "config")


def _validated(raw: dict[str, Any], mistakes: list[str], what: str) -> Experiment:
    """Return the experiment, or raise the mistakes in its values together with those in its meaning."""
    try:
        experiment = Experiment.model_validate(with_plugins(raw))
    except ValidationError as error:
        raise Mistakes([*mistakes, *lines_of(error, what)]) from None
    if mistakes:
        raise Mistakes(mistakes)
    return experiment


def build(part: type[Part], **fields: Any) -> Part:
    """Return a part of a configuration from its fields, as the command line gives them.

    Raises:
        OodgridError: `Mistakes` has a line for each field that does not fit.
    """
    try:
        return part(**fields)
    except ValidationError as error:
        raise Mistakes(lines_of(error, part.__name__.lower())) from None


def schema() -> dict[str, Any]:
    """Return the JSON schema of an experiment file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}
