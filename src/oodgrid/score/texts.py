"""Reads the texts that scores compare with: of the classes, and of label lists."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from oodgrid import paths, store, texts
from oodgrid.config import Backbone, IdDataset
from oodgrid.config.class_choice import without_limit
from oodgrid.errors import OodgridError
from oodgrid.score.contract import Encoder, TextList, normalise
from oodgrid.score.sharing import frozen


@dataclass(frozen=True)
class Texts:
    """The texts that scores may ask for, the same for all fits.

    Attributes:
        by_need: Those kinds of `oodgrid.texts` that are there, shape (K, D) or (T, K, D); float64, unit norm.
        lists: By the names of label lists in the configuration.
        encoder: What encoded the class texts, and can encode others; None where it is not known, or not asked for.
        digests: Of the files from which they were read: of each kind by its need, of each list as ("list", name).
    """

    by_need: dict[str, np.ndarray]
    lists: dict[str, TextList]
    digests: dict[str | tuple[str, str], str]
    encoder: Encoder | None = None


def read_texts(
    results: Path, of: Backbone, dataset: IdDataset, needs: Collection[str], lists: Collection[str]
) -> Texts:
    """Return the texts that scores need.

    Args:
        results: The results folder.
        of: The backbone.
        dataset: The ID set.
        needs: What the scores need.
        lists: The names of the label lists.

    Raises:
        OodgridError: The file of a list is missing or damaged.
    """
    by_need, text_lists, backbone, encoder = {}, {}, of.name, None
    digests: dict[str | tuple[str, str], str] = {}
    for need, source in texts.needs().items():
        path = source.path(results, backbone, dataset.name)
        if need in needs and dataset.text_under(backbone) == "classnames" and path.exists():
            of_classes = store.read_texts(path)
            by_need[need] = frozen((class_texts if source.averaged else normalise)(_embeddings(of_classes)))
            digests[need] = of_classes.digest
            if "text_tower" in needs and not dataset.imported:
                encoder = Encoder(of, dataset.name, of_classes.provenance.get("backbone", {}).get("weights_sha256"))
    for name in lists:
        file = store.read_texts(paths.label_texts(results, backbone, name))
        text_lists[name] = replace(text_list_of(file), foreign=_foreign(name, file, dataset))
        digests["list", name] = file.digest
    return Texts(by_need, text_lists, digests, encoder)


def class_texts(embeddings: np.ndarray) -> np.ndarray:
    """Return the texts of the classes, shape (K, D), of embeddings (K, D), or (T, K, D) under several templates."""
    each = normalise(embeddings)
    return normalise(each.mean(axis=0)) if each.ndim == 3 else each


def text_list_of(file: store.Texts) -> TextList:
    """Return the texts of a label list that a text file holds."""
    return text_list(_embeddings(file), file.classnames, file.provenance.get("text", {}).get("kinds"))


def text_list(embeddings: np.ndarray, names: Sequence[str], kinds: Sequence[str] | None = None) -> TextList:
    """Return a list of texts of their embeddings under all templates, shape (T, M, D)."""
    means = embeddings.astype(np.float64).mean(axis=0)
    several = frozen(embeddings) if len(embeddings) > 1 else None
    return TextList(frozen(normalise(means)), names, list(kinds or [""] * len(names)), several)


def _foreign(name: str, file: store.Texts, dataset: IdDataset) -> str:
    """Return why the texts of a list that is joined to classes are not of this ID set's; "" where they are."""
    joined_to, own = file.provenance.get("text", {}).get("joined_to"), without_limit(dataset.name)
    return "" if joined_to in (None, own) else f"its list {name} is joined to the classes of {joined_to}"


def _embeddings(texts: store.Texts) -> np.ndarray:
    """Return the embeddings of texts, shape (T, K, D).

    Raises:
        OodgridError: They are not read from a file but about to be written into one.
    """
    if isinstance(texts.text_features, store.Blocks):
        raise OodgridError("these texts are about to be written: read them from their file")
    return texts.text_features
