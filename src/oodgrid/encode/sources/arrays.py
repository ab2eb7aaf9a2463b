"""Images that are arrays of pixels: Concept World, generated sets, NumPy files and the idx files of MNIST."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from oodgrid.config import NumpyArrays, expand
from oodgrid.config.sources import ConceptWorld, Generated
from oodgrid.counts import counted
from oodgrid.encode import concept_world
from oodgrid.encode.sources.image_set import ImageSet, existing, file_stamp, whole_labels
from oodgrid.errors import OodgridError, one_line
from oodgrid.store import no_memory


def concepts(world: ConceptWorld, split: str) -> ImageSet:
    """Return one split of Concept World."""
    drawn = concept_world.concepts(
        world.group,
        split,
        getattr(world, split),
        light=world.light,
        blur=world.blur,
        noise=world.noise,
        contrast=world.contrast,
    )
    images = _painted(drawn, len(drawn.names), list(concept_world.GROUPS[world.group]))
    return replace(images, captions=drawn.captions) if world.captions else images


def generated(source: Generated) -> ImageSet:
    """Return a generated set without classes."""
    kind, count = source.kind, count_generated(source)
    return _painted(concept_world.digits() if kind == "digits" else getattr(concept_world, kind)(count), count, None)


def count_generated(source: Generated) -> int:
    """Return how many images a generated set has, which is known before it is made."""
    return min(source.images, concept_world.DIGITS) if source.kind == "digits" else source.images


def _painted(drawn: concept_world.Concepts, count: int, classnames: list[str] | None) -> ImageSet:
    """Return the first images of a set, each painted where it is read."""
    return ImageSet(drawn.names[:count], drawn.labels[:count], classnames, lambda row: drawn.paint(row)[0])


def numpy_arrays(source: NumpyArrays) -> ImageSet:
    """Return the images of a .npy file, which stays on disk, or of an .npz file.

    Raises:
        OodgridError: A file is missing, unreadable or of another shape or type.
    """
    file = existing(expand(source.images), "file")
    pixels, labels = _load(file, "images"), None
    if source.labels:
        labels = _load(existing(expand(source.labels), "file"), "labels")
    elif file.suffix == ".npz":
        labels = _load(file, "labels")
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] not in (1, 3)):
        raise OodgridError(
            f"{file} holds {pixels.dtype} of shape {pixels.shape}: images must be uint8, (N, H, W) or (N, H, W, 3)"
        )
    if 0 in pixels.shape[1:]:
        raise OodgridError(f"{file} holds images without pixels, shape {pixels.shape}: make it again")
    pixels = pixels[..., 0] if pixels.ndim == 4 and pixels.shape[3] == 1 else pixels
    labels = np.full(len(pixels), -1) if labels is None else labels
    whole = labels.dtype.kind in "iu" or (labels.dtype.kind == "f" and np.array_equal(labels, np.trunc(labels)))
    if labels.shape not in ((len(pixels),), (len(pixels), 1)) or not whole:
        raise OodgridError(
            f"{file}: {counted(len(pixels), 'image')} but labels of shape {labels.shape} and type {labels.dtype}"
        )
    names = [f"{file.name}#{row}" for row in range(len(pixels))]
    return from_arrays(names, [int(label) for label in labels.reshape(-1).tolist()], pixels, None, file)


def idx(images: Path, labels: Path) -> ImageSet:
    """Return the images of a pair of idx files.

    Raises:
        OodgridError: A file is missing or damaged, or the counts differ.
    """
    pixels, classes = _read_idx(images, 3), _read_idx(labels, 1).astype(np.int32)
    if len(pixels) != len(classes):
        raise OodgridError(
            f"{images.name} holds {counted(len(pixels), 'image')} but {labels.name} {counted(len(classes), 'label')}"
        )
    names = [f"{images.name}#{row}" for row in range(len(pixels))]
    values, positions = np.unique(classes, return_inverse=True)  # of EMNIST's letters the first is 1
    return from_arrays(names, positions, pixels, [str(value) for value in values], images)


def from_arrays(
    names: list[str],
    labels: Sequence[int] | np.ndarray,
    arrays: np.ndarray,
    classnames: list[str] | None,
    file: Path | None = None,
) -> ImageSet:
    """Wrap pixel arrays, shape (N, H, W) or (N, H, W, 3), uint8, which may lie in a file."""
    classes = whole_labels(np.asarray(labels).tolist(), str(file))
    images = ImageSet(list(names), classes, classnames, lambda row: np.asarray(arrays[row]))
    if file is None:
        return images
    stamp = file_stamp(file)
    return ImageSet(images.paths, images.labels, classnames, images.read, lambda row: stamp, str(file))


def _load(file: Path, name: str) -> np.ndarray:
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as archive:
                return archive[name]
        array = np.load(file, allow_pickle=False, mmap_mode="r")
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an .npz file: name it so")
        return array
    except KeyError:
        raise OodgridError(f"{file} holds no array '{name}': rename its arrays to images and labels") from None
    except MemoryError as error:
        raise no_memory(file) from error
    except Exception as error:  # zip, zlib and npy readers each fail in their own ways
        raise OodgridError(f"{file} is not a readable NumPy file without pickles: {one_line(error)}") from error


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read the idx format of MNIST: magic 0, 0, 8 (uint8), dimensions; big-endian sizes; data."""
    try:
        data = existing(path, "idx file").read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise OodgridError(f"idx file {path} is not readable: {error}") from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, 8, dimensions]):
        raise OodgridError(f"{path} is not an idx file of uint8 with {counted(dimensions, 'dimension')}")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    if len(data) - header != int(np.prod(shape)):
        raise OodgridError(f"{path} is truncated: its header promises shape {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
