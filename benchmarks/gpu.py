"""What the encoder and the scores reach on this machine's GPU.

Of each model and precision the network alone on prepared batches, in images a second and as a share of what the card
can multiply, and whole encoding from JPEG files. Weights are random, which costs the same. Then each score with its
products by NumPy and by torch (`score_device.py`). Prints tables to paste into docs/cache.md and docs/scores.md; writes
benchmarks/gpu.json. On a CPU it takes long: `--models ViT-B-32 --images 64 --samples 2048` is a trial.

    python benchmarks/gpu.py [--models ViT-B-32 …] [--precisions fp32 …] [--images N] [--samples N]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

import score_device
import torch
from encode import _images
from machine import describe
from torch.utils.flop_counter import FlopCounterMode

from oodgrid import backbones
from oodgrid.config import Backbone
from oodgrid.encode.images import encode_images
from oodgrid.encode.pipeline import BATCH

ROOT = Path(__file__).parents[1]
MODELS = ["ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "ViT-L-14-quickgelu"]
# Dense 10^12 operations a second, as NVIDIA's data sheets have them: of float32, TF32, and 16 bits.
PEAKS = {"H100": (67, 495, 989), "H200": (67, 495, 989), "A100": (19.5, 156, 312)}
KIND = {"fp32": 0, "tf32": 1, "bf16": 2, "fp16": 2, "amp_bf16": 2, "amp_fp16": 2}


def main() -> None:
    """Measure, print and write down."""
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "tf32", "amp_bf16", "bf16"] if on_gpu else ["fp32"])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--samples", type=int, default=16_384)
    arguments = parser.parse_args()
    rows = []
    print(
        "| model, precision | network alone, images/s | share of the card | whole encoding, images/s | cosine to fp32 |"
    )
    print("|---|---|---|---|---|")
    for model in arguments.models:
        for precision in arguments.precisions:
            row = _measured(Backbone(name="x", model=model, pretrained="random", precision=precision), arguments.images)
            rows.append(row)
            share = "" if row["share"] is None else f"{row['share']:.2f}"
            numbers = f"{row['network']:,.0f} | {share} | {row['whole']:,.0f} | {row['cosine'] or ''}"
            print(f"| {model}, {precision} | {numbers} |", flush=True)
    result = {"machine": describe() | {"gpu": _card()}, "images": arguments.images, "rows": rows}
    result["scores"] = score_device.measured(arguments.samples, score_device.chosen())
    (ROOT / "benchmarks" / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


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
    synchronise = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    way()
    synchronise()
    start = time.perf_counter()
    for _ in range(repeats):
        way()
    synchronise()
    return (time.perf_counter() - start) / repeats


if __name__ == "__main__":
    main()
