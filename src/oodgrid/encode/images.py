"""The samples, images or texts, of every split of one dataset through one backbone, into one HDF5 file a split."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from oodgrid import backbones, paths
from oodgrid.backbones import LoadedBackbone
from oodgrid.config import Backbone, Dataset
from oodgrid.encode.chunks import Chunks
from oodgrid.encode.kinds import KINDS
from oodgrid.encode.local_features import DEFINITION, check_local_features
from oodgrid.encode.sources import ImageSet, open_splits
from oodgrid.encode.sources.checking import report_remarks
from oodgrid.encode.work import WHOLE, Shard
from oodgrid.identity import digest
from oodgrid.plan import ENCODE_VERSION

LAYERS = "every layer's output, the embeddings' first, pooled as the features are"  # of every file that holds them


def encode_images(results: Path, backbone: Backbone, dataset: Dataset, shard: Shard = WHOLE) -> list[Path]:
    """Encode every split of a dataset and return the files; of a shard, leave its finished chunks and return nothing.

    What an earlier run finished is taken up again, be it a chunk or the whole file.

    Raises:
        OodgridError: The source or the backbone cannot be read, or an image is broken; what was finished stays.
    """
    loaded = backbones.load(backbone)
    opened = open_splits(dataset)
    kind = KINDS[dataset.thing]
    opened = {split: kind.remarked(loaded, samples) for split, samples in opened.items()}
    report_remarks(dataset, opened)
    written = []
    for split, images in opened.items():
        if dataset.file_of(split) != split:  # of which only what the draws take is encoded, by a job of its own
            continue
        about = describe(loaded, backbone, dataset, split, images)
        skip, local = dataset.on_error == "skip", "local_features" in about
        chunks = Chunks(results, about, loaded, images, skip=skip, local=local, prepare=kind.prepare(loaded))
        path = paths.features(results, backbone.name, dataset.name, split)
        title = f"encode {backbone.name}/{dataset.name}/{split}"
        if shard == WHOLE:
            chunks.finish(path, partial(kind.encode, chunks, WHOLE, title))
            written.append(path)
        else:
            kind.encode(chunks, shard, f"{title} {shard}")
    return written


def describe(
    loaded: LoadedBackbone, backbone: Backbone, dataset: Dataset, split: str, images: ImageSet
) -> dict[str, Any]:
    """Return everything that decides a feature file of images, as `identify`, with their local features.

    Raises:
        OodgridError: Local features are wanted, and the model has none.
    """
    about = identify(loaded, dataset, split, images)
    if backbone.local_features and KINDS[images.thing].has_patches:
        check_local_features(backbone.name, loaded.model)
        about["local_features"] = DEFINITION
    if backbone.layer_features:
        about["layer_features"] = LAYERS
    return about


def identify(loaded: LoadedBackbone, dataset: Dataset, split: str, images: ImageSet) -> dict[str, Any]:
    """Return everything that decides the numbers of a feature file, but for the bytes of the images themselves.

    Of texts, and of the texts of pairs, these are part of it.
    """
    of_texts = {} if images.words is None else {"texts_sha256": digest(list(images.words))}
    return {
        **of_texts,
        "encode_version": ENCODE_VERSION,
        "backbone": loaded.identity,
        "dataset": {"name": dataset.name, **dataset.identity},
        "split": split,
        "classnames": images.classnames,
        "files_sha256": digest([images.paths, images.labels.tolist()]),
        "normalised": False,
    }
