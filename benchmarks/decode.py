"""Decoding and preprocessing: decoding alone, what peers do, and oodgrid's fast path; speed and fidelity.

Images a second on one core, medians of interleaved repeats (the machine may be shared), for JPEGs of ImageNet's size
and photographs of 12 megapixels, made on the spot from real images. Fidelity of the fast path against the reference:
pixels, cosines of features, and what becomes of accuracy, AUROC and both FPR95. Prints tables; writes
benchmarks/decode.json.

    python benchmarks/decode.py        (real images are found through OODGRID_SHARED; without them, synthetic ones)
"""

from __future__ import annotations

import io
import json
import os
import statistics
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import open_clip
import torch
from machine import describe
from PIL import Image

from oodgrid import backbones, catalogue
from oodgrid.config import Backbone
from oodgrid.encode.preprocessing import preparer
from oodgrid.evaluate.metrics import auroc, count_scores, fpr95_id_pos, fpr95_ood_pos

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("OODGRID_SHARED", ROOT.parent / "shared")) / "data" / "images"
CLIP = {
    "size": 224,
    "resize_mode": "shortest",
    "interpolation": "bicubic",
    "mean": open_clip.OPENAI_DATASET_MEAN,
    "std": open_clip.OPENAI_DATASET_STD,
}
REPEATS = 7


def main() -> None:
    """Measure, print and write down."""
    torch.set_num_threads(1)
    result = {
        "machine": describe(),
        "speed": {
            "ImageNet size (466x390)": _speed(_jpegs((466, 390), 108_000, 48)),
            "12 megapixels (4032x3024)": _speed(_jpegs((4032, 3024), 3_500_000, 4)),
        },
        "fidelity": _fidelity(),
    }
    _print(result)
    (ROOT / "benchmarks" / "decode.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _pictures(count: int) -> list[Image.Image]:
    """Return real pictures where they are at hand, else noise with the spectrum of photographs."""
    file = SHARED / "imagenet_sample_224.zip"
    if file.exists():
        archive = zipfile.ZipFile(file)
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        return [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names[:count]]
    made = []
    for seed in range(count):
        noise = np.fft.rfft2(np.random.default_rng(seed).normal(size=(3, 256, 320)))
        rows, columns = np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(320)
        values = np.fft.irfft2(noise / (0.01 + np.hypot(rows, columns)))
        values = 128 + 50 * values / values.std()
        made.append(Image.fromarray(values.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)))
    return made


def _jpegs(size: tuple[int, int], wanted: int, count: int) -> list[bytes]:
    """Return JPEG files of one size in pixels and about one size in bytes, enlarged with the grain of a sensor."""
    files = []
    for seed, picture in enumerate(_pictures(count)):
        pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS), np.float32)
        grain = np.random.default_rng(seed).normal(0, 6, pixels.shape)
        image = Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))
        made = []
        for quality in range(50, 99, 4):
            file = io.BytesIO()
            image.save(file, "JPEG", quality=quality)
            made.append(file.getvalue())
        files.append(min(made, key=lambda data: abs(len(data) - wanted)))
    return files


