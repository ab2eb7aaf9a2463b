"""Whole encoding, images and texts, beside clip-benchmark's own functions and the way of MCM's code.

The same real images (Caltech-101 through OODGRID_SHARED, else synthetic ones), the same ViT-B/32 of random weights,
fp32, the same cores. clip-benchmark is run as installed (pip install --no-deps clip-benchmark webdataset braceexpand);
MCM's way, text encoded again with every batch and one pass over the images for every score, is acted out here. And the
share of oodgrid's time in which the model computes. Prints a table; writes benchmarks/encode.json.

    python benchmarks/encode.py [IMAGES]
"""

from __future__ import annotations

import io
import json
import os
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

import numpy as np
import torch
from machine import describe
from PIL import Image

from oodgrid import backbones
from oodgrid.config import Backbone, Dataset
from oodgrid.encode.images import encode_images
from oodgrid.encode.pipeline import BATCH
from oodgrid.encode.sources import open_split
from oodgrid.encode.texts import encode_texts

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("OODGRID_SHARED", ROOT.parent / "shared")) / "data" / "images" / "caltech101_test.zip"
BACKBONE = Backbone(name="b32", model="ViT-B-32", pretrained="random")
SCORES = ("MCM", "MSP")
REPEATS = 3  # interleaved; the median counts


def main() -> None:
    """Measure, print and write down."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 384
    with tempfile.TemporaryDirectory() as folder:
        dataset = _images(Path(folder), count)
        loaded = backbones.load(BACKBONE)
        ways: dict[str, Callable[[], None]] = {
            "oodgrid encode: images and texts, any number of scores": lambda: _oodgrid(Path(folder), dataset),
            "the model alone on prepared batches, and the texts": lambda: _model_alone(loaded, dataset),
            "clip-benchmark: zero_shot_classifier, run_classification": lambda: _clip_benchmark(loaded, dataset),
            f"MCM's way: text with every batch, {len(SCORES)} scores": lambda: _mcm(loaded, dataset),
        }
        rounds = [{name: _timed(way) for name, way in ways.items()} for _ in range(REPEATS)]
        seconds = {name: rounds[0][name] and statistics.median(r[name] for r in rounds) for name in ways}
    base = seconds["oodgrid encode: images and texts, any number of scores"]
    for name, value in seconds.items():
        said = "not installed" if value is None else f"{value:7.1f} s {value / base:6.2f}"
        print(f"{name:60} {said}")
    share = seconds["the model alone on prepared batches, and the texts"] / base
    print(f"share of the time in which the model computes: {share:.3f}")
    result = {"machine": describe(), "images": count, "seconds": seconds, "model_share": share}
    (ROOT / "benchmarks" / "encode.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _images(folder: Path, count: int) -> Dataset:
    """Leave images in class folders."""
    if SHARED.exists():
        archive = zipfile.ZipFile(SHARED)
        names = [name for name in sorted(archive.namelist()) if name.lower().endswith((".jpg", ".png"))][:count]
        files = {f"{Path(name).parent.name}/{Path(name).name}": archive.read(name) for name in names}
    else:
        files = {f"class {k % 50}/{k}.jpg": _noise(k) for k in range(count)}
    for name, data in files.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Dataset(name="images", folder=str(folder / "images"))


def _noise(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def _timed(way: Callable[[], None]) -> float | None:
    try:
        return way() or 0.0
    except ImportError:
        return None


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _oodgrid(folder: Path, dataset: Dataset) -> float:
    """Time what `oodgrid encode images` and `texts` do once the model is loaded; loading it twice is taken off."""
    load = _seconds(lambda: backbones.load(BACKBONE))
    with tempfile.TemporaryDirectory(dir=folder) as results:  # a new one, or the second time nothing would be to do

        def work() -> None:
            encode_images(Path(results), BACKBONE, dataset)
            encode_texts(Path(results), BACKBONE, dataset)

        return _seconds(work) - 2 * load


def _model_alone(loaded: backbones.LoadedBackbone, dataset: Dataset) -> float:
    images = open_split(dataset, "test")
    pixels = torch.randn(BATCH["cpu"], *loaded.input_shape)
    tokens = _tokens(loaded, images.classnames)

    def work() -> None:
        with torch.inference_mode():
            for _ in range(0, len(images), len(pixels)):
                loaded.encode_image(pixels)
            loaded.encode_text(tokens)

    return _seconds(work)


def _tokens(loaded: backbones.LoadedBackbone, names: list[str]) -> torch.Tensor:
    return loaded.tokenize([f"a photo of a {name}." for name in names])


def _loader(loaded: backbones.LoadedBackbone, dataset: Dataset) -> torch.utils.data.DataLoader:
    from torchvision.datasets import ImageFolder

    # one worker: with the model on the same two cores, more were slower
    return torch.utils.data.DataLoader(ImageFolder(dataset.folder, loaded.preprocess), BATCH["cpu"], num_workers=1)


def _clip_benchmark(loaded: backbones.LoadedBackbone, dataset: Dataset) -> float:
    from clip_benchmark.metrics.zeroshot_classification import run_classification, zero_shot_classifier

    names = open_split(dataset, "test").classnames
    templates = ["a photo of a {c}."]

    def work() -> None:
        weights = zero_shot_classifier(loaded.model, loaded.tokenizer, names, templates, "cpu", amp=False)
        run_classification(loaded.model, weights, _loader(loaded, dataset), "cpu", amp=False)

    return _seconds(work)


def _mcm(loaded: backbones.LoadedBackbone, dataset: Dataset) -> float:
    names = open_split(dataset, "test").classnames

    def work() -> None:
        for score in SCORES:
            with torch.inference_mode():
                for pixels, _ in _loader(loaded, dataset):
                    image = torch.nn.functional.normalize(loaded.encode_image(pixels), dim=-1)
                    text = torch.nn.functional.normalize(loaded.encode_text(_tokens(loaded, names)), dim=-1)
                    (image @ text.T * (1 if score == "MCM" else 100)).softmax(dim=1).amax(dim=1)

    return _seconds(work)


if __name__ == "__main__":
    main()
