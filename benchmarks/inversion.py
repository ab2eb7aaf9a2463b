"""What it costs to invert an image through a text tower, as the score `tins` does: 30 steps of AdamW for each.

The official way takes every prompt whole, at all its positions, through open_clip's layers (here PlainTower, which is
that way). Here: what stands before the learned token passes once, and at each step the token and what is behind it.
The tiny CLIP, and ViT-B/16's text tower with random weights; made-up images; CPU time of one thread. Prints a table;
writes benchmarks/inversion.json.

    OMP_NUM_THREADS=1 python benchmarks/inversion.py
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from machine import describe

from oodgrid import catalogue, text_tower
from oodgrid.config import Backbone
from oodgrid.text_tower.inversion import Inversion
from oodgrid.text_tower.plain import PlainTower

BACKBONES = {
    "tiny": (catalogue.entry("backbone", "tiny"), 256),
    "ViT-B/16": ({"model": "ViT-B-16-quickgelu", "pretrained": "random"}, 16),
}
WORDS = ["gradient", "red circle", "video game", "low resolution", "yellow"]
PLAIN = 2  # images of the official way


def main() -> None:
    """Measure, print and write down; backbones may be named."""
    rows = {}
    for name in sys.argv[1:] or BACKBONES:
        rows[name] = measured(*BACKBONES[name])
        print(f"{name:10}", *(f"{figure} {value}" for figure, value in rows[name].items()), flush=True)
    about = {"machine": describe(), "threads": 1, "steps": 30, "backbones": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def measured(entry: dict[str, object], count: int) -> dict[str, float]:
    """Return CPU seconds an image, both ways, their ratio, and how far the features are apart."""
    tower = text_tower.load(Backbone(name="measured", **entry), "cpu")
    ways = {"official": Inversion(PlainTower(tower.loaded), WORDS), "here": Inversion(tower, WORDS)}
    images = np.random.default_rng(0).normal(size=(count, ways["here"].features.shape[1]))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    figures, found = {}, {}
    for way, inversion in ways.items():
        given = images[:PLAIN] if way == "official" else images
        inversion.of(given[:2], steps=1, lr=0.02, decay=0.01)
        start = time.process_time()
        found[way] = inversion.of(given, steps=30, lr=0.02, decay=0.01)
        figures[way] = (time.process_time() - start) / len(given)
    figures["ratio"] = figures["official"] / figures["here"]
    figures["apart"] = float(np.abs(found["official"] - found["here"][:PLAIN]).max())
    return {name: float(f"{value:.3g}") for name, value in figures.items()}


if __name__ == "__main__":
    main()
