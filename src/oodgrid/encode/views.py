"""Augmented views of training images, any of which can be made again alone.

A view is one random resized crop, flipped with probability one half. Two families are in use: area 0.08-1 of the image
(CoOp, CoCoOp, LoCoOp, CLIP-Adapter through Dassl) and 0.5-1 (Tip-Adapter, APE).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodgrid import backbones, store
from oodgrid.backbones import LoadedBackbone
from oodgrid.config import Backbone, Experiment, IdDataset, Views
from oodgrid.encode.chunks import Chunks
from oodgrid.encode.decode import decode
from oodgrid.encode.images import identify
from oodgrid.encode.local_features import check_local_features
from oodgrid.encode.pipeline import encode_rows
from oodgrid.encode.sources import ImageSet, open_split
from oodgrid.encode.work import LOCAL_ROWS, WHOLE, Shard
from oodgrid.errors import OodgridError
from oodgrid.fewshot import FewShot, NoDraw
from oodgrid.identity import digest
from oodgrid.kept import Kept, link
from oodgrid.plan import views_file

if TYPE_CHECKING:
    import torch
    from PIL import Image

SCALES = {"rrc08": (0.08, 1.0), "rrc50": (0.5, 1.0)}
LOG_RATIOS = (math.log(3 / 4), math.log(4 / 3))
TRIES = 10


class Crop(NamedTuple):
    """A crop of an image, in pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


