"""One experiment, as a user writes it: the models that validate it and give it its meaning.

Names are looked up in the catalogue and the registry; every mistake is one line with a did-you-mean. Nothing
here imports torch. The JSON schema for editors is generated from these models (`oodgrid schema`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from oodgrid.config.backbone import Backbone
from oodgrid.config.base import SLUG, SPLITS, expand
from oodgrid.config.dataset import SHUFFLED_PROMPTS, Dataset, Views
from oodgrid.config.experiment import KINDS, Choice, Experiment, IdDataset
from oodgrid.config.label_list import ImportedTexts, LabelList, Lexicographer
from oodgrid.config.reading import check_config_files, check_values, read_config_file
from oodgrid.config.sources import HuggingFace, ListFile, NumpyArrays, Torchvision, Webdataset
from oodgrid.errors import OodgridError

__all__ = [
    "ANY",
    "KINDS",
    "SHUFFLED_PROMPTS",
    "SLUG",
    "SPLITS",
    "Backbone",
    "Choice",
    "Dataset",
    "Experiment",
    "HuggingFace",
    "IdDataset",
    "ImportedTexts",
    "LabelList",
    "Lexicographer",
    "ListFile",
    "NumpyArrays",
    "Torchvision",
    "Views",
    "Webdataset",
    "check_config_files",
    "expand",
    "load",
    "parse",
    "read_config_file",
    "schema",
]

ANY = "any"  # stands in place of a method for scores that do not depend on it


def load(path: Path) -> Experiment:
    """Read an experiment file (YAML or JSON).

    Raises:
        OodgridError: The file is missing, is no YAML or says something that does not exist or fit.
    """
    return parse(read_config_file(path))


def parse(raw: Any) -> Experiment:
    """Return the experiment that a parsed configuration describes.

    Raises:
        OodgridError: It says something that does not exist or does not fit.
    """
    if not isinstance(raw, dict):
        raise OodgridError("the config is empty or no mapping: see config.yaml for an example")
    check_values(raw)
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise OodgridError(
            f"config: {place}: {first['msg']} (given: {json.dumps(first['input'], default=str)[:80]})"
        ) from None


def schema() -> dict[str, Any]:
    """Return the JSON schema of an experiment file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}
