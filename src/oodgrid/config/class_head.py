"""The classification head of a backbone, as a user writes it; where files of weights lie."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from oodgrid import catalogue
from oodgrid.catalogue import real
from oodgrid.config.base import Strict, expand
from oodgrid.config.word_files import read_words
from oodgrid.errors import OodgridError
from oodgrid.identity import digest, file_sha256, is_file

INSTALLED = "installed:"  # stands before a folder or file within a package of Python
BESIDE = "\t"  # between the folder of a class and its name: an output of a head may be called by either


class ClassHead(Strict):
    """The classification head of a network: a linear classifier on its features as they are, by their own norm."""

    classes: list[str] | Literal["by_order"] = Field(
        description="What its outputs are called, in their order: a list, a .txt or .json file, or the name of a "
        "dataset of the catalogue, as imagenet. by_order: as the classes of each ID set are, one for one."
    )
    weights: str | None = Field(
        None,
        description="An .npz, .safetensors or .pt file with weight (K, D) and bias (K,). Default: those of the "
        "backbone's own weights.",
    )

    @classmethod
    def prepare(cls, data: dict[str, Any], left_out: set[str]) -> None:
        """Read the classes where they are those of a dataset, or a file."""
        classes = data.get("classes")
        if isinstance(classes, str) and classes != "by_order":
            left_out.add("classes")
            del data["classes"]
            if classes.endswith((".txt", ".json")):
                data["classes"] = read_words(classes, "head, classes")
            else:
                data["classes"] = _classes_of(classes)
            left_out.discard("classes")

    @model_validator(mode="after")
    def _some_classes(self) -> ClassHead:
        if self.classes != "by_order" and (len(self.classes) < 2 or not all(map(str.strip, self.classes))):
            raise OodgridError("head: classes names two or more outputs, none of them empty")
        return self

    @property
    def file(self) -> Path | None:
        """The file of its weights, which need not be there; None where they are the backbone's."""
        return None if self.weights is None else place_of(self.weights)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides it beside the backbone, as far as the configuration says it."""
        of_file = {} if self.weights is None else {"sha256": content(self.file)}
        return {"classes": self.classes if isinstance(self.classes, str) else digest(self.classes), **of_file}


def content(path: Path | None) -> str | None:
    """Return the digest of a file; None where it is not there, also of a name too long for a file."""
    return file_sha256(path) if path is not None and is_file(path) else None


def place_of(name: str) -> Path:
    """Return where a file or folder lies: in oodgrid, within another package of Python, or as a user says."""
    if name.startswith(catalogue.PACKAGE):
        return catalogue.packaged(name)
    if name.startswith(INSTALLED):
        package, _, inner = name.removeprefix(INSTALLED).partition("/")
        spec = find_spec(package) if package.isidentifier() else None
        places = list(spec.submodule_search_locations or ()) if spec else []
        return Path(places[0]) / inner if places else Path(name)
    return expand(name)


def _classes_of(dataset: str) -> list[str]:
    """Return the classes of a dataset of the catalogue, each as its folder and its name."""
    keys = real.class_keys(dataset)
    if not keys:
        raise OodgridError(f"head, classes: {dataset} has no classes: name a dataset that has, as imagenet")
    return [f"{key}{BESIDE}{name}" for key, name in keys.items()]
