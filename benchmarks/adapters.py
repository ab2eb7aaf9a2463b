"""A fit of Tip-Adapter and of LP++ at ImageNet's size, in blocks of samples, beside the same with all arrays whole.

1,000 classes, 512 dimensions, 16 shots, four validation images a class; features and texts are made up, such that texts
classify about as well as CLIP's. The whole way is the formula as one writes it down: for Tip-Adapter an exp and a
product with sparse one-hot labels over all validation images and keys, for LP++ everything in float64. Both sides
run on the same numbers, each in a process of its own on one BLAS thread, and their logits on 10,000 images are
compared. Of LP++ it is the start and 3 of its 300 epochs, which all cost the same; the second command runs a whole fit.
Prints CPU time, wall time and peak memory; the first writes benchmarks/adapters.json, in three minutes of CPU time.

    python benchmarks/adapters.py [CLASSES]
    python benchmarks/adapters.py 1000 lp_plus_plus fit LOGITS.npy
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before numpy reads them

import numpy as np
from machine import describe
from scipy import sparse

from oodgrid import registry
from oodgrid.adapt.contract import FitData, TextSide, accuracy, normalise
from oodgrid.adapt.methods.lp_plus_plus import _Descent
from oodgrid.adapt.methods.tip_adapter import LOWEST, STEPS
from oodgrid.adapt.search import around, scale

WIDTH, SHOTS, VAL, TEST = 512, 16, 4, 10  # the last three: images a class
METHODS, EPOCHS = ("lp_plus_plus", "tip_adapter"), 3
SIDES = ("whole", "blocks")


def main() -> None:
    """Measure, print and write down; or, given a method, a side and a file, run that and leave its logits there."""
    classes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    if len(sys.argv) > 2:
        print(json.dumps(run(classes, *sys.argv[2:])))
        return
    print(f"{'':32}{'user, s':>9}{'system, s':>11}{'wall, s':>9}{'peak, MB':>10}")
    rows = []
    for method in METHODS:
        row = measure(classes, method)
        rows.append(row)
        for part in row["blocks"]["times"]:
            for side in SIDES:
                times = row[side]["times"][part]
                print(f"{row['method']:14}{part:8}{side:10}{times['user']:9.1f}{times['system']:11.1f}"
                      f"{times['wall']:9.1f}{times['peak_mb']:10.0f}")  # fmt: skip
        print(f"  chosen: {row['whole']['chosen']} whole, {row['blocks']['chosen']} in blocks; "
              f"logits at most {row['apart']:.1e} apart, of up to {row['largest']:.2f}", flush=True)  # fmt: skip
        result = {"machine": describe(), "classes": classes, "rows": rows}
        Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(classes: int, method: str) -> dict:
    """Return times and memory of both sides, and how far their logits are apart."""
    with tempfile.TemporaryDirectory() as folder:
        files = {side: Path(folder) / f"{side}.npy" for side in SIDES}
        found = {side: _child(classes, method, side, file) for side, file in files.items()}
        whole, blocks = (np.load(file).astype(np.float64) for file in files.values())
    return {
        "method": method,
        **found,
        "apart": float(np.abs(whole - blocks).max()),
        "largest": float(np.abs(whole).max()),
    }


def _child(classes: int, *what: object) -> dict:
    command = [sys.executable, __file__, str(classes), *map(str, what)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def run(classes: int, method: str, side: str, file: str) -> dict:
    """Return what the parts took, and what was chosen; leave the logits in a file."""
    data, test = few_shot(classes)
    ways = {
        "tip_adapter": {"whole": tip_whole, "blocks": tip_blocks},
        "lp_plus_plus": {"whole": lp_whole, "blocks": lp_blocks, "fit": lp_fit},
    }
    logits, times, chosen = ways[method][side](data, test)
    np.save(file, logits)
    return {"times": times, "chosen": chosen}


def tip_blocks(data: FitData, test: np.ndarray) -> tuple[np.ndarray, dict, dict]:
    """Return the logits of Tip-Adapter, its times and what it chooses."""
    made = registry.find("method", "tip_adapter").make()
    learned, of_fit = timed(lambda: made.fit(data))
    logits, of_apply = timed(lambda: made.classifier(learned.arrays, data.text).logits(test))
    return logits, {"fit": of_fit, "apply": of_apply}, {name: learned.info[name] for name in ("beta", "alpha")}


def lp_blocks(data: FitData, test: np.ndarray) -> tuple[np.ndarray, dict, dict]:
    """Return the logits of LP++ after some epochs, its times and the accuracy then."""
    x, val, text = normalise(data.train.astype(np.float64)), normalise(data.val), data.text.prototypes
    descent, of_start = timed(
        lambda: _Descent(x, data.train_labels, text.astype(np.float64), np.random.default_rng(data.seed))
    )

    def epochs() -> float:
        return [(descent.step(epoch), descent.accuracy(val, data.val_labels))[1] for epoch in range(EPOCHS)][-1]

    reached, of_epochs = timed(epochs)
    weights, bias, _ = descent.state
    return normalise(test) @ weights.T + bias, {"start": of_start, "epochs": of_epochs}, {"accuracy": reached}


def lp_fit(data: FitData, test: np.ndarray) -> tuple[np.ndarray, dict, dict]:
    """Return the logits of LP++ after all epochs, its times and what it chooses."""
    method = registry.find("method", "lp_plus_plus").make()
    learned, of_fit = timed(lambda: method.fit(data))
    chosen = {"epoch": learned.info["epoch"], "accuracy": max(learned.info["val_accuracies"])}
    classifier = method.classifier(learned.arrays, data.text)
    return normalise(test) @ classifier.prototypes.T + classifier.bias, {"fit": of_fit}, chosen


def timed(way: Callable) -> tuple[object, dict[str, float]]:
    """Return what a way gives, and the seconds that it took and the peak of this process's memory by then."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    made = way()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return made, {"user": user, "system": system, "wall": wall, "peak_mb": after.ru_maxrss * 1024 / 1e6}


