"""What a stream of ImageNet's size costs each transductive score: 60,000 samples, 1,000 classes, 10,000 negative texts.

Generated features of 512 dimensions, 50,000 ID and 10,000 OOD samples mixed, each near a text, so that nearly all are
sure and memories fill. A score is given features and logits, as the stage gives them; each runs in a process of its
own, with one thread of BLAS. Prints a table; writes benchmarks/streams.json: CPU seconds, seconds on the clock, and the
peak memory of the process. Takes some minutes.

    OMP_NUM_THREADS=1 python benchmarks/streams.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from machine import describe

from oodgrid import registry
from oodgrid.score.contract import TextList, normalise

SIZES = {"id": 50_000, "ood": 10_000, "classes": 1_000, "texts": 10_000, "dimensions": 512}
CASES = {
    "tanl": ("tanl", {}),
    "adaneg": ("adaneg", {"keep": 1.0}),
    "adaneg, beta 0": ("adaneg", {"beta": 0.0, "keep": 1.0}),
    "clipscope": ("clipscope", {}),
    "reneg": ("reneg", {}),  # with the negative texts as its pool
    "products": ("products", {}),  # of all samples with all texts, which no score can leave out
}


def main() -> None:
    """Measure each case in a process of its own, print and write down; cases may be named."""
    if len(sys.argv) == 3 and sys.argv[1] == "--only":
        print(json.dumps(measured(*CASES[sys.argv[2]])))
        return
    rows = {}
    for case in sys.argv[1:] or CASES:
        ran = subprocess.run([sys.executable, __file__, "--only", case], capture_output=True, text=True, check=True)
        rows[case] = json.loads(ran.stdout.splitlines()[-1])
        print(f"{case:16}", *(f"{name} {value}" for name, value in rows[case].items()), flush=True)
        about = {"machine": describe(), "sizes": SIZES, "threads": 1, "cases": rows}
        Path(__file__).with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def measured(name: str, params: dict[str, object]) -> dict[str, float]:
    """Return what one score of the stream costs."""
    features, logits, classes, texts, noise = stream()
    both = np.vstack([classes, texts.features])
    lists = {"labels": texts, "noise": noise, "pool": texts}
    listed = {each: lists[each] for each in (() if name == "products" else registry.find("score", name).label_lists)}
    cpu, clock = time.process_time(), time.perf_counter()
    if name == "products":
        for start in range(0, len(features), 1024):
            features[start : start + 1024] @ both.T
    else:
        scores = registry.find("score", name).make(features, logits, classes, **listed, **params)
        assert np.isfinite(scores).all()
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {"cpu_s": cpu, "clock_s": clock, "peak_gib": peak}
    return {figure: round(value, 1) for figure, value in figures.items()}


def stream() -> tuple[np.ndarray, np.ndarray, np.ndarray, TextList, TextList]:
    """Return features and logits of the samples, the texts of the classes, the negative ones, and noise."""
    rng, width = np.random.default_rng(0), SIZES["dimensions"]
    texts = normalise(rng.normal(size=(SIZES["classes"] + SIZES["texts"], width)))
    images = normalise(rng.normal(size=(1, width)))  # where images lie and texts do not
    near = np.concatenate(
        [rng.integers(SIZES["classes"], size=SIZES["id"]), rng.integers(SIZES["classes"], len(texts), SIZES["ood"])]
    )
    near = near[rng.permutation(len(near))]
    features = normalise(0.6 * images + 0.3 * texts[near] + 0.74 / width**0.5 * rng.normal(size=(len(near), width)))
    noise = normalise(0.6 * images + 0.8 / width**0.5 * rng.normal(size=(15, width)))
    classes, others = texts[: SIZES["classes"]], texts[SIZES["classes"] :]
    lists = [TextList(each, [""] * len(each), [""] * len(each)) for each in (others, noise)]
    return features, features @ classes.T, classes, *lists


if __name__ == "__main__":
    main()
