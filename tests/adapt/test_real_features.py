"""Published CLIP ViT-B/32 features: accuracies that others computed from them (data/README.md of the shared folder)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from oodgrid import registry
from oodgrid.adapt.contract import FitData, TextSide, accuracy

ROOT = Path(__file__).resolve().parents[2]
SHARED = (ROOT / os.environ.get("OODGRID_SHARED", "../shared")).resolve()
CACHES = SHARED / "data" / "clip_vitb32_features" / "tip_adapter_caches"

pytestmark = pytest.mark.skipif(not CACHES.is_dir(), reason=f"no features at {CACHES} (set OODGRID_SHARED)")


def load(name, file):
    import torch

    return torch.load(CACHES / name / file, map_location="cpu", weights_only=True).float().numpy()


def accuracy_of(name, method, **params):
    labels = load(name, "values_16shots.pt").argmax(axis=1)
    none = np.empty((0, 0), np.float32)
    data = FitData(
        text=TextSide(None, None, None), classes=int(labels.max()) + 1,
        train=np.ascontiguousarray(load(name, "keys_16shots.pt").T), train_labels=labels,
        val=none, val_labels=np.empty(0, np.int32), shots=16, seed=1,
    )  # fmt: skip
    made = registry.find("method", method).make(**params)
    classifier = made.classifier(made.fit(data).arrays, data.text)
    bias = 0 if classifier.bias is None else classifier.bias
    return accuracy(load(name, "test_f.pt") @ classifier.prototypes.T + bias, load(name, "test_l.pt"))


@pytest.mark.parametrize(("name", "expected"), [("caltech101", 0.914), ("oxford_pets", 0.750), ("fgvc", 0.320)])
def test_class_means_of_16_shots(name, expected):
    assert accuracy_of(name, "prototype") == pytest.approx(expected, abs=0.0005)


@pytest.mark.parametrize(("name", "expected"), [("caltech101", 0.938), ("oxford_pets", 0.807), ("fgvc", 0.369)])
def test_a_probe_of_16_shots(name, expected):
    """The published value stopped scikit-learn at its default tolerance; the optimum lies up to .003 away."""
    assert accuracy_of(name, "linear_probe", C=250) == pytest.approx(expected, abs=0.0035)
