"""Memory of a long encoding: how it grows from the first chunk to 1.3 million images.

The images are synthetic, 32 pixels a side and made on the spot, and the model is a ViT of one layer, so that the run
takes minutes; what grows with the number of images (names, labels, digests, stamps, the joined file) is all there. The
goal is 2 GB above the model. Prints a table; writes benchmarks/memory.json.

    python benchmarks/memory.py [IMAGES]
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from machine import describe

from oodgrid import backbones, store
from oodgrid.config import Backbone
from oodgrid.encode.chunks import Chunks
from oodgrid.encode.pipeline import encode_rows
from oodgrid.encode.sources import ImageSet
from oodgrid.encode.work import WHOLE

ROOT = Path(__file__).parents[1]
MODEL = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 32},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


def main() -> None:
    """Measure, print and write down."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_300_000
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "one-layer.json").write_text(json.dumps(MODEL), encoding="utf-8")
        result = {"machine": describe(), "images": count, **_measure(Path(folder), count)}
    print(f"{count:,} images in {result['seconds']:.0f} s; above the model, MB:")
    for moment in ("listing", "encoding_begins", "encoding_ends", "peak"):
        print(f"  {moment:20} {result['megabytes'][moment]:8.0f}")
    (ROOT / "benchmarks" / "memory.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _measure(folder: Path, count: int) -> dict[str, object]:
    file = str(folder / "one-layer.json")
    loaded = backbones.load(Backbone(name="b", model="one-layer", pretrained="random", model_config_file=file))
    model = _resident()
    pictures = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)
    names = [f"train/n{row % 1000:08}/n{row % 1000:08}_{row:08}.JPEG" for row in range(count)]
    images = ImageSet(names, np.arange(count, dtype=np.int32) % 1000, None, lambda row: pictures[row % 1000])
    listing, seen, start = _resident() - model, [], time.perf_counter()
    chunks = Chunks(folder, {"dataset": {"name": "long"}}, loaded, images)
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(seen, done))
    watcher.start()
    chunks.finish(folder / "test.h5", lambda: encode_rows(chunks, WHOLE, "encode"))
    done.set()
    watcher.join()
    assert len(store.read_sources(folder / "test.h5").labels) == count
    above = [value - model for value in seen]
    megabytes = {"listing": listing, "encoding_begins": above[10], "encoding_ends": above[-5], "peak": max(above)}
    return {
        "seconds": time.perf_counter() - start,
        "megabytes": {name: value / 1e6 for name, value in megabytes.items()},
    }


def _resident() -> int:
    return psutil.Process().memory_info().rss


def _watch(seen: list[int], done: threading.Event) -> None:
    while not done.wait(0.2):
        seen.append(_resident())


if __name__ == "__main__":
    main()
