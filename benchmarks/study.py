"""What the study of Ming & Li costs in hours and bytes, from measured rates and by simple arithmetic.

Rates of one core are those of benchmarks/{encode,decode,prompt_learning,scale}.json. Those of a GPU are projected: the
arithmetic that a core needed its seconds for, at half of what an H100's data sheet says of float32, and no faster than
16 cores decode. Nothing here was run at this size; prints the table of docs/costs.md.

    python benchmarks/study.py
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SETS = {  # classes, images of all splits, test images
    "imagenet": (1000, 1_331_167, 50_000),
    "caltech101": (100, 8_242, 2_465),
    "food101": (101, 101_000, 30_300),
    "stanford_cars": (196, 16_185, 8_041),
    "oxford_pets": (37, 7_349, 3_669),
}
DRAWN = {"imagenet": (1_281_167, True), "food101": (50_500, False)}  # train: drawn: images, and whether val is of them
OOD = 35_640  # iNaturalist, SUN, Places, Textures
GMACS = {"B/32": 4.4, "B/16": 17.6, "L/14": 81.0}  # an image: 10^9 multiply-adds of the tower, counted from its layers
TEXT = {"B/32": 1.0, "B/16": 1.0, "L/14": 6.65 / 2.98}  # a text, against those that were measured
WIDTH = {"B/32": 512, "B/16": 512, "L/14": 768}
SHOTS, SEEDS = (1, 2, 4, 8, 16), 3
EPOCHS = {1: 50, 2: 100, 4: 100, 8: 200, 16: 200}  # CoOp's
VIEWS = 10  # of two families
H100 = 0.5 * 67e12  # float32 operations a second that are hoped for
CORES = 16  # beside one GPU


@dataclass(frozen=True)
class Rates:
    """Of one core: operations and decoded images a second; seconds of a step: with no class, for each class."""

    operations: float
    decoded: float
    coop: tuple[float, float]
    cocoop: tuple[float, float]
    scored: float


def rates() -> Rates:
    """Return what was measured."""
    read = {
        name: json.loads((HERE / f"{name}.json").read_text())
        for name in ("encode", "decode", "prompt_learning", "scale")
    }
    model = read["encode"]["seconds"]["the model alone on prepared batches, and the texts"]
    operations = 2 * GMACS["B/32"] * 1e9 * read["encode"]["images"] / model / read["encode"]["machine"]["cpus"]
    photos = read["decode"]["speed"]["ImageNet size (466x390)"]
    steps = {(row["method"], row["classes"]): row["here"] for row in read["prompt_learning"]["steps"]}
    stage = read["scale"]["together"]
    return Rates(
        operations,
        photos["open_clip's transform on Pillow (peers, reference)"],  # of one core
        _line(steps["coop", 100], steps["coop", 1000]),
        _line(steps["cocoop", 100], steps["cocoop", 1000]),
        stage["rows"]["cpu_s"] / (stage["rows"]["samples"] * stage["sizes"]["classes"]),
    )


def _line(at_100: float, at_1000: float) -> tuple[float, float]:
    slope = (at_1000 - at_100) / 900
    return at_100 - 100 * slope, slope


def hours(backbone: str, rate: Rates) -> dict[str, tuple[float, float]]:
    """Return core hours and GPU hours of the parts of the study with one backbone."""
    images = encoded()
    views = 2 * VIEWS * sum(sum(SHOTS) * SEEDS * classes for classes, _, _ in SETS.values())  # draws may share images
    parts = {
        "encode images": _through(images, backbone, rate),
        "encode views of the draws, at most": _through(views, backbone, rate),
        "CoOp: fits": _text(_coop(rate), backbone, rate),
        "CoCoOp: fits": _text(_cocoop(rate), backbone, rate),
        "CoCoOp: prompts of all test images": _text(_applied(rate), backbone, rate),
    }
    scored = sum((test + OOD) * classes for classes, _, test in SETS.values()) * len(SHOTS) * SEEDS * 3
    parts["33 scores of every fit, on CPUs"] = (scored * rate.scored / 3600, 0.0)
    return parts


def encoded() -> int:
    """Return how many images are encoded, at most: draws may share some."""
    return whole() - sum(train - drawn(name) for name, (train, _) in DRAWN.items())


def whole() -> int:
    """Return how many images there are, which are encoded without `train: drawn`."""
    return sum(count for _, count, _ in SETS.values()) + OOD


def drawn(name: str) -> int:
    """Return how many training images of a set the draws take, at most."""
    train, with_val = DRAWN[name]
    of_class = sum(shots + (min(shots, 4) if with_val else 0) for shots in SHOTS)
    return min(train, of_class * SEEDS * SETS[name][0])


def _through(images: int, backbone: str, rate: Rates) -> tuple[float, float]:
    operations = 2 * GMACS[backbone] * 1e9
    core = images * (operations / rate.operations + 1 / rate.decoded)
    return core / 3600, images * max(operations / H100, 1 / (CORES * rate.decoded)) / 3600


def _text(core_seconds: float, backbone: str, rate: Rates) -> tuple[float, float]:
    seconds = core_seconds * TEXT[backbone]
    return seconds / 3600, seconds * rate.operations / H100 / 3600


def _coop(rate: Rates) -> float:
    """Return core seconds of all fits."""
    return sum(
        SEEDS * EPOCHS[shots] * max(1, shots * classes // 32) * (rate.coop[0] + rate.coop[1] * classes)
        for classes, _, _ in SETS.values()
        for shots in SHOTS
    )


def _cocoop(rate: Rates) -> float:
    return sum(
        SEEDS * 10 * shots * classes * (rate.cocoop[0] + rate.cocoop[1] * classes)
        for classes, _, _ in SETS.values()
        for shots in SHOTS
    )


def _applied(rate: Rates) -> float:
    """Return core seconds: a pass forward is a third of a step."""
    return sum(
        len(SHOTS) * SEEDS * (test + OOD) * (rate.cocoop[0] + rate.cocoop[1] * classes) / 3
        for classes, _, test in SETS.values()
    )


def main() -> None:
    """Print the table."""
    rate = rates()
    print(f"At most {encoded():,} images.")
    print(f"One core: {rate.operations / 1e9:.0f} · 10^9 operations/s, {rate.decoded:.0f} images/s decoded and cut.\n")
    print("| part | " + " | ".join(f"{name}: core h, GPU h" for name in GMACS) + " |")
    print("|---|" + "---|" * len(GMACS))
    table = {name: hours(name, rate) for name in GMACS}
    for part in table["B/32"]:
        cells = (f"{table[name][part][0]:,.0f}, {table[name][part][1]:,.1f}" for name in GMACS)
        print(f"| {part} | {' | '.join(cells)} |")
    sums = {name: [sum(part[k] for part in table[name].values()) for k in (0, 1)] for name in GMACS}
    print("| together | " + " | ".join(f"{core:,.0f}, {gpu:,.1f}" for core, gpu in sums.values()) + " |")
    print("| features on the disk | " + " | ".join(_size(encoded(), name) for name in WIDTH) + " |\n")
    for name, (train, _) in DRAWN.items():
        print(f"Of the {train:,} training images of {name} the draws take {drawn(name):,} at most.")
    core, _ = _through(whole(), "B/32", rate)
    print(f"With whole training splits: {whole():,} images, {core:.0f} core hours for B/32, {_size(whole(), 'B/32')}.")


def _size(images: int, backbone: str) -> str:
    return f"{images * (WIDTH[backbone] * 4 + 60) / 1e9:.1f} GB"


if __name__ == "__main__":
    main()
