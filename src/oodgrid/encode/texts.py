"""The text side of encode: prompts of class names, of every kind of `oodgrid.texts`, and lists of other texts."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from oodgrid import backbones, paths, store
from oodgrid.backbones import LoadedBackbone
from oodgrid.backbones.tokens import cut_rows, refuse_classes
from oodgrid.config import Backbone, Dataset, Experiment, LabelList
from oodgrid.counts import counted, plural
from oodgrid.encode.chunks import pieces
from oodgrid.encode.embedding import embed
from oodgrid.encode.sources import class_names
from oodgrid.encode.text_lists import prompts, read_text_list
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.kept import JOINED, Kept, is_whole, link
from oodgrid.plan import ENCODE_VERSION
from oodgrid.progress import progress
from oodgrid.texts import CLASSES, TextSource

ROWS = 4096  # texts of a chunk; the last batch of a chunk may be short


def encode_texts(results: Path, backbone: Backbone, dataset: Dataset, source: TextSource = CLASSES) -> Path:
    """Encode the prompts of the class names of one kind, not averaged and not normalised, and return the file.

    Raises:
        OodgridError: The dataset has no class names, or the backbone does not know a word, takes no text so long, or
            sees no difference between two classes.
    """
    names = class_names(dataset)
    loaded = backbones.load(backbone)
    if source.prompts is None:
        raise TypeError(f"{source.what} are not made of class names")
    by_template = source.prompts(dataset.templates, names)
    texts = [of_names for _, of_names in by_template]
    for one in texts:
        refuse_classes(loaded, names, one, twice=bool(dataset.root))  # whose classes are known by more than a name
    if same := sorted(name for name, count in Counter(names).items() if count > 1):
        count = counted(len(same), "such name")
        print(f"oodgrid: {dataset.name}: no text tells two classes {same[0]!r} apart ({count})", file=sys.stderr)
    text = {**source.identity(dataset), "classnames": names}
    path = source.path(results, backbone.name, dataset.name)
    about = store.NewTexts(np.empty(0), names, [template for template, _ in by_template], _provenance(loaded, text))
    if source is CLASSES:
        store.write_texts(path, replace(about, text_features=np.stack([_at_once(loaded, one) for one in texts])))
    else:
        _encode(results, path, loaded, texts, about)
    return path


def _at_once(loaded: LoadedBackbone, texts: list[str]) -> np.ndarray:
    """Return the embeddings of texts, shape (K, D), as one batch of full length: `embed` rounds otherwise."""
    import torch

    with torch.inference_mode():
        return loaded.encode_text(loaded.tokenize(texts).to(loaded.device)).cpu().numpy()


def encode_text_list(results: Path, experiment: Experiment, backbone: Backbone, entry: LabelList) -> Path:
    """Encode every text of a list in every template of its kind, not averaged and not normalised, and return the file.

    Texts go in batches, and finished chunks of them are kept: a run that was killed goes on there. One template of
    the whole list is in memory at a time.

    Raises:
        OodgridError: The list cannot be read, or the backbone does not know a word.
    """
    classes = classes_of(results, experiment, backbone.name, entry.classes_of) if entry.classes_of else []
    table = read_text_list(entry, classes)
    list_prompts = prompts(entry, table)
    loaded = backbones.load(backbone)
    text = {**entry.identity, "label_list": entry.name, "texts_sha256": list_prompts.sha256, "count": len(table.names)}
    if cut := _cut(entry, loaded, table.names, list_prompts.texts):
        text["cut"] = cut
    if entry.classes_of:
        text["classes_sha256"] = digest(classes)
    path = paths.label_texts(results, backbone.name, entry.name)
    about = store.NewTexts(
        np.empty(0), table.names, list_prompts.templates, _provenance(loaded, text), kinds=table.kinds
    )
    try:
        _encode(results, path, loaded, list_prompts.texts, about)
    except OodgridError as error:
        raise OodgridError(f"label list {entry.name}: {error}") from error
    return path


def classes_of(results: Path, experiment: Experiment, backbone: str, name: str) -> list[str]:
    """Return the class names of an ID dataset: from its images, or of an imported one from its texts.

    Raises:
        OodgridError: It has no class names.
    """
    dataset = experiment.id_dataset(name)
    if dataset.imported and dataset.classnames is None:
        return list(store.read_texts(paths.texts(results, backbone, name)).classnames)
    return class_names(dataset)


def _cut(
    entry: LabelList, loaded: LoadedBackbone, names: Sequence[str], texts: list[list[str]]
) -> dict[str, Any] | None:
    """Return how many texts the text tower does not see whole, for the provenance, and print a line about them."""
    rows = sorted({row for one in texts for row in cut_rows(loaded, one)})
    if not rows:
        return None
    message = (
        f"{len(rows):,} of {counted(len(names), 'label')} {plural(len(rows), 'is', 'are')} longer than the text "
        f"tower of {loaded.name} takes, and {plural(len(rows), 'was', 'were')} cut"
    )
    print(f"oodgrid: label list {entry.name}: {message}, the first: {names[rows[0]][:60]!r}", file=sys.stderr)
    return {"labels": len(rows), "first": names[rows[0]]}


def _provenance(loaded: LoadedBackbone, text: dict[str, Any]) -> dict[str, Any]:
    return {"encode_version": ENCODE_VERSION, "backbone": loaded.identity, "text": text, "normalised": False}


def _encode(
    results: Path, path: Path, loaded: LoadedBackbone, texts: Sequence[list[str]], about: store.NewTexts
) -> None:
    """Write a text file of T times K texts; `about` holds all but the features.

    It lies in results/kept/encode like a feature file, where a rerun of Snakemake finds it again.
    """
    # What a kind of texts says of itself may leave open which texts it makes, so these are part of the key. The name of
    # the dataset is not: two sets with the same classes and templates share one file, whose content is the same.
    of_texts = {} if "texts_sha256" in about.provenance["text"] else {"texts_sha256": digest(texts)}
    place = Kept(results, "encode").place({**about.provenance, **of_texts})
    whole, parts = place / JOINED, pieces(place, loaded)
    if not is_whole(whole):
        with progress(total=sum(map(len, texts)), desc=f"encode {loaded.name}/{path.stem}", unit="text") as bar:
            first = _chunk(parts, loaded, texts[0][:ROWS])
            shape = (len(texts), len(texts[0]), first.shape[1])
            features = store.Blocks(shape, first.dtype, _by_template(parts, loaded, texts, bar))
            store.write_texts(whole, replace(about, text_features=features))
        shutil.rmtree(parts, ignore_errors=True)
    link(whole, path)


def _by_template(parts: Path, loaded: LoadedBackbone, texts: Sequence[list[str]], bar: tqdm) -> Iterator[np.ndarray]:
    """Yield the embeddings of one template after another, shape (1, K, D)."""
    for one in texts:
        chunks = []
        for start in range(0, len(one), ROWS):
            chunks.append(_chunk(parts, loaded, one[start : start + ROWS]))
            bar.update(len(chunks[-1]))
        whole = np.concatenate(chunks)
        store.check_finite(whole, "encoding", one)
        yield whole[None]


def _chunk(parts: Path, loaded: LoadedBackbone, texts: Sequence[str]) -> np.ndarray:
    """Return the embeddings of some texts, shape (n, D), and keep them; taken from there where they are whole."""
    path = parts / f"{digest(texts)[:32]}.safetensors"
    try:
        return store.read_arrays(path)[0]["text_features"]
    except OodgridError:  # not there yet, or damaged
        features = embed(loaded, texts)
        store.write_arrays(path, {"text_features": features})
        return features
