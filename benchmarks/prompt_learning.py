"""A training step of CoOp, CoCoOp and LoCoOp here, beside the official way, in one process on the same numbers.

The official way: every prompt at all 77 positions through open_clip's own layers at every step (CoCoOp: for every
image), and the image encoder on every view. Here: cached features, and the text tower of oodgrid/adapt/text_tower.
Random ViT-B/16 weights, ImageNet's names, 16 context tokens (CoCoOp: 4), fp32. For 1000 classes the official step would
keep 25 GB for its gradient; it is measured as ten steps of 100 classes, one after the other, which is no slower.

Prints a table; writes benchmarks/prompt_learning.json. On a GPU it measures there.

    python benchmarks/prompt_learning.py
"""

from __future__ import annotations

import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe
from open_clip import IMAGENET_CLASSNAMES

from oodgrid.adapt import text_tower
from oodgrid.adapt.methods.locoop import background_entropies
from oodgrid.adapt.prompt_learning import Batch
from oodgrid.adapt.text_tower.plain import PlainTower
from oodgrid.config import Backbone

ROOT = Path(__file__).parents[1]
BATCH, PATCHES, CLASSES, REPEATS = 32, 196, (100, 1000), 5


def main() -> None:
    """Measure, print and write down."""
    backbone = Backbone(name="random", model="ViT-B-16-quickgelu", pretrained="random")
    tower = text_tower.load(backbone)
    tower.embedding.weight.mul_(20)  # so that random prompts differ
    images = seconds_of(lambda: encode_views(tower, BATCH), 2)
    rows = [measure(tower, method, classes, images) for classes in CLASSES for method in ("coop", "cocoop", "locoop")]
    header = (
        f"{'method':8}{'classes':>8}{'official, s':>13}{'of it images':>14}{'here, s':>9}{'ratio':>8}{'text ratio':>12}"
    )
    print(f"{header}{'embeddings':>12}{'gradient':>10}")
    for row in rows:
        text = row["official"] - row["images"]
        print(
            f"{row['method']:8}{row['classes']:13}{row['official']:13.2f}{row['images']:13.2f}{row['here']:13.3f}"
            f"{row['official'] / row['here']:13.1f}{text / row['here']:13.1f}"
            f"{row['embedding_error']:13.1e}{row['gradient_error']:13.1e}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of the process, both ways: {peak:.0f} MB")
    result = {"machine": describe() | {"device": tower.device}, "batch": BATCH, "steps": rows, "peak_mb": peak}
    (ROOT / "benchmarks" / "prompt_learning.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(tower: text_tower.TextTower, method: str, classes: int, images: float) -> dict:
    """Return the seconds of a step both ways, and how far embeddings and gradients are apart."""
    names = IMAGENET_CLASSNAMES[:classes]
    generator = torch.Generator().manual_seed(0)
    batch = 1 if method == "cocoop" else BATCH
    x, local = (torch.nn.functional.normalize(torch.randn(shape, generator=generator), dim=-1).to(tower.device)
                for shape in ((batch, 512), (batch, PATCHES, 512)))  # fmt: skip
    labels = torch.randint(classes, (batch,), generator=generator).to(tower.device)
    context = 0.02 * torch.randn(4 if method == "cocoop" else 16, 512, generator=generator).to(tower.device)
    prompts = tower.prompts(names)

    def loss_of(embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        made = Batch(x, labels, embeddings, embeddings, 100.0, lambda: local)
        if method != "locoop":
            return made.cross_entropy
        entropies, _ = background_entropies(made, None)
        return made.cross_entropy - 0.25 * (entropies.mean() if len(entropies) else 0)

    def here() -> tuple[torch.Tensor, torch.Tensor]:
        leaf = context.clone().requires_grad_(True)
        embeddings = tower.encode_each(leaf[None], prompts)[0] if method == "cocoop" else tower.encode(leaf, prompts)
        loss_of(embeddings, labels).backward()
        return embeddings.detach(), leaf.grad

    def official(names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = context.clone().requires_grad_(True)
        embeddings = whole(tower, names, leaf)
        loss_of(embeddings, labels % len(names)).backward()
        return embeddings.detach(), leaf.grad

    few = names[:100]
    exact = official(few)  # which also warms up
    parts = [names[start : start + 100] for start in range(0, classes, 100)]
    image_seconds = images if batch == BATCH else images / BATCH
    few_prompts, leaf = tower.prompts(few), context.clone().requires_grad_(True)
    made = tower.encode(leaf, few_prompts)
    loss_of(made, labels % 100).backward()
    return {
        "method": method,
        "classes": classes,
        "images": image_seconds,
        "official": image_seconds + sum(seconds_of(lambda part=part: official(part), 1) for part in parts),
        "here": seconds_of(here, REPEATS),
        "embedding_error": float((made.detach() - exact[0]).abs().max()),
        "gradient_error": float((leaf.grad - exact[1]).abs().max() / exact[1].abs().max()),
    }


def whole(tower: text_tower.TextTower, names: list[str], context: torch.Tensor) -> torch.Tensor:
    """Return normalised embeddings of whole prompts, without computing anything a second time."""
    plain = PlainTower(tower.loaded)
    tokens, marked = plain._tokens(plain.prompts(names), len(context))
    made = plain._whole(tokens, marked, context.expand(len(names), -1, -1))
    return torch.nn.functional.normalize(made, dim=-1)


def encode_views(tower: text_tower.TextTower, count: int) -> torch.Tensor:
    """Pass views through the image encoder, as the official code does at every step."""
    with torch.no_grad():
        return tower.loaded.model.encode_image(torch.zeros(count, 3, 224, 224, device=tower.device))


def seconds_of(way: Callable, repeats: int) -> float:
    """Return the median seconds, after one call that warms up where there are several."""
    if repeats > 1:
        way()
    times = []
    for _ in range(repeats):
        _wait()
        start = time.perf_counter()
        way()
        _wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
