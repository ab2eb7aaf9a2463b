"""A small experiment that was run, with an untrained CLIP and images that are files."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from oodgrid import config, paths
from oodgrid.cli import main

CLASSES = ("red fox", "sea otter", "owl")
COUNTS = {"train": 6, "val": 5, "test": 7}  # images a class; 21 for testing: an odd number, as of no block
METHODS = [
    "zero_shot",
    "linear_probe",
    {"name": "coop", "init": "a photo of a", "epochs": 1},
    "tip_adapter",
    {"name": "clip_adapter", "epochs": 2},
    {"name": "cocoop", "epochs": 1},
    {"name": "gallop", "epochs": 1},
    {"name": "neg_prompt", "epochs": 1},
]
SCORES = [
    "mcm", {"name": "mcm", "T": 0.5}, "energy", "mahalanobis", {"name": "knn", "k": 1},
    {"name": "knn", "bank": "train"}, {"name": "react", "bank": 4},
    "react", "kl_matching", "gl_mcm", "tag", "neg_prompt", {"name": "neglabel", "labels": "others"},
    {"name": "adaneg", "labels": "others"},
]  # fmt: skip


OTHERS = [
    "table",
    "glass",
    "engine",
    "cloud",
    "river",
    "stone",
    "lamp",
    "paper",
    "bridge",
    "window",
    "carpet",
    "bottle",
]


def picture(rng, colour):
    pixels = np.clip(colour + rng.normal(0, 60, size=(40, 44, 3)), 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def write_images(folder, rng):
    colours = dict(zip(CLASSES, ((200, 60, 20), (40, 60, 200), (120, 120, 60)), strict=True))
    for split, count in COUNTS.items():
        for name, colour in colours.items():
            (folder / "id" / split / name).mkdir(parents=True)
            for number in range(count):
                picture(rng, np.array(colour)).save(folder / "id" / split / name / f"{split} {number}.png")
    (folder / "ood").mkdir()
    for number in range(9):
        picture(rng, rng.integers(0, 255, 3)).save(folder / "ood" / f"été <b>{number}&.png")


@pytest.fixture(scope="session")
def world(tmp_path_factory, untrained):
    """The folder of images, the configuration, and the results."""
    folder = tmp_path_factory.mktemp("detector")
    write_images(folder, np.random.default_rng(0))
    splits = {split: split for split in COUNTS}
    own = {"name": "animals", "folder": str(folder / "id"), "split_folders": splits}
    ood = {"far": [{"name": "strange", "folder": str(folder / "ood")}]}
    experiment = {
        "experiment": "mini",
        "backbones": [{**untrained, "local_features": True}],
        "id_datasets": [{**own, "ood": ood}],
        "methods": METHODS,
        "shots": [2, 4],
        "seeds": [1],
        "scores": SCORES,
        "label_lists": [{"name": "others", "labels": OTHERS}],
    }
    results = folder / "results"
    planned = paths.planned(results, "mini", "abc")
    planned.parent.mkdir(parents=True)
    planned.write_text(yaml.safe_dump(experiment), encoding="utf-8")
    for verb in ("encode images", "encode texts", "adapt fit", "adapt apply", "score", "evaluate"):
        assert main([*verb.split(), "--config", str(planned), "--results", str(results)]) == 0, verb
    return SimpleNamespace(
        folder=folder, results=results, config=planned, experiment=config.load(planned),
        options=("--results", str(results)),
    )  # fmt: skip
