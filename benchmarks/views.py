"""How many cached views stand in for a fresh crop every epoch: 1, 2, 5, 20 or 50 of them beside 50 fresh ones.

Real images (CIFAR-10's test set, 16 shots a class, CIFAR-100 as OOD; OODGRID_SHARED names the folder) for
CLIP-Adapter and Tip-Adapter-F on visual prototypes, and the demo's generated images for CoOp, whose words the tiny CLIP
knows. Fresh: epoch e takes view e of 50, which no other epoch sees. Paired differences over ten seeds: the same shots,
the same batches. Prints a table; writes benchmarks/views.json. Takes about five minutes on two cores.

    python benchmarks/views.py
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from machine import describe

from oodgrid import config, paths, registry, store
from oodgrid.adapt import prompt_learning, training
from oodgrid.adapt.contract import FitData, normalise
from oodgrid.adapt.data import FitFiles
from oodgrid.adapt.methods import clip_adapter, tip_adapter_f
from oodgrid.encode.images import encode_images
from oodgrid.encode.texts import encode_texts
from oodgrid.encode.views import encode_views
from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.grid import Fit

ROOT = Path(__file__).parents[1]
IMAGES = Path(os.environ.get("OODGRID_SHARED", ROOT / ".." / "shared")) / "data" / "images"
COUNTS, EPOCHS, SEEDS, SHOTS = (1, 2, 5, 20, 50), 50, range(1, 11), 16
CASES = {
    "clip_adapter": ("cifar10", "rrc08", {}),
    "tip_adapter_f": ("cifar10", "rrc50", {"beta_to": 7.0, "alpha_to": 3.0, "alpha_start": 1.17}),
    "coop": ("concepts", "rrc08", {"lr": 0.002, "init": "a photo of a"}),
}
HOLDERS = (clip_adapter, tip_adapter_f, prompt_learning)  # modules that look TrainingFeatures up


class Fresh(training.TrainingFeatures):
    """The features of the shots, epoch e in view e."""

    def epoch(self, generator: torch.Generator) -> torch.Tensor:
        """Return the next view, and draw what a drawn view would, so that batches stay the same."""
        super().epoch(generator)
        self.number = getattr(self, "number", -1) + 1
        return self._views[self.number]


def main() -> None:
    """Measure, print and write down."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        experiment = encoded(Path(folder))
        for method, (dataset, family, params) in CASES.items():
            rows += compare(Path(folder), experiment, method, dataset, family, params)
    print(f"{'method':15}{'views':>7}{'accuracy':>10}{'AUROC':>8}{'accuracy - fresh':>20}{'AUROC - fresh':>18}")
    for row in rows:
        print(
            f"{row['method']:15}{row['views']:>7}{100 * row['accuracy']:10.2f}{100 * row['auroc']:8.2f}"
            f"{100 * row['accuracy_gap']:12.2f} ±{100 * row['accuracy_gap_se']:5.2f}"
            f"{100 * row['auroc_gap']:11.2f} ±{100 * row['auroc_gap_se']:5.2f}"
        )
    result = {"machine": describe(), "epochs": EPOCHS, "seeds": len(SEEDS), "shots": SHOTS, "rows": rows}
    (ROOT / "benchmarks" / "views.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def encoded(results: Path) -> config.Experiment:
    """Encode images, views and texts with the tiny CLIP, and return the experiment that describes them."""
    views = [{"family": family, "count": EPOCHS} for family in ("rrc08", "rrc50")]
    cifar = {
        "name": "cifar10",
        "archive": str(IMAGES / "cifar10_test.zip"),
        "splits": {"train": 40, "val": 10},
        "text": "visual_prototypes",
        "views": views,
        "ood": {"near": [{"name": "cifar100", "archive": str(IMAGES / "cifar100_test.zip")}]},
        "allow_overlap": True,
    }
    concepts = {"name": "concepts", "views": views[:1], "ood": {"near": ["concepts-unseen-combinations"]}}
    experiment = config.parse(
        {
            "experiment": "views",
            "backbones": ["tiny"],
            "id_datasets": [cifar, concepts],
            "methods": ["zero_shot"],
            "shots": [SHOTS],
            "seeds": list(SEEDS),
            "scores": ["mcm"],
        }
    )
    backbone = experiment.backbones[0]
    for dataset in {dataset.name: dataset for dataset in experiment.datasets()}.values():
        encode_images(results, backbone, dataset)
    for dataset in experiment.id_datasets:
        for each in dataset.views:
            encode_views(results, experiment, backbone, dataset, each)
    encode_texts(results, backbone, experiment.id_datasets[1])
    return experiment


def compare(
    results: Path, experiment: config.Experiment, name: str, dataset: str, family: str, params: dict
) -> list[dict]:
    """Return one row for every number of views, and one for fresh ones."""
    entry = experiment.id_dataset(dataset)
    files = FitFiles(results, experiment.backbones[0], entry, family)
    method = registry.find("method", name).make(epochs=EPOCHS, views=family, **params)
    tests = [store.read_features(paths.features(results, "tiny", n, "test"))
             for n in (dataset, next(entry.pairs())[1].name)]  # fmt: skip
    found: dict[str, list[tuple[float, float]]] = {str(count): [] for count in COUNTS} | {"fresh": []}
    for seed in SEEDS:
        data = files.data(Fit(name, SHOTS, seed))
        for count in COUNTS:
            few = replace(data, train_views=data.train_views[:, :count])
            found[str(count)].append(judged(method, few, tests))
        found["fresh"].append(with_fresh(lambda data=data: judged(method, data, tests)))
    fresh = np.array(found["fresh"])
    rows = []
    for views, values in found.items():
        gaps = np.array(values) - fresh
        mean, error = gaps.mean(axis=0), gaps.std(axis=0, ddof=1) / len(gaps) ** 0.5
        accuracy, auroc = np.mean(values, axis=0).tolist()
        numbers = dict(zip(("accuracy_gap", "auroc_gap"), mean.tolist(), strict=True))
        errors = dict(zip(("accuracy_gap_se", "auroc_gap_se"), error.tolist(), strict=True))
        rows.append({"method": name, "views": views, "accuracy": accuracy, "auroc": auroc, **numbers, **errors})
    return rows


def judged(method: object, data: FitData, tests: list[store.Features]) -> tuple[float, float]:
    """Return ID accuracy and AUROC of MCM after a fit."""
    classifier = method.classifier(method.fit(data).arrays, data.text)
    make = classifier.logits or (lambda x: normalise((classifier.change or (lambda y: y))(x)) @ classifier.prototypes.T)
    logits = [make(test.image_features).astype(np.float64) for test in tests]
    accuracy = float((logits[0].argmax(axis=1) == tests[0].labels).mean())
    scores = [registry.find("score", "mcm").make(each) for each in logits]
    return accuracy, metrics_from_counts(count_scores(*scores))["auroc"]


def with_fresh(way: Callable) -> tuple[float, float]:
    """Call `way` with a view of its own for every epoch."""
    for module in HOLDERS:
        module.TrainingFeatures = Fresh
    try:
        return way()
    finally:
        for module in HOLDERS:
            module.TrainingFeatures = training.TrainingFeatures


if __name__ == "__main__":
    main()