def few_shot(classes: int) -> tuple[FitData, np.ndarray]:
    """Return what a method is given, and test features (N, D)."""
    rng = np.random.default_rng(0)
    common, centres = rng.normal(size=WIDTH), rng.normal(size=(classes, WIDTH))

    def images(each: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(classes), each)
        values = 2 * common + centres[labels] + 4.0 * rng.normal(size=(len(labels), WIDTH))
        return values.astype(np.float32), labels.astype(np.int32)

    (train, train_labels), (val, val_labels), (test, _) = images(SHOTS), images(VAL), images(TEST)
    texts = normalise(rng.normal(size=WIDTH) + centres + rng.normal(size=(classes, WIDTH)))
    text = TextSide(texts.astype(np.float32), None, lambda: None)
    return FitData(text, classes, train, train_labels, val, val_labels, SHOTS, 1), test


def tip_whole(data: FitData, test: np.ndarray) -> tuple[np.ndarray, dict, dict]:
    """Return the same with every array whole."""
    keys, val, prototypes = normalise(data.train), normalise(data.val), data.text.prototypes
    ones = np.ones(len(keys), dtype=np.float32)
    one_hot = sparse.csr_matrix((ones, (np.arange(len(keys)), data.train_labels)), (len(keys), data.classes))

    def search() -> tuple[float, float, float]:
        text, similarity = val @ prototypes.T, val @ keys.T
        betas, alphas, best = scale(LOWEST, 50.0, STEPS), scale(LOWEST, 200.0, STEPS), (0.0, 0.0, -1.0)
        for _ in ("coarse", "fine"):
            for beta in betas.tolist():
                affinity = np.exp(-beta * (1 - similarity)) @ one_hot
                for alpha in alphas.tolist():
                    reached = accuracy(text + alpha / 100 * affinity, data.val_labels)
                    best = (beta, alpha, reached) if reached > best[2] else best
            betas, alphas = around(betas, best[0]), around(alphas, best[1])
        return best

    (beta, alpha, _), of_fit = timed(search)

    def made() -> np.ndarray:
        x = normalise(test)
        return x @ prototypes.T + alpha / 100 * (np.exp(-beta * (1 - x @ keys.T)) @ one_hot)

    logits, of_apply = timed(made)
    return logits, {"fit": of_fit, "apply": of_apply}, {"beta": beta, "alpha": alpha}


def lp_whole(data: FitData, test: np.ndarray) -> tuple[np.ndarray, dict, dict]:
    """Return the same in float64 and with every array whole."""
    x, val, text = (normalise(a.astype(np.float64)) for a in (data.train, data.val, data.text.prototypes))
    one_hot, count = np.eye(data.classes)[data.train_labels], len(x)
    bound = x.shape[1] ** -0.5
    w, b = one_hot.T @ x, np.random.default_rng(data.seed).uniform(-bound, bound, data.classes)
    speed, b_speed = np.zeros_like(w), np.zeros_like(b)

    def start() -> tuple[np.ndarray, float, float, np.ndarray]:
        cosines = x @ text.T
        alpha = 250 * ((one_hot * cosines).sum(axis=0) / one_hot.sum(axis=0)).mean()
        rate, alpha_rate = 4 * count / np.linalg.norm(x, 2) ** 2, count / (4 * (cosines**2).sum(axis=0).max())
        assert np.isfinite(alpha_rate), "its first step comes after the tenth epoch"
        return cosines, rate, alpha_rate, np.full(data.classes, alpha)

    (cosines, rate, _, alpha), of_start = timed(start)

    def epochs() -> float:
        nonlocal speed, b_speed, w, b
        for _ in range(EPOCHS):
            z = x @ w.T + b + alpha * cosines
            z -= z.max(axis=1, keepdims=True)
            logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
            error = (np.exp(logs) - one_hot) / count
            speed, b_speed = 0.9 * speed + error.T @ x, 0.9 * b_speed + error.sum(axis=0)
            w, b = w - rate * speed, b - rate * b_speed
            (error * cosines).sum(axis=0)  # the gradient of alpha
            -(one_hot * logs).sum() / count  # the loss
            reached = accuracy(val @ w.T + b + alpha * (val @ text.T), data.val_labels)
        return reached

    reached, of_epochs = timed(epochs)
    logits = normalise(test) @ (w + alpha[:, None] * text).T + b
    return logits, {"start": of_start, "epochs": of_epochs}, {"accuracy": reached}


if __name__ == "__main__":
    main()
