"""The image side of encode: every split of one dataset through one backbone, into one HDF5 file a split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from oodgrid import backbones, paths, store
from oodgrid.config import Backbone, Dataset
from oodgrid.encode.decode import decode, source_sha256
from oodgrid.encode.sources import ImageSet, open_split
from oodgrid.plan import ENCODE_VERSION

if TYPE_CHECKING:
    import torch

BATCH = 64  # every batch is full (the last one padded), because another batch shape changes the last bits


def encode_images(results: Path, backbone: Backbone, dataset: Dataset) -> list[Path]:
    """Encode every split of a dataset and return the files.

    Raises:
        OodgridError: The source or the backbone cannot be read, or an image is broken; finished splits stay.
    """
    loaded = backbones.load(backbone)
    written = []
    for split in dataset.split_names:
        images = open_split(dataset, split)
        features, digests = _encode(loaded, images, f"encode {backbone.name}/{dataset.name}/{split}")
        provenance = {
            "encode_version": ENCODE_VERSION,
            "backbone": loaded.identity,
            "dataset": dataset.identity,
            "split": split,
            "classnames": images.classnames,
            "normalised": False,
        }
        path = paths.features(results, backbone.name, dataset.name, split)
        store.write_features(path, store.Features(features, images.labels, images.paths, digests, provenance))
        written.append(path)
    return written


def _encode(loaded: backbones.LoadedBackbone, images: ImageSet, title: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the features, shape (N, D), float32, and the sha256 of the source bytes, shape (N, 32)."""
    import torch

    features, digests = [], []
    with tqdm(total=len(images), desc=title, unit="img", delay=5) as progress, torch.inference_mode():
        for tensors, hashes in _batches(loaded, images):
            count = len(tensors)
            padded = torch.cat([tensors, tensors[-1:].expand(BATCH - count, *tensors.shape[1:])])
            embedded = loaded.model.encode_image(padded.to(loaded.device), normalize=False)
            features.append(embedded[:count].float().cpu().numpy())
            digests += hashes
            progress.update(count)
    return np.concatenate(features), np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _batches(loaded: backbones.LoadedBackbone, images: ImageSet) -> Iterator[tuple[torch.Tensor, list[bytes]]]:
    """Yield preprocessed batches, decoding ahead in as many threads as the job may use."""
    import torch

    def prepare(row: int) -> tuple[torch.Tensor, bytes]:
        source = images.read(row)
        return loaded.preprocess(decode(source, images.paths[row])), source_sha256(source)

    with ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS", 1))) as pool:
        starts = range(0, len(images), BATCH)
        ahead = [pool.submit(prepare, row) for row in range(min(BATCH, len(images)))]
        for start in starts:
            current = ahead
            following = range(start + BATCH, min(start + 2 * BATCH, len(images)))
            ahead = [pool.submit(prepare, row) for row in following]
            prepared = [future.result() for future in current]
            yield torch.stack([tensor for tensor, _ in prepared]), [hashed for _, hashed in prepared]
