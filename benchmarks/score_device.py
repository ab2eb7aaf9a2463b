"""Scores with their products by NumPy, and by torch on this machine's GPU, as `score_device: gpu` has it.

1000 classes, 512 dimensions, 16 shots a class, 10,000 mined texts, 196 patches; generated unit features. Each score by
itself, logits included, in the blocks and on the threads of the stage, after a first block that estimates and copies
what all blocks share. Prints a table to paste into docs/scores.md; `benchmarks/gpu.py` runs it too. Times are by the
clock on a GPU. Without one torch computes on the CPU, and times are of the CPU: a trial, and no measure of a GPU.

    python benchmarks/score_device.py [--samples N] [--scores NAME …]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

import numpy as np
import torch

from oodgrid import devices, registry
from oodgrid.config import Choice
from oodgrid.score.compute import Column, fill
from oodgrid.score.contract import Bank, Head, TextList, normalise
from oodgrid.score.products import computing_on
from oodgrid.score.references import ROWS, Inputs, References
from oodgrid.score.sharing import frozen
from oodgrid.score.texts import Texts

CLASSES, WIDTH, SHOTS, PATCHES = 1000, 512, 16, 196
TEXTS = {"mined": 66_667, "chosen": 1000, "no": CLASSES, "agents": 5}  # a keep of .15 leaves 10,000 of the first
LISTS = {"cma": "agents", "clipn_atd": "no", "clipn_ctw": "no", "eoe": "chosen"}
FEWER = 32  # times fewer samples for scores of patches, which cost so much more
LEFT_OUT = {"weiper_kld", "negrefine"}  # minutes: a hundred heads, of all shots, twice; and it wants texts of pairs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=16_384)
    parser.add_argument("--scores", nargs="+", default=chosen())
    arguments = parser.parse_args()
    measured(arguments.samples, arguments.scores)


def chosen() -> list[str]:
    """Return the scores that need neither negative prompts, which methods of their own learn, nor pairs."""
    entries, others = registry.entries("score").values(), {"negative_logits", "pair_texts", "pair_logits"}
    return [each.name for each in entries if not others & set(each.needs) and each.name not in LEFT_OUT]


def measured(samples: int, scores: list[str]) -> dict[str, Any]:
    """Print the table, and return what it says."""
    device = devices.device()
    threads = int(os.environ["OMP_NUM_THREADS"])
    what = f"{devices.described(device)}, {threads} threads"
    print(f"| score | NumPy, ms per 1,000 samples | {what} | NumPy / torch | largest difference |")
    print("|---|---|---|---|---|")
    rows = []
    for name in scores:
        (ours, before), (theirs, after) = (_run(name, samples, each) for each in (None, device))
        apart = float(np.max(np.abs(after - before) / np.maximum(np.abs(before), 1e-12)))
        rows.append({"score": name, "numpy": ours, "torch": theirs, "difference": apart})
        print(f"| {name} | {1e6 * ours:.1f} | {1e6 * theirs:.1f} | {ours / theirs:.1f} | {apart:.0e} |", flush=True)
    return {"device": what, "samples": samples, "rows": rows}


def _run(name: str, samples: int, device: str | None) -> tuple[float, np.ndarray]:
    """Return the seconds per sample of a score on the clock, and its values."""
    entry = registry.find("score", name)
    references, features = _references(), _around(np.random.default_rng(1).integers(CLASSES, size=samples), 2.0, 1)
    choice = Choice(name=name, **{each: LISTS.get(name, "mined") for each in entry.label_lists})

    def blocks(rows: slice) -> Iterator[tuple[Inputs, int]]:
        if "local_logits" not in entry.needs:
            return references.blocks("made", features[rows], None, entry.needs)
        few = features[rows][::FEWER]
        patches = np.random.default_rng(2).normal(size=(len(few), PATCHES, WIDTH)).astype(np.float32)
        return references.local_blocks("made", few, [(0, patches)], references.head)

    with computing_on(device):
        _timed(lambda: fill([Column(choice, str, references.texts.lists)], blocks(slice(ROWS))))
        column, todo = Column(choice, str, references.texts.lists), list(blocks(slice(ROWS, None)))
        seconds = _timed(lambda: fill([column], iter(todo)))
    if column.skipped:
        raise SystemExit(f"{name}: {column.skipped}")
    return seconds / len(column.values()), column.values()


def _timed(way: Callable[[], object]) -> float:
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    way()  # its last step copies numbers from the GPU, and so waits for it
    return clock() - start


def _references() -> References:
    """Return new ones, whose copies and estimates belong to one run."""
    labels = np.repeat(np.arange(CLASSES), SHOTS)
    head = Head(normalise(_around(np.arange(CLASSES), 0.5, 3)), np.zeros(CLASSES))
    banks = {
        need: Bank(normalise(_around(labels, 1.5, seed)), labels, SHOTS, None, head)
        for need, seed in (("bank", 4), ("val", 5))
    }
    rng = np.random.default_rng(6)
    texts = {name: normalise(rng.normal(size=(count, WIDTH))) for name, count in TEXTS.items()}
    lists = {name: TextList(frozen(v), [f"{n}" for n in range(len(v))], ["noun"] * len(v)) for name, v in texts.items()}
    prompts = frozen(normalise(rng.normal(size=(10, CLASSES, WIDTH))))
    by_need = {"class_texts": frozen(head.weights.copy()), "prompt_variants": prompts}
    return References(head, None, banks, Texts(by_need, lists, []), True)


def _around(labels: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Return features around the centres of classes, shape (N, D)."""
    centres = normalise(np.random.default_rng(0).normal(size=(CLASSES, WIDTH)))
    scattered = np.random.default_rng(seed).normal(size=(len(labels), WIDTH))
    return (centres[labels] + noise / WIDTH**0.5 * scattered).astype(np.float32)


if __name__ == "__main__":
    main()
