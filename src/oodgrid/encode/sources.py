"""Where images come from: one reader for each source that a dataset can name in the configuration."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from oodgrid.config import Dataset, expand
from oodgrid.encode import concept_world
from oodgrid.errors import OodgridError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}

UNKNOWN_STAMP = (-1, -1)


@dataclass(frozen=True)
class ImageSet:
    """The images of one split.

    Attributes:
        paths: N stable names.
        labels: Shape (N,), int32; -1 where an image has no class.
        classnames: K names, or None where classes have no names.
        read: Row number to what is to be decoded: the bytes of an image file, or pixels (H, W) or (H, W, 3), uint8.
        stamp: Row number to size in bytes and time of change in nanoseconds of what holds the image; -1 where unknown.
    """

    paths: list[str]
    labels: np.ndarray
    classnames: list[str] | None
    read: Callable[[int], bytes | np.ndarray]
    stamp: Callable[[int], tuple[int, int]] = lambda row: UNKNOWN_STAMP

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, rows: np.ndarray) -> ImageSet:
        """Return the images of these rows."""
        paths = [self.paths[row] for row in rows]
        return replace(
            self,
            paths=paths,
            labels=self.labels[rows],
            read=lambda row: self.read(int(rows[row])),
            stamp=lambda row: self.stamp(int(rows[row])),
        )


def open_split(dataset: Dataset, split: str) -> ImageSet:
    """Open one split of a dataset.

    Raises:
        OodgridError: The source is missing, unreadable or empty, or its class names do not fit.
    """
    if dataset.concept_world is not None:
        return _concepts(dataset, split)
    images = _read_whole(dataset) if dataset.generated is None else _generated(dataset)
    if not len(images):
        raise OodgridError(
            f"dataset {dataset.name} holds no image: look for class folders with {_known_suffixes()} in it"
        )
    images = _named(dataset, images)
    return images.subset(_split_rows(dataset, images.labels, split)) if dataset.splits else images


def class_names(dataset: Dataset) -> list[str]:
    """Return the class names whose texts are to be encoded.

    Raises:
        OodgridError: The source has no names and the configuration gives none.
    """
    names = dataset.classnames or open_split(dataset, "test").classnames
    if not names:
        raise OodgridError(f"dataset {dataset.name} has no class names: give classnames, or text: visual_prototypes")
    return list(names)


# ------------------------------------------------------------------------------------------- generated images


def _concepts(dataset: Dataset, split: str) -> ImageSet:
    world = dataset.concept_world
    shift = {"blur": world.blur, "noise": world.noise, "contrast": world.contrast}
    made = concept_world.concepts(world.group, split, getattr(world, split), **shift)
    return _from_arrays(made.names, made.labels, made.images, list(concept_world.GROUPS[world.group]))


def _generated(dataset: Dataset) -> ImageSet:
    kind, count = dataset.generated.kind, dataset.generated.images
    made = concept_world.digits() if kind == "digits" else getattr(concept_world, kind)(count)
    return _from_arrays(made.names[:count], made.labels[:count], made.images[:count], None)


def _from_arrays(names: list[str], labels: np.ndarray, arrays: np.ndarray, classnames: list[str] | None) -> ImageSet:
    """Wrap pixel arrays, shape (N, H, W) or (N, H, W, 3), uint8."""
    return ImageSet(list(names), np.asarray(labels, np.int32), classnames, lambda row: arrays[row])


# ----------------------------------------------------------------------------------------------- users' files


def _read_whole(dataset: Dataset) -> ImageSet:
    if dataset.folder is not None:
        return _folder(expand(dataset.folder))
    if dataset.archive is not None:
        return _archive(expand(dataset.archive))
    if dataset.idx is not None:
        return _idx(expand(dataset.idx.images), expand(dataset.idx.labels))
    raise OodgridError(f"dataset {dataset.name} was imported and has no images: run oodgrid import for it")


def _folder(root: Path) -> ImageSet:
    if not root.is_dir():
        raise OodgridError(f"folder {root} does not exist: mend the path in the config")
    # os.walk and not rglob: class folders are often links into a larger set
    found = [Path(folder, name) for folder, _, names in os.walk(root, followlinks=True) for name in names]
    names = [path.relative_to(root).as_posix() for path in found]
    return _class_folders(names, str(root), lambda name: (root / name).read_bytes())


def _archive(path: Path) -> ImageSet:
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise OodgridError(f"archive {path} does not exist: mend the path in the config") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise OodgridError(f"archive {path} is not a readable zip file: {error}") from error
    return _class_folders(archive.namelist(), str(path), archive.read)


def _class_folders(names: list[str], where: str, read: Callable[[str], bytes]) -> ImageSet:
    """List images by class: the class of an image is the folder it lies in, below a common root."""
    paths = sorted(filter(_is_image, names))
    folders = [str(PurePosixPath(path).parent) for path in paths]
    classes = sorted(set(folders))
    index = {name: label for label, name in enumerate(classes)}
    labels = np.asarray([index[folder] for folder in folders], dtype=np.int32)

    def read_file(row: int) -> bytes:
        try:
            return read(paths[row])
        except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, zlib.error) as error:  # RuntimeError: encrypted
            raise OodgridError(f"{where}: {paths[row]} cannot be read: {error}") from error

    return ImageSet(paths, labels, [PurePosixPath(name).name for name in classes], read_file)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)  # hidden files and __MACOSX are what file managers and archivers leave beside images
    return path.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _idx(images: Path, labels: Path) -> ImageSet:
    pixels, classes = _read_idx(images, 3), _read_idx(labels, 1).astype(np.int32)
    if len(pixels) != len(classes):
        raise OodgridError(f"{images.name} holds {len(pixels)} images but {labels.name} {len(classes)} labels")
    names = [f"{images.name}#{row}" for row in range(len(pixels))]
    return _from_arrays(names, classes, pixels, [str(k) for k in range(int(classes.max(initial=-1)) + 1)])


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read the idx format of MNIST: magic 0, 0, 8 (uint8), dimensions; big-endian sizes; data."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError:
        raise OodgridError(f"idx file {path} does not exist: mend the path in the config") from None
    except (OSError, EOFError, zlib.error) as error:
        raise OodgridError(f"idx file {path} is not readable: {error}") from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, 8, dimensions]):
        raise OodgridError(f"{path} is not an idx file of uint8 with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    if len(data) - header != int(np.prod(shape)):
        raise OodgridError(f"{path} is truncated: its header promises shape {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


# ------------------------------------------------------------------------------------------ names and splits


def _named(dataset: Dataset, images: ImageSet) -> ImageSet:
    if dataset.classnames is None:
        return images
    found = int(images.labels.max()) + 1
    if len(dataset.classnames) != found:
        raise OodgridError(
            f"dataset {dataset.name}: {len(dataset.classnames)} classnames for {found} classes of images"
        )
    return replace(images, classnames=list(dataset.classnames))


def _split_rows(dataset: Dataset, labels: np.ndarray, split: str) -> np.ndarray:
    """Return the rows of one split: a seeded draw in each class, the same whatever the order of the files."""
    wanted = dataset.splits
    rows: list[int] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).tolist()
        if len(members) <= wanted.train + wanted.val:
            raise OodgridError(
                f"dataset {dataset.name}: class {label} has {len(members)} images, too few for "
                f"{wanted.train} train + {wanted.val} val and a test image"
            )
        seed = hashlib.sha256(f"{wanted.seed}/{label}".encode()).digest()
        random.Random(seed).shuffle(members)
        cuts = {"train": slice(0, wanted.train), "val": slice(wanted.train, wanted.train + wanted.val)}
        rows += members[cuts.get(split, slice(wanted.train + wanted.val, None))]
    return np.sort(np.asarray(rows, dtype=np.int64))


def _known_suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))
