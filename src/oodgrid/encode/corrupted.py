"""Corrupted versions of the test images of a dataset through one backbone, into a feature file a corruption.

An image is corrupted as the network would see it: resized and cut, before its numbers are scaled, as CoVer's code does
and as ImageNet-C was made. The file has the rows of the test split.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from oodgrid import backbones, paths
from oodgrid.backbones import LoadedBackbone
from oodgrid.config import Backbone, Dataset
from oodgrid.corruptions import Corruption
from oodgrid.encode.chunks import Chunks
from oodgrid.encode.corrupting import corrupted
from oodgrid.encode.images import identify
from oodgrid.encode.pipeline import encode_rows
from oodgrid.encode.preprocessing import pixels_of, scaler
from oodgrid.encode.sources import ImageSet, open_split
from oodgrid.encode.work import WHOLE


def encode_corrupted(results: Path, backbone: Backbone, dataset: Dataset, corruption: Corruption) -> Path:
    """Encode the corrupted test images of a dataset and return the file.

    What an earlier run finished is taken up again, be it a chunk or the whole file.

    Raises:
        OodgridError: The source or the backbone cannot be read, or an image is broken; what was finished stays.
    """
    loaded, images = backbones.load(backbone), open_split(dataset, "test")
    about = {**identify(loaded, dataset, "test", images), "corruption": corruption.identity}
    prepare = preparer(loaded, images, corruption, bool(dataset.exif_rotation))
    chunks = Chunks(results, about, loaded, images, skip=dataset.on_error == "skip", prepare=prepare)
    path = paths.corrupted(results, backbone.name, dataset.name, corruption.split.partition(".")[2])
    title = f"encode {backbone.name}/{dataset.name}/{corruption}"
    chunks.finish(path, partial(encode_rows, chunks, WHOLE, title))
    return path


def preparer(
    loaded: LoadedBackbone, images: ImageSet, corruption: Corruption, upright: bool
) -> Callable[[int, bytes | np.ndarray], torch.Tensor]:
    """Return what makes network input, shape (3, H, W), float32, of an image's row and source."""
    preprocessing = loaded.identity["preprocessing"]
    cut, scaled = pixels_of(loaded.preprocess, preprocessing, upright), scaler(preprocessing)

    def prepare(row: int, source: bytes | np.ndarray) -> torch.Tensor:
        picture = cut(source, images.place(row))
        return scaled(torch.from_numpy(np.array(corrupted(picture, corruption, images.paths[row]))).permute(2, 0, 1))

    return prepare