def _speed(files: list[bytes]) -> dict[str, float]:
    from torchvision.io import ImageReadMode, decode_jpeg

    transform = open_clip.image_transform(CLIP["size"], is_train=False, mean=CLIP["mean"], std=CLIP["std"])
    fast = preparer(transform, CLIP, "fast")
    ways: dict[str, Callable[[bytes], object]] = {
        "decoding alone, Pillow": lambda data: Image.open(io.BytesIO(data)).convert("RGB"),
        "decoding alone, torchvision": lambda data: decode_jpeg(
            torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB
        ),
        "open_clip's transform on Pillow (peers, reference)": lambda data: transform(
            Image.open(io.BytesIO(data)).convert("RGB")
        ),
        "oodgrid fast": lambda data: fast(data, ""),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            for data in files:
                way(data)
            seconds[name].append(time.perf_counter() - start)
    rates = {name: len(files) / statistics.median(times) for name, times in seconds.items()}
    return {"kilobytes": statistics.mean(map(len, files)) / 1000, **rates}


def _fidelity() -> dict[str, dict[str, float]]:
    """Return how far fast is from the reference, under the tiny CLIP and a ViT-B/32 of random weights."""
    tiny = Backbone(name="tiny", **catalogue.entry("backbone", "tiny"))
    large = Backbone(name="b32", model="ViT-B-32", pretrained="random")
    found = {}
    for name, backbone, count in (("tiny CLIP", tiny, 200), ("ViT-B/32, random weights", large, 48)):
        loaded = backbones.load(backbone)
        found[f"{name}, 466x390"] = _cosines(loaded, _jpegs((466, 390), 108_000, count))
        found[f"{name}, 12 megapixels"] = _cosines(loaded, _jpegs((4032, 3024), 3_500_000, 4))
    if SHARED.exists():
        found["tiny CLIP, Caltech-101 (8 a class, odd ones as prototypes) against textures"] = _metrics(
            backbones.load(tiny)
        )
    return found


def _features(loaded: backbones.LoadedBackbone, files: list[bytes], kind: str) -> tuple[np.ndarray, torch.Tensor]:
    prepare = preparer(loaded.preprocess, loaded.identity["preprocessing"], kind)
    pixels = torch.stack([prepare(data, "") for data in files])
    with torch.inference_mode():
        features = torch.cat([loaded.encode_image(part) for part in pixels.split(64)])
    return features.double().numpy(), pixels


def _cosines(loaded: backbones.LoadedBackbone, files: list[bytes]) -> dict[str, float]:
    (one, exact), (other, pixels) = (_features(loaded, files, kind) for kind in ("reference", "fast"))
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    levels = (exact - pixels).abs() * 255 * torch.tensor(loaded.identity["preprocessing"]["std"])[:, None, None]
    return {
        "images": len(files),
        "cosine_min": float(cosine.min()),
        "levels_max": float(levels.max()),
        "levels_mean": float(levels.mean()),
    }


def _metrics(loaded: backbones.LoadedBackbone) -> dict[str, float]:
    """Return accuracy, AUROC and both FPR95 on both paths, in percent, of class means under the largest cosine."""
    id_files, labels = _zipped(SHARED / "caltech101_test.zip")
    ood_files, _ = _zipped(SHARED / "dtd_10classes_224.zip")
    result: dict[str, float] = {"id": len(id_files), "ood": len(ood_files)}
    for kind in ("reference", "fast"):
        made = [_features(loaded, files, kind)[0] for files in (id_files, ood_files)]
        unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in made]
        first = np.arange(len(labels)) % 2 == 1
        means = np.stack([unit[0][first & (labels == label)].mean(axis=0) for label in np.unique(labels)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        logits = [unit[0][~first] @ means.T, unit[1] @ means.T]
        counts = count_scores(*(values.max(axis=1) for values in logits))
        result |= {
            f"accuracy_{kind}": 100 * float(np.mean(np.unique(labels)[logits[0].argmax(1)] == labels[~first])),
            f"auroc_{kind}": 100 * auroc(counts),
            f"fpr95_id_pos_{kind}": 100 * fpr95_id_pos(counts),
            f"fpr95_ood_pos_{kind}": 100 * fpr95_ood_pos(counts),
        }
    return result


def _zipped(path: Path) -> tuple[list[bytes], np.ndarray]:
    archive = zipfile.ZipFile(path)
    names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png")))
    classes = [Path(name).parent.name for name in names]
    return [archive.read(name) for name in names], np.unique(classes, return_inverse=True)[1]


def _print(result: dict) -> None:
    for name, rates in result["speed"].items():
        limit = max(rates["decoding alone, Pillow"], rates["decoding alone, torchvision"])
        reference = rates["open_clip's transform on Pillow (peers, reference)"]
        print(f"\n{name}, {rates['kilobytes']:.0f} kB: images/s on one core, share of the faster decoder, x reference")
        for way, rate in list(rates.items())[1:]:
            print(f"  {way:52} {rate:8.1f} {rate / limit:6.2f} {rate / reference:6.2f}")
    for name, values in result["fidelity"].items():
        print(f"\n{name}: fast against reference")
        print("  " + "  ".join(f"{key} {value:.6g}" for key, value in values.items()))


if __name__ == "__main__":
    main()
