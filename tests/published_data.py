"""What the catalogue's experiments on ImageNet read, of a few tiny images and words, below one root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from oodgrid import config
from oodgrid.catalogue import real
from oodgrid.config import Experiment
from tests.encode.real_layouts import jpeg, locations, make, put

ROOT = Path(__file__).resolve().parents[1]
ON_IMAGENET = (
    "imagenet-far-near", "imagenet-full-spectrum", "imagenet-x", "mcm-four-ood", "negative-texts-four-ood",
    "openood-vlm", "openood-vlm-few-shot", "openood-vlm-reneg", "openood-vlm-streams", "prompt-learning-four-ood",
    "tins",
)  # fmt: skip
ADJECTIVES = ("adj.all", "adj.pert", "adj.ppl")


def written(name: str, root: Path, **changes: Any) -> dict[str, Any]:
    """Return a catalogue experiment as its file has it, but for trials: four images a split, below that root."""
    text = (ROOT / "experiments" / f"{name}.yaml").read_text(encoding="utf-8")
    return {**yaml.safe_load(text.replace("${OODGRID_DATA:-data}", str(root))), "limit": 4, **changes}


def lay_out(names: list[str], root: Path) -> list[Experiment]:
    """Put there all that some experiments read, each image with bytes of its own, and return them."""
    put(
        root / "EOE/far_500/ImageNet_gpt-3.5-turbo-16k_0.json",
        json.dumps({"far": ["Kelp forest", "tench", "lava tube"]}),
    )
    entry = written("openood-vlm", root)["label_lists"][0]["lexicographer"]
    for number, lexname in enumerate(entry["lexnames"]):
        words = [f"{'dim' if lexname in ADJECTIVES else 'rock'} {lexname.split('.')[1]} {word}" for word in range(8)]
        put(root / f"NegLabel/txtfiles/{lexname}.txt", "\n".join([*words, "shared word", f"only {number}"]) + "\n")
    for pool in ("reneg-blind", "reneg-full"):
        put(root / f"{pool}.csv", "label,kind\nsnow leopard,big cat\nfur seal,seal\n")
    listed = [f"imagenet_c/fog/{level}/n01440764/{level}.JPEG" for level in range(1, 6)]
    put(root / "benchmark_imglist/imagenet/test_imagenet_c.txt", "".join(f"{name} 0\n" for name in listed))
    for name in listed:
        put(root / "images_largescale" / name)
    experiments = [config.parse(written(name, root)) for name in names]
    sets = {dataset.real_name for each in experiments for dataset in each.datasets() if dataset.root}
    for name in sorted(sets | {real.real_set(name).parent or name for name in sets}):
        make(next(locations(root, name)))
    for number, path in enumerate(sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))):
        path.write_bytes(jpeg(number) if number < 400 else path.read_bytes() + str(number).encode())
    return experiments
