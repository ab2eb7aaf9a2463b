"""Reading a feature file, checked to the last byte, beside np.load of the same numbers unchecked.

200,000 x 512 in float16, page cache warm, medians of interleaved repeats. Prints a table; writes
benchmarks/reading.json.

    python benchmarks/reading.py
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from machine import describe

from oodgrid import store

ROOT = Path(__file__).parents[1]
ROWS, WIDTH, REPEATS = 200_000, 512, 15


def main() -> None:
    """Measure, print and write down."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = _measure(Path(folder))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    base = medians["np.load (features alone, unchecked)"]
    for name, value in medians.items():
        print(f"{name:70} {1000 * value:7.1f} ms {value / base:6.2f}")
    result = {"machine": describe(), "rows": ROWS, "width": WIDTH, "seconds": medians}
    (ROOT / "benchmarks" / "reading.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _measure(folder: Path) -> dict[str, list[float]]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ROWS, WIDTH)).astype(np.float16)
    np.save(folder / "features.npy", values)
    names = [f"class {row % 1000:03}/image_{row:08}.JPEG" for row in range(ROWS)]
    digests = rng.integers(0, 256, (ROWS, 32), dtype=np.uint8)
    labels, stamps = np.arange(ROWS, dtype=np.int32) % 1000, np.zeros((ROWS, 2), np.int64)
    features = store.Features(values, labels, names, digests, {"split": "test"}, stamps=stamps)
    store.write_features(folder / "features.h5", features)
    ways = {
        "np.load (features alone, unchecked)": lambda: np.load(folder / "features.npy"),
        "h5py (features alone, unchecked)": lambda: h5py.File(folder / "features.h5")["image_features"][:],
        "oodgrid (features, labels, names, digests; every byte checked)": lambda: store.read_features(
            folder / "features.h5", as_stored=True
        ),
        "oodgrid verify": lambda: store.check(folder / "features.h5"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
