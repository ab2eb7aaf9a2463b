"""Makers of real datasets of a few tiny images, in every layout of the catalogue, from the catalogue's own words."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from oodgrid.catalogue import real
from oodgrid.encode.real import Location
from oodgrid.encode.real.places import folder_keys

FEW = 3  # classes of the test catalogue
PER_CLASS = 2
COUNT = FEW * PER_CLASS


def jpeg(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG")
    return buffer.getvalue()


JPEG = jpeg()


def put(path: Path, content: bytes | str = JPEG) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def locations(root: Path, name: str) -> Iterator[Location]:
    """Yield every place and layout in which a dataset may lie below a root."""
    for layout in real.layouts(name):
        for at in layout.at:
            yield Location(name, layout, root / at)


def make(location: Location) -> None:
    """Put a whole dataset of the test catalogue there, all its splits."""
    location.base.mkdir(parents=True, exist_ok=True)
    MAKERS[location.layout.reader](location)


def parts(location: Location) -> list[str]:
    """Return the splits that images lie in, which for a part of another set are the other's."""
    entry = real.real_set(location.name)
    of = {split: part.of for split, part in entry.names.items()}
    return list(dict.fromkeys(of.get(split, split) for split in entry.splits))


def folders(location: Location) -> None:
    for split in parts(location):
        for label, key in enumerate(folder_keys(location)):
            for number in range(PER_CLASS):
                put(location.path(split) / key / f"{location.path(split).name}_{label}_{number}.JPEG")
            for name in named(location)[label::FEW] if split == "test" else []:
                put(location.path(split) / key / name)


def named(location: Location) -> list[str]:
    """Return names of images that a split has by a list, as the 5,000 for validation of OpenOOD; none of most sets."""
    only = [part.only for part in real.real_set(location.name).names.values() if part.only]
    return sorted(real.file_names(only[0]))[:COUNT] if only else []


