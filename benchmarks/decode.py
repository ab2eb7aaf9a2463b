"""Decoding and preprocessing: decoding alone, what peers do, and oodgrid's paths; speed, step by step, and fidelity.

CPU time on one core: of each file and way the least of interleaved repeats (the machine may be shared), for JPEGs of
ImageNet's size and photographs of 12 megapixels, made on the spot from real images. Whether decoders give the same
bits, over all real images at hand and all kinds of JPEG. Fidelity of the fast path against the reference: pixels,
cosines of features, and what becomes of accuracy, AUROC and both FPR95. simplejpeg, which oodgrid does not use, is
measured where it is installed. Prints tables; writes benchmarks/decode.json.

    python benchmarks/decode.py [--small]      (real images are found through OODGRID_SHARED; without, synthetic ones)

--small is a trial of a few seconds, which writes nothing.
"""

from __future__ import annotations

import argparse
import io
import itertools
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
from oodgrid.encode.jpeg import read_header
from oodgrid.encode.preprocessing import finisher, preparer
from oodgrid.encode.ring import Ring
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
ZIPS = ("imagenet_sample_224.zip", "caltech101_test.zip", "dtd_10classes_224.zip")
MODES = ("RGB", "L", "CMYK")
Ways = dict[str, Callable[[int], object]]  # each of the number of a file


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    torch.set_num_threads(1)
    photos, large = _jpegs((466, 390), 108_000, 4 if small else 48), _jpegs((4032, 3024), 3_500_000, 1 if small else 4)
    repeats = 2 if small else 9
    result = {
        "machine": describe(),
        "bits": _bits(20 if small else None),
        "speed": {
            "ImageNet size (466x390)": _speed(photos, repeats),
            "12 megapixels (4032x3024)": _speed(large, repeats),
        },
        "steps, milliseconds at 466x390": _steps(photos, repeats),
        "fidelity": {} if small else _fidelity(),
    }
    _print(result)
    if not small:
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