def draw_crop(family: str, seed: int, path: str, view: int, width: int, height: int) -> Crop:
    """Draw one view of an image of `width` x `height` pixels; it depends on the arguments and nothing else.

    The distribution is that of torchvision's RandomResizedCrop (`get_params`): area uniform in the family's range and
    ratio log-uniform in 3/4-4/3, ten tries, then the largest central crop whose ratio is in the range.
    """
    key = hashlib.sha256(f"{seed}/{family}/{path}/{view}".encode("utf-8", "surrogateescape")).digest()
    draw = np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], np.uint64)))
    low, high = SCALES[family]
    for _ in range(TRIES):
        area, ratio = width * height * draw.uniform(low, high), math.exp(draw.uniform(*LOG_RATIOS))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = draw.integers(height - h + 1), draw.integers(width - w + 1)
            return Crop(int(top), int(left), h, w, bool(draw.random() < 0.5))
    h, w = height, width
    if width / height < 3 / 4:
        h = round(width / (3 / 4))
    elif width / height > 4 / 3:
        w = round(height * (4 / 3))
    return Crop((height - h) // 2, (width - w) // 2, h, w, bool(draw.random() < 0.5))


def make_view(image: Image.Image, crop: Crop, preprocessing: dict[str, Any]) -> torch.Tensor:
    """Return a view, shape (3, S, S): cropped, resized to the backbone's size, mirrored, normalised."""
    from torchvision import transforms
    from torchvision.transforms import functional

    size = preprocessing["size"]
    mode = transforms.InterpolationMode(preprocessing["interpolation"])
    square = [size, size] if isinstance(size, int) else list(size)
    cut = functional.resized_crop(image, crop.top, crop.left, crop.height, crop.width, square, mode)
    tensor = functional.to_tensor(functional.hflip(cut) if crop.flip else cut)
    return functional.normalize(tensor, preprocessing["mean"], preprocessing["std"])


def encode_views(
    results: Path, experiment: Experiment, backbone: Backbone, dataset: IdDataset, views: Views, shard: Shard = WHOLE
) -> Path | None:
    """Encode the views of every training image that a few-shot draw of the experiment uses, and return the file.

    Images whose views an earlier run encoded are taken from there. Of a shard, leave its finished chunks and return
    nothing.

    Raises:
        OodgridError: The training split is not encoded yet, or an image is broken or not the one encoded there.
    """
    few_shot = FewShot(results, backbone.name, dataset)
    train = few_shot.train
    if train is None:
        raise OodgridError(f"dataset {dataset.name} has no training split, so no views: mend its views")
    drawn = _drawn_rows(few_shot, experiment)
    loaded = backbones.load(backbone)
    if views.local_features:
        check_local_features(backbone.name, loaded.model)
    images = open_split(dataset, "train")
    about = {**identify(loaded, dataset, "train", images), "views": views.model_dump()}
    drawn, of_split = few_shot.split_rows(drawn), few_shot.split_rows(np.arange(len(train.labels)))
    sha256 = _digests_elsewhere(few_shot, images) | dict(zip(of_split.tolist(), train.sha256, strict=True))
    parts = Parts(results, about, sha256)
    missing = np.setdiff1d(drawn, parts.index)
    if len(missing):
        position = {path: row for row, path in enumerate(images.paths)}
        names = [train.paths[place] for place in np.searchsorted(of_split, missing).tolist()]
        if gone := next((name for name in names if name not in position), None):
            raise _changed(dataset, gone)
        rows = np.array([position[name] for name in names])
        chunks = _chunks(results, loaded, images.subset(rows), about, views)
        encode_rows(
            chunks, shard, f"encode {views.family} views of {dataset.name}{'' if shard == WHOLE else f' {shard}'}"
        )
        if shard == WHOLE:
            expected = np.stack([sha256[row] for row in missing.tolist()])
            other = (chunks.sha256[:: views.count] != expected).any(axis=1)
            if other.any():
                chunks.remove()
                raise _changed(dataset, names[int(other.argmax())])
            parts.add(missing, chunks)
    if shard != WHOLE:
        return None
    path = views_file(results, experiment, backbone.name, dataset.name, views)
    parts.write(path, drawn)
    return path


class Parts:
    """Views that earlier runs left, in files of some images each, named by the rows and the content of these."""

    def __init__(self, results: Path, about: dict[str, Any], sha256: dict[int, np.ndarray]) -> None:
        self.about, self.folder, self.sha256 = about, Kept(results, "views").place(about), sha256
        parts = ((path, self._part(path)) for path in sorted(self.folder.glob("*.h5")))
        self.parts = {path: part for path, part in parts if part}

    @property
    def index(self) -> np.ndarray:
        """The rows of the split that have views."""
        return np.concatenate([np.empty(0, np.int64), *(part.index for part in self.parts.values())])

    def add(self, index: np.ndarray, chunks: Chunks) -> None:
        """Keep the views of more images, given as the consecutive rows of chunks."""
        local, path = chunks.local_features(), self.folder / self._name(index)
        by_image = None if local is None else self._by_image(index, local)
        store.write_views(path, store.NewViews(index, self._by_image(index, chunks.features()), self.about, by_image))
        chunks.remove()
        self.parts[path] = store.read_views(path)

    def write(self, path: Path, drawn: np.ndarray) -> None:
        """Write a file of the views of some rows, which rise; where one part is just that, it gets a second name."""
        if whole := next((kept for kept, part in self.parts.items() if np.array_equal(part.index, drawn)), None):
            link(whole, path)
            return
        values = self._gathered(drawn, [part.image_features for part in self.parts.values()])
        local = None
        if self.about["views"]["local_features"]:
            local = self._gathered(drawn, [part.local_features for part in self.parts.values() if part.local_features])
        store.write_views(path, store.NewViews(drawn, values, self.about, local))

    def _by_image(self, index: np.ndarray, rows: store.Blocks) -> store.Blocks:
        """Return the rows of chunks, shape (n V, …), as those of images, shape (n, V, …)."""
        count = self.about["views"]["count"]
        whole = (
            block.reshape(-1, count, *rows.shape[1:]) for block in store.recut(rows.blocks, _images(count) * count)
        )
        return store.Blocks((len(index), count, *rows.shape[1:]), rows.dtype, whole)

    def _gathered(self, drawn: np.ndarray, arrays: Sequence[store.StoredRows]) -> store.Blocks:
        """Return some rows of the split, of the arrays of all parts, some images at a time."""
        part = np.repeat(np.arange(len(arrays)), [len(array) for array in arrays])
        place = np.concatenate([np.arange(len(array)) for array in arrays])
        order = np.argsort(self.index, kind="stable")
        rows = order[np.searchsorted(self.index[order], drawn)]
        size = _images(self.about["views"]["count"])

        def blocks() -> Iterator[np.ndarray]:
            for chosen in (rows[first : first + size] for first in range(0, len(rows), size)):
                block = np.empty((len(chosen), *arrays[0].shape[1:]), arrays[0].dtype)
                for number in np.unique(part[chosen]):
                    of_part = part[chosen] == number
                    block[of_part] = arrays[number][place[chosen[of_part]]]
                yield block

        return store.Blocks((len(drawn), *arrays[0].shape[1:]), arrays[0].dtype, blocks())

    def _part(self, path: Path) -> store.Views | None:
        """Return the views of a file, unless it is damaged, which makes them again, or its name is another now.

        So it is of images that have changed since, or stood in other rows while others were skipped.
        """
        try:
            part = store.read_views(path)
        except OodgridError:
            return None
        return part if path.name == self._name(part.index) else None

    def _name(self, index: np.ndarray) -> str:
        content = b"".join(self.sha256[row].tobytes() for row in index.tolist() if row in self.sha256).hex()
        return f"{digest([index.tolist(), content])[:32]}.h5"


def _images(views: int) -> int:
    """Return how many images have about as many views together as a chunk with local features has rows."""
    return max(1, LOCAL_ROWS // views)


def _changed(dataset: IdDataset, name: str) -> OodgridError:
    return OodgridError(
        f"dataset {dataset.name}: {name} is not what it was when the training split was encoded: restore it, or delete "
        "the features of the training split to encode them again"
    )


def _digests_elsewhere(few_shot: FewShot, images: ImageSet) -> dict[int, np.ndarray]:
    """Return the SHA-256 of images by row, as all feature files of a split of which draws alone are encoded have them.

    By these, views of more draws than are asked for now are known again. What is asked for is in the split's own file.
    """
    if few_shot.dataset.draws is None:
        return {}
    folder, position = few_shot.file("train").parent, {path: row for row, path in enumerate(images.paths)}
    digests: dict[int, np.ndarray] = {}
    for file in (
        *sorted(folder.glob("train.drawn-*.h5")),
        *folder.glob("train.h5"),
    ):  # nobody waits for what is not there
        with suppress(OodgridError):  # of a damaged one, views are made again
            sources = store.read_sources(file)
            digests |= {position[p]: s for p, s in zip(sources.paths, sources.sha256, strict=True) if p in position}
    return digests


def _drawn_rows(few_shot: FewShot, experiment: Experiment) -> np.ndarray:
    """Return the rows of the file of training features that some draw of the experiment uses, rising."""
    drawn: list[np.ndarray] = []
    for shots in experiment.shots:
        for seed in experiment.seeds:
            try:
                drawn.append(few_shot.draw(shots, seed).bank.rows)
            except NoDraw:  # the fit of these shots and seed reports it
                continue
    return np.unique(np.concatenate([np.empty(0, np.int64), *drawn]))


def _chunks(results: Path, loaded: LoadedBackbone, images: ImageSet, about: dict[str, Any], views: Views) -> Chunks:
    """Return the chunks of all views, image after image."""
    each = views.count
    rows = np.repeat(np.arange(len(images)), each)
    preprocessing = loaded.identity["preprocessing"]

    upright = bool(about["dataset"]["exif_rotation"])

    def prepare(row: int, source: bytes | np.ndarray) -> torch.Tensor:
        path, view = images.paths[row // each], row % each
        image = decode(source, images.place(row // each), upright)
        return make_view(image, draw_crop(views.family, views.seed, path, view, *image.size), preprocessing)

    provenance = {**about, "images": digest(images.paths)}
    return Chunks(results, provenance, loaded, images.subset(rows), prepare=prepare, local=views.local_features)
