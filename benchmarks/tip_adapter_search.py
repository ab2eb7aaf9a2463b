"""What the range of Tip-Adapter's search and the start of Tip-Adapter-F are worth, on real CLIP ViT-B/32 features.

16 shots and four validation images a class of the features in OODGRID_SHARED; texts, which that folder lacks for
these sets, are made up: class means of the test features, as far from all images as CLIP's texts are, with as much
noise as brings zero-shot accuracy to a given value. Prints test accuracies; writes
benchmarks/tip_adapter_search.json. Takes about ten minutes on two cores.

    python benchmarks/tip_adapter_search.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from machine import describe

from oodgrid import registry
from oodgrid.adapt.contract import FitData, TextSide, accuracy, normalise
from oodgrid.fewshot import draw

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("OODGRID_SHARED", ROOT / ".." / "shared"))
CACHES = SHARED / "data" / "clip_vitb32_features" / "tip_adapter_caches"
SETS = (("caltech101", 0.88), ("caltech101", 0.6), ("oxford_pets", 0.85), ("oxford_pets", 0.5), ("fgvc", 0.19))
NARROW = {"beta_to": 7.0, "alpha_to": 3.0}
CASES = {
    "tip_adapter, up to (7, 3)": ("tip_adapter", NARROW),
    "tip_adapter": ("tip_adapter", {}),
    "tip_adapter_f, up to (7, 3) from 1.17": ("tip_adapter_f", {**NARROW, "alpha_start": 1.17}),
    "tip_adapter_f from 1.17": ("tip_adapter_f", {"alpha_start": 1.17}),
    "tip_adapter_f": ("tip_adapter_f", {}),
}


def main() -> None:
    """Measure, print and write down."""
    rows = []
    for name, zero_shot in SETS:
        data, test, truth = few_shot(name, zero_shot)
        reached = {case: accuracy_of(*made, data, test, truth) for case, made in CASES.items()}
        rows.append({"set": name, "zero_shot": zero_shot, **reached})
        print(name, zero_shot, ", ".join(f"{case}: {100 * value:.1f}" for case, value in reached.items()), flush=True)
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


def few_shot(name: str, zero_shot: float) -> tuple[FitData, np.ndarray, np.ndarray]:
    """Return what a method is given, and the test features (N, D) with their labels."""
    test, truth, val, labels = (_load(name, f"{file}.pt") for file in ("test_f", "test_l", "val_f", "val_l"))
    keys, values = _load(name, "keys_16shots.pt"), _load(name, "values_16shots.pt")
    train_labels = values.argmax(axis=1).astype(np.int32)
    rows = draw(train_labels, labels.astype(np.int32), 16, 1, np.full(len(train_labels), 16)).val
    classes = values.shape[1]
    text = TextSide(_texts(test, truth, classes, zero_shot), [str(k) for k in range(classes)], lambda: None)
    train = np.ascontiguousarray(keys.T)
    val_labels = labels[rows].astype(np.int32)
    return FitData(text, classes, train, train_labels, val[rows], val_labels, 16, 1), test, truth


def accuracy_of(name: str, params: dict[str, float], data: FitData, test: np.ndarray, truth: np.ndarray) -> float:
    """Return the test accuracy after a fit."""
    method = registry.find("method", name).make(**params)
    return accuracy(method.classifier(method.fit(data).arrays, data.text).logits(test), truth)


def _texts(test: np.ndarray, truth: np.ndarray, classes: int, zero_shot: float) -> np.ndarray:
    """Return made-up texts, shape (K, D), of a given zero-shot accuracy, by bisection of the noise in them."""
    rng = np.random.default_rng(0)
    x = normalise(test.astype(np.float64))
    means = normalise(np.stack([x[truth == k].mean(axis=0) for k in range(classes)]))
    centre = means.mean(axis=0)
    away = rng.normal(size=len(centre))
    away -= away @ centre / (centre @ centre) * centre
    _, sizes, axes = np.linalg.svd(x[rng.permutation(len(x))[:2000]] - x.mean(axis=0), full_matrices=False)
    noise = normalise((rng.normal(size=(classes, len(sizes))) * sizes) @ axes)

    def made(amount: float) -> np.ndarray:
        own = normalise(normalise(means - centre) + amount * noise)
        return normalise(0.22 * centre / np.linalg.norm(centre) + 0.9 * away / np.linalg.norm(away) + 0.3 * own)

    low, high = 0.0, 50.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if accuracy(x @ made(middle).T, truth) > zero_shot else (low, middle)
    return made(high).astype(np.float32)


def _load(name: str, file: str) -> np.ndarray:
    return torch.load(CACHES / name / file, map_location="cpu", weights_only=True).float().numpy()


if __name__ == "__main__":
    main()