def _tensor(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _by_torchvision(data: bytes) -> torch.Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg

    return decode_jpeg(_tensor(data), ImageReadMode.RGB)


def _by_pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _by_simplejpeg() -> Callable[[bytes], np.ndarray] | None:
    """Return the decoder of a package that is no dependency, where it is installed."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return lambda data: simplejpeg.decode_jpeg(data, "RGB")


def _decoders() -> dict[str, Callable[[bytes], object]]:
    decoders: dict[str, Callable[[bytes], object]] = {
        "decoding alone, Pillow": _by_pillow,
        "decoding alone, torchvision": _by_torchvision,
    }
    if other := _by_simplejpeg():
        decoders["decoding alone, simplejpeg (not used)"] = other
    return decoders


def _seconds(ways: Ways, count: int, repeats: int) -> dict[str, float]:
    """Return seconds of CPU time an image: of each file the least of some repeats, which other processes disturb."""
    least = {way: [float("inf")] * count for way in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            for number in range(count):
                start = time.process_time_ns()
                way(number)
                least[name][number] = min(least[name][number], (time.process_time_ns() - start) / 1e9)
    return {name: statistics.mean(times) for name, times in least.items()}


def _speed(files: list[bytes], repeats: int) -> dict[str, float]:
    transform = open_clip.image_transform(CLIP["size"], is_train=False, mean=CLIP["mean"], std=CLIP["std"])
    rings = [Ring(2, (3, 224, 224), as_bytes=as_bytes, pinned=False).take() for as_bytes in (False, True)]
    ways: Ways = {name: lambda number, decode=decode: decode(files[number]) for name, decode in _decoders().items()} | {
        "open_clip's transform on Pillow (peers, reference)": lambda number: transform(_by_pillow(files[number]))
    }
    for kind, ring in itertools.product(("reference", "fast"), rings):
        as_bytes = ring.dtype == torch.uint8
        prepare = preparer(transform, CLIP, kind, as_bytes=as_bytes)

        def way(number: int, prepare: Callable = prepare, ring: torch.Tensor = ring) -> None:
            ring[number % 2].copy_(prepare(files[number], ""))

        ways[f"oodgrid {kind}{' as uint8, scaled on the device' if as_bytes else ''}"] = way
    rates = {name: 1 / seconds for name, seconds in _seconds(ways, len(files), repeats).items()}
    return {"kilobytes": statistics.mean(map(len, files)) / 1000, **rates}


def _steps(files: list[bytes], repeats: int) -> dict[str, float]:
    """Return milliseconds of each step of the reference and of fast."""
    from torchvision.transforms.v2 import functional

    resize, cut, *_, to_numbers, normalise = open_clip.image_transform(
        CLIP["size"], is_train=False, mean=CLIP["mean"], std=CLIP["std"]
    ).transforms
    pictures = [_by_pillow(data) for data in files]
    resized = [resize(picture) for picture in pictures]
    centres = [cut(picture) for picture in resized]
    numbers = [to_numbers(picture) for picture in centres]
    decoded = [_by_torchvision(data) for data in files]
    mode, finish = functional.InterpolationMode.BICUBIC, finisher(CLIP, as_bytes=True)
    ways: Ways = {
        "reference: open the file": lambda number: Image.open(io.BytesIO(files[number])),
        "reference: open and decode": lambda number: _by_pillow(files[number]),
        "reference: resize": lambda number: resize(pictures[number]),
        "reference: cut": lambda number: cut(resized[number]),
        "open_clip: to numbers and normalise": lambda number: normalise(to_numbers(centres[number])),
        "open_clip: normalise alone": lambda number: normalise(numbers[number]),
        "fast: read the header": lambda number: read_header(files[number]),
        "fast: copy the file": lambda number: _tensor(files[number]),
        "fast: copy and decode": lambda number: _by_torchvision(files[number]),
        "fast: resize": lambda number: functional.resize(decoded[number], [224], mode, antialias=True),
        "fast: resize and cut": lambda number: finish(decoded[number]),
    }
    return {name: 1000 * seconds for name, seconds in _seconds(ways, len(files), repeats).items()}


def _bits(limit: int | None) -> dict[str, dict[str, int]]:
    """Return of how many images each decoder gives Pillow's pixels, and by how many levels the others differ."""
    sets = {name: _zipped(SHARED / name)[0][:limit] for name in ZIPS if (SHARED / name).exists()}
    sets |= {f"made: {mode}, all subsamplings, qualities, progressive or not": _kinds(mode) for mode in MODES}
    sets["made: sides of 1 to 40 pixels"] = _small_ones()
    others = {name: decode for name, decode in _decoders().items() if decode is not _by_pillow}
    result: dict[str, dict[str, int]] = {}
    for title, files in sets.items():
        exact = [np.asarray(_by_pillow(data), np.int16) for data in files]
        result[title] = {"images": len(files)}
        for name, decode in others.items():
            differences = [_difference(decode, data, pixels) for data, pixels in zip(files, exact, strict=True)]
            result[title] |= {
                f"{name.rpartition(', ')[2]}: same": differences.count(0),
                f"{name.rpartition(', ')[2]}: refused": differences.count(-1),
                f"{name.rpartition(', ')[2]}: levels at most": max(differences),
            }
    return result


def _difference(decode: Callable[[bytes], object], data: bytes, exact: np.ndarray) -> int:
    """Return by how many levels a decoder is off at most; -1 where it refuses the file."""
    try:
        pixels = decode(data)
    except (RuntimeError, ValueError):
        return -1
    pixels = pixels.permute(1, 2, 0).numpy() if isinstance(pixels, torch.Tensor) else pixels
    return int(np.abs(np.asarray(pixels, np.int16) - exact).max())


def _kinds(mode: str) -> list[bytes]:
    files = []
    for picture, quality, subsampling, progressive in itertools.product(
        _pictures(3), (30, 75, 95), (0, 1, 2), (False, True)
    ):
        more = {} if mode == "L" else {"subsampling": subsampling}
        file = io.BytesIO()
        picture.convert(mode).save(file, "JPEG", quality=quality, progressive=progressive, **more)
        files.append(file.getvalue())
    return files


def _small_ones() -> list[bytes]:
    (picture,), files = _pictures(1), []
    for size in itertools.product((1, 2, 7, 8, 9, 15, 16, 17, 31, 33), (1, 3, 8, 9, 16, 17, 40)):
        for subsampling in (0, 1, 2):
            file = io.BytesIO()
            picture.resize(size).save(file, "JPEG", subsampling=subsampling)
            files.append(file.getvalue())
    return files


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
    for title, counts in result["bits"].items():
        print(f"{title}: " + "  ".join(f"{name} {value}" for name, value in counts.items()))
    for name, rates in result["speed"].items():
        limits = [rates[f"decoding alone, {decoder}"] for decoder in ("Pillow", "torchvision")]
        reference = rates["open_clip's transform on Pillow (peers, reference)"]
        print(f"\n{name}, {rates['kilobytes']:.0f} kB: images/s on one core, share of Pillow's and torchvision's bare")
        print("decoding, x open_clip's transform")
        for way, rate in list(rates.items())[1:]:
            shares = "".join(f"{rate / limit:6.2f}" for limit in limits)
            print(f"  {way:52} {rate:8.1f} {shares} {rate / reference:6.2f}")
    title = "steps, milliseconds at 466x390"
    print(f"\n{title}")
    for name, value in result[title].items():
        print(f"  {name:52} {value:8.3f}")
    for name, values in result["fidelity"].items():
        print(f"\n{name}: fast against reference")
        print("  " + "  ".join(f"{key} {value:.6g}" for key, value in values.items()))


if __name__ == "__main__":
    main()
