"""Three seeds of one method in one batched pass, beside one after the other, on the same draws and the same numbers.

A step of the stacked way takes a batch of every seed at once: parameters, features and losses have the seed as their
first axis, matrix products become batched ones, and the losses are added up, so that every seed's gradient is its own.
CLIP-Adapter and ZS-LP at real shapes (16 shots, 100 classes, 512 dimensions; Gaussian features); CoOp on the demo's
tiny text tower with its 24 classes, and on that of ViT-B/16 with 100. CPU time of one thread, which other work on the
machine hardly changes. Prints a table; writes benchmarks/batched_seeds.json. Takes five minutes.

    python benchmarks/batched_seeds.py
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe
from open_clip import IMAGENET_CLASSNAMES

from oodgrid import catalogue, text_tower
from oodgrid.adapt.methods.clip_adapter import ClipAdapter
from oodgrid.adapt.training import batches, coop_learning_rate
from oodgrid.config import Backbone
from oodgrid.encode.concept_world import GROUPS

ROOT = Path(__file__).parents[1]
SEEDS, SHOTS, WIDTH, REPEATS = (1, 2, 3), 16, 512, 5
Loss = Callable[[list[torch.Tensor], torch.Tensor, torch.Tensor], torch.Tensor]


def main() -> None:
    """Measure, print and write down."""
    torch.set_num_threads(1)
    tiny = Backbone(name="tiny", **catalogue.entry("backbone", "tiny"))
    large = Backbone(name="random", model="ViT-B-16-quickgelu", pretrained="random")
    cases = clip_adapter(), zs_lp(), coop(tiny, list(GROUPS["id"]), 10), coop(large, IMAGENET_CLASSNAMES[:100], 3)
    rows = [measure(*case) for case in cases]
    print(f"{'method':14}{'one by one, ms a step':>24}{'stacked':>10}{'ratio':>8}{'apart by':>12}")
    for row in rows:
        print(
            f"{row['method']:14}{1e3 * row['one_by_one']:24.2f}{1e3 * row['stacked']:10.2f}"
            f"{row['one_by_one'] / row['stacked']:8.2f}{row['apart']:12.1e}"
        )
    result = {"machine": describe() | {"threads": torch.get_num_threads()}, "seeds": len(SEEDS), "rows": rows}
    (ROOT / "benchmarks" / "batched_seeds.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def clip_adapter() -> tuple:
    """Return the case of CLIP-Adapter: its name, first parameters of every seed, loss, classes, batch, epochs, rate."""
    made, text = ClipAdapter(), prototypes(100)

    def loss(weights: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        first, second = (weight.transpose(-1, -2) for weight in weights)
        changed = made.ratio * (x @ first).relu().matmul(second).relu() + (1 - made.ratio) * x
        return cross_entropy(100 * torch.nn.functional.normalize(changed, dim=-1) @ text.T, y)

    starts = [made._initial(WIDTH, torch.Generator().manual_seed(seed)) for seed in SEEDS]
    return "clip_adapter", starts, loss, 100, WIDTH, made.batch, 6, made.lr


def zs_lp() -> tuple:
    """Return the case of ZS-LP."""
    text = 10 * prototypes(100)

    def loss(weights: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        normal = torch.nn.functional.normalize(weights[0], dim=-1)
        return cross_entropy(100 * torch.nn.functional.normalize(x, dim=-1) @ normal.transpose(-1, -2), y)

    return "zs_lp", [[text.clone()] for _ in SEEDS], loss, 100, WIDTH, 256, 40, 0.1


def coop(backbone: Backbone, names: list[str], epochs: int) -> tuple:
    """Return the case of CoOp on the text tower of a backbone."""
    tower = text_tower.load(backbone)
    prompts = tower.prompts(names)

    def loss(contexts: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        stacked = contexts[0].ndim == 3
        encoded = tower.encode_each(contexts[0], prompts) if stacked else tower.encode(contexts[0], prompts)
        logits = tower.logit_scale * torch.nn.functional.normalize(x, dim=-1) @ encoded.transpose(-1, -2)
        return cross_entropy(logits, y)

    starts = [[0.02 * torch.randn(16, tower.width, generator=torch.Generator().manual_seed(seed))] for seed in SEEDS]
    width = tower.encode(starts[0][0], prompts).shape[1]
    batch = 32 if backbone.name == "tiny" else SHOTS * len(names)  # of the large one three steps are enough to see
    return f"coop, {backbone.name}", starts, loss, len(names), width, batch, epochs, 0.0005


def measure(
    name: str, starts: list, loss: Loss, classes: int, width: int, batch: int, epochs: int, rate: float
) -> dict[str, float | str]:
    """Return the seconds a step of all seeds, both ways, the best of some runs in turn, and how far they end apart."""
    data = [shots(classes, width, seed) for seed in SEEDS]
    seconds: dict[str, list[float]] = {"one_by_one": [], "stacked": []}
    for _ in range(REPEATS):
        start = time.process_time()
        alone = [trained(first, loss, *one, batch, epochs, rate, [seed])
                 for first, one, seed in zip(starts, data, SEEDS, strict=True)]  # fmt: skip
        middle = time.process_time()
        first = [torch.stack(values).detach() for values in zip(*starts, strict=True)]
        x, y = (torch.stack(values) for values in zip(*data, strict=True))
        together = trained(first, loss, x, y, batch, epochs, rate, SEEDS)
        seconds["one_by_one"].append(middle - start)
        seconds["stacked"].append(time.process_time() - middle)
    steps = epochs * (SHOTS * classes // batch)
    apart = [
        float((stacked[row] - lone[number]).abs().max() / (lone[number] - starts[row][number].detach()).abs().max())
        for row, lone in enumerate(alone)
        for number, stacked in enumerate(together)
    ]
    return {"method": name, "apart": max(apart), **{way: min(found) / steps for way, found in seconds.items()}}


def trained(
    first: list[torch.Tensor],
    loss: Loss,
    x: torch.Tensor,
    y: torch.Tensor,
    batch: int,
    epochs: int,
    rate: float,
    seeds: tuple[int, ...],
) -> list[torch.Tensor]:
    """Return parameters after CoOp's descent, of one seed (n, D) or of several stacked (S, n, D)."""
    parameters = [value.detach().clone().requires_grad_(True) for value in first]
    optimiser = torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=5e-4)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    count, places = x.shape[-2], torch.arange(len(seeds))[:, None]
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = coop_learning_rate(epoch, epochs, rate)
        for rows in zip(*(batches(count, batch, generator) for generator in generators), strict=True):
            chosen = rows[0] if x.ndim == 2 else (places, torch.stack(rows))
            optimiser.zero_grad(set_to_none=True)
            loss(parameters, x[chosen], y[chosen]).backward()
            optimiser.step()
    return [parameter.detach() for parameter in parameters]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean over a batch, summed over seeds."""
    seeds = 1 if logits.ndim == 2 else len(logits)
    return seeds * torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


def prototypes(classes: int) -> torch.Tensor:
    """Return unit vectors, shape (K, D)."""
    return torch.nn.functional.normalize(torch.randn(classes, WIDTH, generator=torch.Generator().manual_seed(0)), dim=1)


def shots(classes: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of norms near 10 and labels of one seed."""
    labels = torch.arange(classes).repeat_interleave(SHOTS)
    noise = torch.randn(len(labels), width, generator=torch.Generator().manual_seed(seed))
    return noise * 10 / width**0.5, labels


if __name__ == "__main__":
    main()
