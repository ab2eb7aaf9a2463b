"""A miniature results folder for the room score, with manifests written by hand: what adapt would have left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from oodgrid import config, manifests, paths, store

CLASSES = 3
WIDTH = 6
BACKBONE = "mini"
SCORES = ["mcm", {"name": "mcm", "T": 0.5}, "max_logit", "mahalanobis", {"name": "knn", "k": 1}]


class Mini:
    """Features of an ID set and two OOD sets, and what an imaginary adapt left of them."""

    def __init__(self, results: Path) -> None:
        self.results = results
        rng = np.random.default_rng(0)
        self.centres = rng.normal(size=(CLASSES, WIDTH))
        self.features("pets", "train", np.repeat(np.arange(CLASSES), 8), seed=1)
        self.features("pets", "test", np.arange(10) % CLASSES, seed=2)
        self.features("noise", "test", np.full(5, -1), seed=3)
        self.features("cars", "test", np.arange(7) % 2, seed=4)

    def features(self, name, split, labels, seed, width=WIDTH, **provenance):
        """Write features around the class centres, of norms far from 1; label -1 has no centre."""
        rng = np.random.default_rng(seed)
        centres = np.vstack([self.centres, np.zeros(WIDTH)])
        values = centres[labels] + 0.5 * rng.normal(size=(len(labels), WIDTH))
        values = (np.resize(values, (len(labels), width)) * rng.uniform(3, 9, size=(len(labels), 1))).astype(np.float32)
        names = [f"{name}/{split}/{row}.png" for row in range(len(labels))]
        path = paths.features(self.results, BACKBONE, name, split)
        written = store.Features(values, labels, names, np.zeros((len(labels), 32), np.uint8), provenance)
        store.write_features(path, written)
        return store.read_features(path)

    def read(self, name, split="test"):
        return store.read_features(paths.features(self.results, BACKBONE, name, split))

    def experiment(self, scores=SCORES, methods=("prototype",), shots=(2,), seeds=(1,), far=("cars",), **id_dataset):
        """Return an experiment of imported sets: pets is ID, noise near, and `far` as named."""
        return config.parse(
            {
                "experiment": "mini",
                "backbones": [{"name": BACKBONE, "model": "none", "pretrained": "none"}],
                "id_datasets": [
                    {
                        "name": "pets",
                        "imported": {},
                        "ood": {
                            "near": [{"name": "noise", "imported": {}}],
                            "far": [{"name": name, "imported": {}} for name in far],
                        },
                        **id_dataset,
                    }
                ],
                "methods": list(methods),
                "scores": list(scores),
                "shots": list(shots),
                "seeds": list(seeds),
            }
        )

    def kept(self, name, **arrays):
        """Write a kept file and return how a manifest names it."""
        store.write_arrays(self.results / "kept" / "apply" / f"{name}.safetensors", arrays)
        return f"kept/apply/{name}.safetensors"

    def applied(self, method, leaves, fits):
        path = paths.applied(self.results, "mini", BACKBONE, "pets", method)
        manifests.write(path, manifests.Applied(method=method, leaves=leaves, fits=fits))

    def prototypes(self, shots=2, seed=1, **more):
        """Return the record of a fit that left prototypes of its own, and maybe a bias."""
        rng = np.random.default_rng([shots, seed])
        values = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        name = self.kept(f"prototypes-{shots}-{seed}", prototypes=values, **more)
        fit = manifests.AppliedFit(shots=shots, seed=seed, status="ok", reason=None, classifier=name)
        return SimpleNamespace(fit=fit, values=values.astype(np.float64))

    def kept_scores(self):
        """Return the kept tables and parts of this room."""
        return sorted((self.results / "kept" / "score").rglob("*.parquet"))


@pytest.fixture
def mini(tmp_path):
    return Mini(tmp_path / "results")


@pytest.fixture
def computed(monkeypatch):
    """What was computed and not taken from what was kept: seed, set (or OOD set of the stream) and scores."""
    from oodgrid.score import run

    parts = []
    for name in ("of_set", "of_stream"):
        real = getattr(run, name)

        def spy(fit, samples, choices, real=real, **options):
            last = samples[-1] if isinstance(samples, list) else samples
            parts.append((fit.fit.seed, last.name, list(choices)))
            return real(fit, samples, choices, **options)

        monkeypatch.setattr(run, name, spy)
    return parts


@pytest.fixture
def scored(computed):
    """The same without the scores."""
    return Scored(computed)


class Scored:
    """A list of seeds and sets, compared as one."""

    def __init__(self, parts):
        self.parts = parts

    def __eq__(self, other):
        return [part[:2] for part in self.parts] == other

    def __len__(self):
        return len(self.parts)

    def clear(self):
        self.parts.clear()
