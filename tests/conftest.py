"""What the tests of several rooms share: small files, small images, a tiny untrained CLIP, the folder of real data."""

from __future__ import annotations

import json
import os
from pathlib import Path

# One thread for each worker, before NumPy and torch start theirs: two workers with two each on two cores wait for one
# another (one test of GalLoP: 153 s instead of 8).
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
import yaml

from oodgrid import store

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared():
    """The folder of real data, which a user of the project does not have."""
    folder = Path(os.environ.get("OODGRID_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data in {folder}: set OODGRID_SHARED")
    return folder


@pytest.fixture
def make_features():
    """A builder of small feature files' contents: N samples of D dimensions in K classes."""

    def make(n=6, d=4, classes=3, seed=0, **changes):
        rng = np.random.default_rng(seed)
        made = {
            "image_features": rng.normal(size=(n, d)).astype(np.float32),
            "labels": np.arange(n, dtype=np.int32) % classes,
            "paths": [f"class {i % classes}/été {i}.jpg" for i in range(n)],
            "sha256": rng.integers(0, 256, (n, 32), dtype=np.uint8),
            "provenance": {"split": "test", "classnames": ["a", "b", "ç"], "normalised": False},
        }
        return store.Features(**{**made, **changes})

    return make


@pytest.fixture(scope="session")
def experiment_of():
    """A builder of small valid configurations, as parsed YAML, with parts exchanged."""

    def make(**changes):
        return {
            "experiment": "mini",
            "backbones": ["tiny"],
            "id_datasets": [{"name": "concepts", "ood": {"near": ["concepts-unseen-shapes"], "far": ["noise"]}}],
            "methods": ["zero_shot", "tip_adapter"],
            "shots": [1, 2],
            "seeds": [1],
            "scores": ["mcm", "knn"],
            **changes,
        }

    return make


@pytest.fixture
def write_yaml(tmp_path):
    def write(thing, name="config.yaml"):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(thing, allow_unicode=True), encoding="utf-8")
        return path

    return write


ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """A tiny CLIP of random weights: fields of a backbone entry, whose weights are a .pt file of the user's own."""
    open_clip = pytest.importorskip("open_clip")
    import torch

    folder = tmp_path_factory.mktemp("untrained")
    (folder / "test-tiny.json").write_text(json.dumps(ARCHITECTURE))
    open_clip.add_model_config(folder / "test-tiny.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("test-tiny").state_dict(), folder / "weights.pt")
    return {
        "name": "untrained",
        "model": "test-tiny",
        "model_config_file": str(folder / "test-tiny.json"),
        "pretrained": str(folder / "weights.pt"),
    }


def pytest_collection_modifyitems(items):
    """Put whole runs first: they take longest, and workers then end together."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)
