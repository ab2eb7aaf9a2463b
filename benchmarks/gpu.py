"""What the encoder and the scores reach on this machine's GPU.

Of each model and precision the network alone on prepared batches, and whole encoding from JPEG files. Then what feeds
it: each way of decoding by itself, in all threads of the job, and whole encoding with it; and how batches reach the
device: stacked and scaled by the host as of old, or written into a ring as uint8 and scaled there. Weights are random,
which costs the same. Then each score with its products by NumPy and by torch (`score_device.py`). Prints tables to
paste into docs/cache.md and docs/scores.md; writes benchmarks/gpu.json. On a CPU it takes long; `--small` is a trial on
the packaged model, which writes nothing. Without a GPU nvJPEG's steps run on libjpeg-turbo, which says that they run
and nothing of their speed.

    python benchmarks/gpu.py [--models ViT-B-32 …] [--precisions fp32 …] [--images N] [--samples N] [--device cpu]
    python benchmarks/gpu.py --small
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

import score_device
import torch
from encode import _images
from machine import describe
from torch.utils.flop_counter import FlopCounterMode

from oodgrid import backbones, catalogue, devices, threads
from oodgrid.config import Backbone, Dataset
from oodgrid.encode import work
from oodgrid.encode.device_decoding import DeviceDecoder
from oodgrid.encode.images import encode_images
from oodgrid.encode.pipeline import BATCH
from oodgrid.encode.preprocessing import normalised, preparer
from oodgrid.encode.ring import Ring
from oodgrid.encode.sources import open_split

ROOT = Path(__file__).parents[1]
MODELS = ["ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "ViT-L-14-quickgelu"]
# Dense 10^12 operations a second, as NVIDIA's data sheets have them: of float32, TF32, and 16 bits.
PEAKS = {"H100": (67, 495, 989), "H200": (67, 495, 989), "A100": (19.5, 156, 312)}
KIND = {"fp32": 0, "tf32": 1, "bf16": 2, "fp16": 2, "amp_bf16": 2, "amp_fp16": 2}


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--precisions", nargs="+")
    parser.add_argument("--images", type=int)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--device", choices=["cpu"], help="leave the GPU alone")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    with _devices(arguments.device):
        on_gpu = devices.device() != "cpu"
        precisions = arguments.precisions or (["fp32", "tf32", "amp_bf16", "bf16"] if on_gpu else ["fp32"])
        count = arguments.images or (16 if arguments.small else 2048)
        if arguments.small:
            models = [catalogue.entry("backbone", "tiny")]
        else:
            models = [{"model": model, "pretrained": "random"} for model in arguments.models]
        result = {
            "machine": describe() | {"gpu": _card(), "threads": threads.of_job(1)},
            "images": count,
            "rows": _models(models, precisions, count),
            "decoding": _decoding(Backbone(name="x", **models[0]), count),
            "feeding": _feeding(Backbone(name="x", **models[0]), repeats=2 if arguments.small else 20),
            "scores": score_device.measured(*_trial(arguments)),
        }
    if not arguments.small:
        (ROOT / "benchmarks" / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _trial(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    """Return how many samples and which scores are measured."""
    samples = arguments.samples or (2048 if arguments.small else 16_384)
    return samples, ["mcm", "knn", "mahalanobis"] if arguments.small else score_device.chosen()


@contextmanager
def _devices(device: str | None) -> Iterator[None]:
    """Compute on the CPU if that is asked for, and let nvJPEG's steps run on it where there is nothing else."""
    if device is None and torch.cuda.is_available():
        yield
        return
    with (
        mock.patch.object(devices, "device", lambda: "cpu"),
        mock.patch.object(work, "nvjpeg", lambda name, preprocessing, device: DeviceDecoder(preprocessing, device)),
    ):
        yield


def _models(models: list[dict], precisions: list[str], count: int) -> list[dict]:
    rows = []
    print(
        "| model, precision | network alone, images/s | share of the card | whole encoding, images/s | cosine to fp32 |"
    )
    print("|---|---|---|---|---|")
    for entry in models:
        for precision in precisions:
            row = _measured(Backbone(name="x", **entry, precision=precision), count)
            rows.append(row)
            share = "" if row["share"] is None else f"{row['share']:.2f}"
            numbers = f"{row['network']:,.0f} | {share} | {row['whole']:,.0f} | {row['cosine'] or ''}"
            print(f"| {entry['model']}, {precision} | {numbers} |", flush=True)
    return rows


