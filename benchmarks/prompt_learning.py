"""A training step of CoOp, CoCoOp and LoCoOp here, beside the official way, in one process on the same numbers.

The official way: every prompt at all 77 positions through open_clip's own layers at every step (CoCoOp: for every
image), and the image encoder on every view. Here: cached features, and the text tower of oodgrid/text_tower.
Random ViT-B/16 weights, ImageNet's names, 16 context tokens (CoCoOp: 4), fp32. For 1000 classes the official step would
keep 25 GB for its gradient; it is measured as ten steps of 100 classes, one after the other, which is no slower.
Peak memory is that of a step here in a process of its own, above what the loaded tower takes.

On a CPU, the CPU time of one thread, which other work on the machine hardly changes; on a GPU, wall time there.
Prints a table; writes benchmarks/prompt_learning.json. Takes eight minutes.

    python benchmarks/prompt_learning.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe
from open_clip import IMAGENET_CLASSNAMES

from oodgrid import text_tower
from oodgrid.adapt.methods.locoop import background_entropies
from oodgrid.adapt.prompt_learning import Batch
from oodgrid.config import Backbone
from oodgrid.text_tower.plain import PlainTower

ROOT = Path(__file__).parents[1]
BATCH, PATCHES, CLASSES, REPEATS = 32, 196, (100, 1000), 3
METHODS = ("coop", "cocoop", "locoop")
_PROMPTS: dict[int, object] = {}


def main() -> None:
    """Measure, print and write down; or, given a method and a number of classes, print the memory of one step."""
    torch.set_num_threads(1)
    tower = text_tower.load(Backbone(name="random", model="ViT-B-16-quickgelu", pretrained="random"))
    tower.embedding.weight.mul_(20)  # so that random prompts differ
    if len(sys.argv) > 1:
        print(peak_of(tower, sys.argv[1], int(sys.argv[2])))
        return
    images = seconds_of(lambda: encode_views(tower, BATCH), 2)
    rows = [measure(tower, method, classes, images) for classes in CLASSES for method in METHODS]
    print(f"{'':18}{'official':>10}{'images':>8}{'here':>8}{'bf16':>8}{'ratio':>7}{'text only':>11}{'peak, MB':>10}")
    for row in rows:
        text = row["official"] - row["images"]
        print(
            f"{row['method']:8}{row['classes']:10}{row['official']:10.2f}{row['images']:8.2f}{row['here']:8.3f}"
            f"{row['here_bf16']:8.3f}{row['official'] / row['here']:7.1f}{text / row['here']:11.1f}"
            f"{row['peak_mb']:10.0f}   errors {row['embedding_error']:.1e} {row['gradient_error']:.1e}"
        )
    machine = describe() | {"device": tower.device, "threads": torch.get_num_threads()}
    result = {"machine": machine, "batch": BATCH, "steps": rows}
    (ROOT / "benchmarks" / "prompt_learning.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(tower: text_tower.TextTower, method: str, classes: int, images: float) -> dict:
    """Return the seconds of a step both ways, how far embeddings and gradients are apart, and the memory it takes."""
    names = IMAGENET_CLASSNAMES[:classes]
    here, official = ways(tower, method)
    few = names[:100]
    exact, gradient = official(few)  # which also warms up
    made, found = here(tower, few)
    parts = [names[start : start + 100] for start in range(0, classes, 100)]
    image_seconds = images / (BATCH if method == "cocoop" else 1)
    command = [sys.executable, __file__, method, str(classes)]
    return {
        "method": method,
        "classes": classes,
        "images": image_seconds,
        "official": image_seconds + sum(seconds_of(lambda part=part: official(part), 1) for part in parts),
        "here": seconds_of(lambda: here(tower, names), REPEATS),
        "here_bf16": seconds_of(lambda: here(tower.at("bf16"), names), REPEATS),
        "embedding_error": float((made - exact).abs().max()),
        "gradient_error": float((found - gradient).abs().max() / gradient.abs().max()),
        "peak_mb": float(subprocess.run(command, capture_output=True, check=True, text=True).stdout),
    }


def peak_of(tower: text_tower.TextTower, method: str, classes: int) -> float:
    """Return by how many MB the memory of this process grows when it first takes a step."""
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        ways(tower, method)[0](tower, IMAGENET_CLASSNAMES[:classes])
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far, which loading the model set
    before = _memory("VmRSS")
    ways(tower, method)[0](tower, IMAGENET_CLASSNAMES[:classes])
    return _memory("VmHWM") - before


def _memory(what: str) -> float:
    """Return a number of MB from /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024 / 1e6


def ways(tower: text_tower.TextTower, method: str) -> tuple[Callable, Callable]:
    """Return a step here, of a tower and names, and the official one, of names: embeddings and context gradient."""
    generator = torch.Generator().manual_seed(0)
    batch = 1 if method == "cocoop" else BATCH
    x, local = (torch.nn.functional.normalize(torch.randn(shape, generator=generator), dim=-1).to(tower.device)
                for shape in ((batch, 512), (batch, PATCHES, 512)))  # fmt: skip
    labels = torch.randint(max(CLASSES), (batch,), generator=generator).to(tower.device)
    context = 0.02 * torch.randn(4 if method == "cocoop" else 16, 512, generator=generator).to(tower.device)

    def stepped(encode: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = context.clone().requires_grad_(True)
        embeddings = encode(leaf)
        made = Batch(x, labels % len(embeddings), embeddings, embeddings, 100.0, lambda: local)
        loss = made.cross_entropy
        if method == "locoop":
            entropies, _ = background_entropies(made, None)
            loss = loss - 0.25 * (entropies.mean() if len(entropies) else 0)
        loss.backward()
        return embeddings.detach(), leaf.grad

    def here(tower: text_tower.TextTower, names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        prompts = prompts_of(tower, names)
        if method == "cocoop":
            return stepped(lambda leaf: tower.encode_each(leaf[None], prompts)[0])
        return stepped(lambda leaf: tower.encode(leaf, prompts))

    return here, lambda names: stepped(lambda leaf: whole(tower, names, leaf))


def prompts_of(tower: text_tower.TextTower, names: list[str]) -> object:
    """Return tokenised prompts, which a training makes once."""
    if len(names) not in _PROMPTS:
        _PROMPTS[len(names)] = tower.prompts(names)
    return _PROMPTS[len(names)]


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
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    if repeats > 1:
        way()
    times = []
    for _ in range(repeats):
        _wait()
        start = clock()
        way()
        _wait()
        times.append(clock() - start)
    return statistics.median(times)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
