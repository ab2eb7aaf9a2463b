"""Few-shot data for methods, a small random CLIP for prompt learners, and a miniature results folder for the rules."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from oodgrid import config, paths, store
from oodgrid.adapt.contract import FitData, TextSide

NAMES = ["red fox", "sea_otter", "snow leopard", "owl"]
WIDTH = 16  # of the joint space
BACKBONE = "mini-clip"


def unit_norm(values):
    values = np.asarray(values, dtype=np.float64)
    return values / np.sqrt((values**2).sum(axis=-1, keepdims=True))


def features_of(labels, seed, spread=0.6):
    """Return features around class centres that are the same in all splits, with norms far from 1."""
    centres = np.random.default_rng(0).normal(size=(10, WIDTH))
    rng = np.random.default_rng(seed)
    values = centres[labels] + spread * rng.normal(size=(len(labels), WIDTH))
    return (values * rng.uniform(2, 10, size=(len(labels), 1))).astype(np.float32)


@pytest.fixture
def few_shot():
    """Return a function that makes what a method is given, around `shots` images of each of `classes` classes."""

    def make(shots=4, classes=3, val_shots=4, seed=1, spread=0.6, tower=None, names=None, **changes):
        labels = np.repeat(np.arange(classes), shots).astype(np.int32)
        val_labels = np.repeat(np.arange(classes), val_shots).astype(np.int32)
        text = unit_norm(features_of(np.arange(classes), seed=55)).astype(np.float32)
        given = {
            "text": TextSide(text, names or NAMES[:classes], lambda: tower),
            "classes": classes,
            "train": features_of(labels, 11, spread),
            "train_labels": labels,
            "val": features_of(val_labels, 12, spread) if val_shots else np.empty((0, 0), np.float32),
            "val_labels": val_labels,
            "shots": shots,
            "seed": seed,
        }
        return FitData(**{**given, **changes})

    return make


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    """Return the configuration of a small CLIP with random weights, all of whose files are written here."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("backbone")
    sizes = {
        "embed_dim": WIDTH,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    }
    architecture = folder / f"{BACKBONE}.json"
    architecture.write_text(json.dumps(sizes))
    open_clip.add_model_config(architecture)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = open_clip.create_model(BACKBONE).state_dict()
        for name, values in weights.items():  # at the size of its initial values all prompts would look the same
            if "token_embedding" in name or "positional" in name:
                values.mul_(20)
    torch.save(weights, folder / "weights.pt")
    return {
        "name": "mini",
        "model": BACKBONE,
        "pretrained": str(folder / "weights.pt"),
        "model_config_file": str(architecture),
    }


@pytest.fixture(scope="session")
def tower(backbone):
    from oodgrid import text_tower

    return text_tower.load(config.Backbone(**backbone))


class Mini:
    """Features and texts of one ID set and two OOD sets, as encode would have left them."""

    def __init__(self, results: Path, backbone: dict[str, str]) -> None:
        self.results, self.backbone = results, backbone
        self.features("pets", "train", np.tile(np.arange(4), 10), 1)
        self.features("pets", "val", np.tile(np.arange(4), 6), 2)
        self.features("pets", "test", np.tile(np.arange(4), 5), 3)
        self.features("cars", "test", np.tile([0, 1], 4), 4, spread=2)
        self.features("noise", "test", np.zeros(6, dtype=int), 5, spread=3)
        rng = np.random.default_rng(9)
        values = 3 * unit_norm(features_of(np.arange(4), 6))[None] + 0.3 * rng.normal(size=(2, 4, WIDTH))
        self.texts(values.astype(np.float32))

    def features(self, name, split, labels, seed, spread=0.6, draws=None, width=WIDTH, **provenance):
        values = features_of(labels, seed, spread)[:, :width]
        rows = [f"{name}/{split}/{row}" for row in range(len(labels))]
        path = paths.features(self.results, "mini", name, split)
        digests = np.zeros((len(labels), 32), np.uint8)
        store.write_features(path, store.Features(values, np.asarray(labels), rows, digests, provenance, draws))
        return path

    def texts(self, values, names=NAMES):
        templates = [f"{number} {{}}" for number in range(len(values))]
        path = paths.texts(self.results, "mini", "pets")
        store.write_texts(path, store.Texts(values, list(names), templates, {}))
        return path

    def read(self, name, split="test"):
        return store.read_features(paths.features(self.results, "mini", name, split))

    def experiment(
        self, *methods, shots=(2,), seeds=(1,), far=("cars",), imported=False, scores=("mcm",), **id_dataset
    ):
        """Return an experiment of one ID set, either with splits that encode makes or imported."""
        source = {"imported": {}} if imported else {"folder": "unused", "splits": {"train": 10, "val": 6}}
        far = [{"name": name, "folder": f"unused-{name}"} for name in far]
        return config.parse(
            {
                "experiment": "mini",
                "backbones": [self.backbone],
                "id_datasets": [{"name": "pets", **source, "ood": {"far": far}, **id_dataset}],
                "methods": list(methods),
                "scores": list(scores),
                "shots": list(shots),
                "seeds": list(seeds),
            }
        )

    def kept(self, rule):
        """Return what lies below kept/, with its times of change."""
        files = (self.results / "kept" / rule).rglob("*.safetensors")
        return {path.relative_to(self.results).as_posix(): path.stat().st_mtime_ns for path in files}


@pytest.fixture
def mini(tmp_path, backbone):
    return Mini(tmp_path / "results", backbone)