def flat(location: Location, labels: str = "") -> None:
    """Class folders of train, and test images with files of labels, the first of the layout by default."""
    keys, every = list(folder_keys(location)), list(real.class_keys("imagenet"))
    for label, key in enumerate(keys if "train" in parts(location) else []):
        for number in range(PER_CLASS):
            put(location.path("train") / key / f"train_{label}_{number}.JPEG")
    stems = [name.partition(".")[0] for name in named(location)]
    others = (f"ILSVRC2012_val_{number:08}" for number in range(1, 50_001))
    stems += list(islice((stem for stem in others if f"{stem}.JPEG" not in NAMES_OF_VAL), COUNT))
    key_of = {stem: keys[place % COUNT // PER_CLASS] for place, stem in enumerate(stems)}
    for stem in stems:
        put(location.path("test") / f"{stem}.JPEG")
    files = (labels or location.layout.labels[0]).split()
    put(location.base / files[0], "\n".join(_label_rows(files[0], key_of, every)) + "\n")
    for file in files[1:]:  # of several, the first has all
        put(location.base / file, "")


NAMES_OF_VAL = real.file_names("imagenet-openood-val.txt")


def _label_rows(file: str, key_of: dict[str, str], every: list[str]) -> list[str]:
    """Return the lines of a file of labels, in the form that belongs to its name."""
    if file.endswith(".csv"):
        return ["ImageId,PredictionString", *(f"{stem},{key} 1 2 3 4" for stem, key in key_of.items())]
    if "ground_truth" in file or "synset" in file:  # a line for every image from the first on
        numbers = {key: str(number) for number, key in real.devkit_numbers().items()}
        rows = [key_of.get(f"ILSVRC2012_val_{row:08}", every[0]) for row in range(1, 1 + max(map(_number, key_of)))]
        return [numbers[key] for key in rows] if "ground_truth" in file else rows
    return [f"val/{stem}.JPEG {every.index(key)}" for stem, key in key_of.items()]


def _number(stem: str) -> int:
    return int(stem.rpartition("_")[2])


def tree(location: Location) -> None:
    for number in range(COUNT):
        put(location.path("test") / f"{number % 2}/{number}.jpg")


def coop(location: Location) -> None:
    rows = {
        split: [
            [f"{label}/{split}{number}.jpg", label, key]
            for label, key in enumerate(real.class_keys(location.name))
            for number in range(PER_CLASS)
        ]
        for split in ("train", "val", "test")
    }
    for path, _, _ in (row for of_split in rows.values() for row in of_split):
        put(location.base / location.layout.images[0] / path)
    put(location.base / location.layout.file, json.dumps(rows))


def lines(location: Location) -> None:
    for split in parts(location):
        rows = []
        for label, key in enumerate(real.class_keys(location.name)):
            for number in range(PER_CLASS):
                put(location.base / location.layout.images[0].replace("{}", f"{split}{label}{number}"))
                rows.append(f"{split}{label}{number} {key}")
        put(location.path(split), "\n".join(rows) + "\n")


def cub(location: Location) -> None:
    rows = [
        (f"{key}/{split}{number}.jpg", label + 1, split)
        for split in (1, 0)
        for label, key in enumerate(real.class_keys(location.name))
        for number in range(PER_CLASS)
    ]
    for path, _, _ in rows:
        put(location.base / "images" / path)
    for column, file in enumerate(("images.txt", "image_class_labels.txt", "train_test_split.txt")):
        put(location.base / file, "\n".join(f"{row} {values[column]}" for row, values in enumerate(rows, 1)) + "\n")


def cifar(location: Location) -> None:
    ahead = 2 if location.name == "cifar100" else 1
    for files in location.layout.splits.values():
        for number, file in enumerate(str(files).split()):
            records = np.zeros((0 if number else COUNT, ahead + 3072), np.uint8)
            records[:, ahead - 1] = np.arange(len(records)) // PER_CLASS
            records[:, ahead : ahead + 1024] = 250  # red
            put(location.base / file, records.tobytes())


def idx(location: Location) -> None:
    pixels = struct.pack(">4B3I", 0, 0, 8, 3, COUNT, 28, 28) + bytes(COUNT * 784)
    put(location.base / "t10k-images-idx3-ubyte.gz", gzip.compress(pixels))
    labels = struct.pack(">4BI", 0, 0, 8, 1, COUNT) + bytes(range(COUNT))
    put(location.base / "t10k-labels-idx1-ubyte.gz", gzip.compress(labels))


def svhn(location: Location) -> None:
    pixels = np.zeros((32, 32, 3, COUNT), np.uint8)
    scipy.io.savemat(location.base / "test_32x32.mat", {"X": pixels, "y": np.ones((COUNT, 1), np.uint8)})


def torchvision(location: Location) -> None:
    """What torchvision's own class reads."""
    keys, base = list(real.class_keys(location.name)), location.base
    backwards = list(reversed(keys))  # torchvision sorts its classes, and CoOp need not
    per_split = {
        split: [(key, f"{split}{number}") for key in backwards for number in range(PER_CLASS)]
        for split in ("train", "val", "test")
    }
    if location.layout.dataset == "Food101":
        for split, rows in per_split.items():
            listed = {key: [f"{key}/{image}" for of, image in rows if of == key] for key in backwards}
            put(base / f"food-101/meta/{split}.json", json.dumps(listed))
            for key, image in rows:
                put(base / f"food-101/images/{key}/{image}.jpg")
    elif location.layout.dataset == "DTD":
        for split, rows in per_split.items():
            put(
                base / f"dtd/dtd/labels/{split}1.txt",
                "\n".join(f"{key}/{key}_{image}.jpg" for key, image in rows) + "\n",
            )
            for key, image in rows:
                put(base / f"dtd/dtd/images/{key}/{key}_{image}.jpg")
    elif location.layout.dataset == "OxfordIIITPet":
        names = list(real.class_keys(location.name).values())
        for split, file in (("train", "trainval"), ("test", "test")):
            rows = []
            for label, name in enumerate(names):
                for number in range(PER_CLASS):
                    image = f"{name.replace(' ', '_')}_{number + 10 * (split == 'test')}"
                    rows.append(f"{image} {label + 1} 1 1")
                    put(base / f"oxford-iiit-pet/images/{image}.jpg")
            put(base / f"oxford-iiit-pet/annotations/{file}.txt", "\n".join(rows) + "\n")
    elif location.layout.dataset == "Flowers102":
        count, ids = 0, {}
        labels = []
        for key in ("trnid", "valid", "tstid"):
            ids[key] = list(range(count + 1, count + COUNT + 1))
            count += COUNT
            labels += [label + 1 for label in range(FEW) for _ in range(PER_CLASS)]
        for number in range(1, count + 1):
            put(base / f"flowers-102/jpg/image_{number:05}.jpg")
        scipy.io.savemat(base / "flowers-102/setid.mat", ids)
        scipy.io.savemat(base / "flowers-102/imagelabels.mat", {"labels": labels})
    else:
        raise NotImplementedError(location.layout.dataset)


MAKERS = {
    "folders": folders, "flat": flat, "tree": tree, "coop": coop, "lines": lines, "cub": cub, "cifar": cifar,
    "svhn": svhn, "idx": idx, "torchvision": torchvision,
}  # fmt: skip