def _decoding(backbone: Backbone, count: int) -> dict[str, dict[str, float]]:
    """Return of each way of decoding images a second, alone and with the network behind it, and CPU time an image."""
    loaded, rows = backbones.load(backbone), {}
    print("\n| decode | alone, images/s | CPU ms an image | whole encoding, images/s | cosine to the reference |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        dataset = _images(Path(folder), count)
        images = open_split(dataset, "test")
        sources = [images.read(row) for row in range(len(images))]
        for kind in ("reference", "fast", "nvjpeg"):
            seconds, cpu = _clocks(lambda kind=kind: _decode_all(loaded, kind, sources))
            entry = backbone.model_copy(update={"decode": kind})
            whole, parity = _whole(Path(folder) / kind, entry, dataset)
            rows[kind] = {
                "alone": len(sources) / seconds,
                "cpu_ms": 1000 * cpu / len(sources),
                "whole": whole,
                "cosine": parity,
            }
            numbers = f"{len(sources) / seconds:,.0f} | {1000 * cpu / len(sources):.2f} | {whole:,.0f}"
            print(f"| {kind} | {numbers} | {'' if parity is None else f'{parity:.6f}'} |", flush=True)
    return rows


def _decode_all(loaded: backbones.LoadedBackbone, kind: str, sources: list[bytes]) -> None:
    """Decode, resize and cut as the encoder does: on the host in all threads, or on the device in batches."""
    preprocessing = loaded.identity["preprocessing"]
    size = BATCH[loaded.device.split(":")[0]]
    if kind == "nvjpeg":
        decoder = DeviceDecoder(preprocessing, loaded.device)
        for first in range(0, len(sources), size):
            list(decoder.pixels([source for source in sources[first : first + size] if decoder.takes(source)]))
        _synchronise()
        return
    ring = Ring(size, loaded.input_shape, as_bytes=True, pinned=loaded.device != "cpu")
    slots, prepare = ring.take(), preparer(loaded.preprocess, preprocessing, kind, as_bytes=True)
    with ThreadPoolExecutor(threads.of_job(1), initializer=lambda: torch.set_num_threads(1)) as pool:
        list(pool.map(lambda place: slots[place % size].copy_(prepare(sources[place], "")), range(len(sources))))


def _whole(folder: Path, backbone: Backbone, dataset: Dataset) -> tuple[float, float | None]:
    """Return images a second of whole encoding, the loading of the model taken off, and the cosine in the file."""
    from oodgrid import store

    load, _ = _clocks(lambda: backbones.load(backbone))
    paths: list[Path] = []
    seconds, _ = _clocks(lambda: paths.extend(encode_images(folder, backbone, dataset)))
    features = store.read_features(paths[0])
    parity = features.provenance.get("parity")
    return len(features.labels) / max(seconds - load, 1e-9), parity and parity["cosine_min"]


def _feeding(backbone: Backbone, repeats: int) -> dict[str, dict[str, float]]:
    """Return milliseconds of one batch from decoded images to the network's input, by the host's clock and CPU time."""
    loaded = backbones.load(backbone)
    preprocessing, size = loaded.identity["preprocessing"], BATCH[loaded.device.split(":")[0]]
    shape, on_gpu = loaded.input_shape, loaded.device != "cpu"
    ring = Ring(size, shape, as_bytes=True, pinned=on_gpu)
    decoded = [torch.randint(0, 256, (*shape[1:], 3), dtype=torch.uint8).permute(2, 0, 1) for _ in range(size)]
    floats = [normalised(pixels[None], preprocessing)[0] for pixels in decoded]

    def stacked() -> None:  # numbers, stacked in memory that is new with every batch
        torch.stack(floats).to(loaded.device, non_blocking=True)

    def stacked_bytes() -> None:
        whole = torch.zeros(size, *shape, dtype=torch.uint8, pin_memory=on_gpu)
        for place, pixels in enumerate(decoded):
            whole[place] = pixels
        normalised(whole.to(loaded.device, non_blocking=True), preprocessing)

    def by_ring() -> None:
        slots = ring.take()
        for place, pixels in enumerate(decoded):
            slots[place].copy_(pixels)
        normalised(slots.to(loaded.device, non_blocking=True), preprocessing)
        _synchronise()
        ring.give_back(slots)

    rows = {}
    print(f"\n| a batch of {size} to the device | ms | CPU ms | images/s |")
    print("|---|---|---|---|")
    for name, way in {
        "scaled by the host, stacked": stacked,
        "uint8, stacked in new memory, scaled on the device": stacked_bytes,
        "uint8 in a ring, scaled on the device": by_ring,
    }.items():
        way()
        _synchronise()
        clocks = [_clocks(way) for _ in range(repeats)]
        wall, cpu = (1000 * statistics.median(times) for times in zip(*clocks, strict=True))
        rows[name] = {"ms": wall, "cpu_ms": cpu}
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {1000 * size / wall:,.0f} |", flush=True)
    return rows


def _clocks(way: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of a call, by the clock and of CPU time."""
    start, cpu = time.perf_counter(), time.process_time()
    way()
    _synchronise()
    return time.perf_counter() - start, time.process_time() - cpu


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _card() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _measured(backbone: Backbone, count: int) -> dict[str, float | str | None]:
    loaded = backbones.load(backbone)
    size = BATCH[loaded.device.split(":")[0]]
    pixels = torch.randn(size, *loaded.input_shape, device=loaded.device)
    with torch.inference_mode():
        parity = loaded.parity(pixels)
        with FlopCounterMode(display=False) as counter:
            loaded.encode_image(pixels)
        seconds = _timed(lambda: loaded.encode_image(pixels), repeats=max(1, count // size))
    peak = next((peaks[KIND[backbone.precision]] for name, peaks in PEAKS.items() if name in _card()), None)
    with tempfile.TemporaryDirectory() as folder:
        dataset = _images(Path(folder), count)
        start = time.perf_counter()
        encode_images(Path(folder) / "results", backbone, dataset)
        whole = count / (time.perf_counter() - start)
    return {
        "model": backbone.model,
        "precision": backbone.precision,
        "network": size / seconds,
        "share": peak and counter.get_total_flops() / seconds / (peak * 1e12),
        "whole": whole,
        "cosine": parity and round(parity["cosine_min"], 6),
    }


def _timed(way: Callable[[], object], repeats: int) -> float:
    """Return the seconds of one call, the first, which warms up, not counted."""
    way()
    _synchronise()
    start = time.perf_counter()
    for _ in range(repeats):
        way()
    _synchronise()
    return (time.perf_counter() - start) / repeats


if __name__ == "__main__":
    main()
