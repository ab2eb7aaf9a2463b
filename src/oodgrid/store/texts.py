"""Text files: the embedded prompts that they hold, writing and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.store import hdf5
from oodgrid.store.attributes import content_digest
from oodgrid.store.floats import as_floats, check_finite, optional


@dataclass(frozen=True)
class NewTexts:
    """The embedded prompts of class names, or of a list of other texts, under one backbone, to be written.

    Attributes:
        text_features: Shape (T, K, D), float16 or float32, one embedding per template and name, not normalised unless
            `provenance["normalised"]`; where they are too many for memory, blocks of them.
        classnames: K names: of classes, or the texts of a list.
        templates: T templates, with `{}` for the name.
        provenance: What decides the numbers.
        kinds: Of a list of texts: K words as "noun" and "adjective", "" where the kind is unknown; else None.
        bias: Of the head of a network, whose weights stand in place of embeddings: shape (K,); else None.
    """

    text_features: np.ndarray | hdf5.Blocks
    classnames: Sequence[str]
    templates: Sequence[str]
    provenance: dict[str, Any]
    kinds: Sequence[str] | None = None
    bias: np.ndarray | None = None


@dataclass(frozen=True)
class Texts(NewTexts):
    """The embedded prompts of class names, or of a list of other texts, under one backbone, as read.

    Attributes:
        text_features: Shape (T, K, D), float16 or float32, not normalised unless `provenance["normalised"]`.
        digest: Digest of the data.
    """

    text_features: np.ndarray
    digest: str = ""


def write_texts(path: Path, texts: NewTexts) -> None:
    """Write a text file.

    Raises:
        OodgridError: Shapes do not fit each other or an embedding is not finite; nothing is written.
    """
    values = as_floats(texts.text_features)
    if len(values.shape) != 3 or values.shape[:2] != (len(texts.templates), len(texts.classnames)):
        raise OodgridError(
            f"{path.name}: text features of shape {values.shape} do not fit "
            f"{counted(len(texts.templates), 'template')} and {counted(len(texts.classnames), 'class name')}"
        )
    if texts.kinds is not None and len(texts.kinds) != len(texts.classnames):
        raise OodgridError(
            f"{path.name}: {counted(len(texts.classnames), 'label')} but {counted(len(texts.kinds), 'kind')}"
        )
    if isinstance(values, np.ndarray):
        check_finite(values.reshape(-1, values.shape[-1]), path.name, list(texts.classnames) * len(texts.templates))
    arrays: dict[str, hdf5.Array] = {
        "text_features": values,
        "classnames": texts.classnames,
        "templates": texts.templates,
    }
    if texts.kinds is not None:
        arrays["kinds"] = texts.kinds
    arrays |= {} if texts.bias is None else optional(bias=(texts.bias, np.float32))
    hdf5.write(path, arrays, texts.provenance)


def read_texts(path: Path, as_stored: bool = False) -> Texts:
    """Read a text file, checking its checksums.

    Args:
        path: The file.
        as_stored: Leave float16 as it is; else it becomes float32, which changes no value.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    content = hdf5.read(path, "text_features")
    values = content.array("text_features")
    values = values if as_stored else values.astype(np.float32, copy=False)
    names, templates = list(content.names("classnames")), list(content.names("templates"))
    kinds = list(content.names("kinds")) if "kinds" in content.texts else None
    bias = content.arrays.get("bias")
    return Texts(values, names, templates, content.provenance, kinds, bias, content_digest(content))
