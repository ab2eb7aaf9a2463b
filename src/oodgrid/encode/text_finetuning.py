"""Fine-tuning an encoder of texts on the classes of an ID set; what comes out is one more backbone.

The recipe is that of Uppaal, Hu & Li (ACL 2023), read in their code (github.com/Uppaal/lm-ood, `src/model.py` and
`src/run_ood_detection.py`): behind the pooled tokens z a head, dropout, a layer of their width, tanh, dropout and a
layer of K logits; the loss `cross_entropy` · CE(logits) + `contrast` · SupCon(z); AdamW, no weight decay of what
is called `bias` or `LayerNorm.weight`, the rate falling linearly to zero over all steps; each epoch in another order,
without a last batch that is not full. The last epoch counts, nothing is selected. The head is not kept: scores see z.

Deviations: a batch is padded to what its longest text needs and not to `max_length` (but under pooling
`mean_with_padding`, where padding counts); a last batch is taken if it is the only one; gradients are not checkpointed.
AdamW is torch's, not transformers', which takes the decay after its step and not before. Texts are cut at the
backbone's `max_length`, not at their 256 tokens. What is spared of decay goes by their two words in the names of
parameters, so that norms of other names, as GPT-2's `ln_1.weight`, decay as theirs would. Texts that stand in the
validation or the test split too are left out.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from oodgrid import backbones, store
from oodgrid.backbones import LoadedBackbone, text_folders
from oodgrid.backbones.text_network import PADDING, TextModel, to_length
from oodgrid.config import Backbone, Dataset
from oodgrid.counts import counted
from oodgrid.encode.images import identify
from oodgrid.encode.sources import ImageSet, open_splits
from oodgrid.encode.sources.checking import report_remarks
from oodgrid.encode.text_samples import with_cuts
from oodgrid.errors import OodgridError, brief
from oodgrid.fewshot import count_remarks, draw
from oodgrid.labels import has_class
from oodgrid.progress import progress

RECORD = "finetuning.json"  # in the folder: from what, on what and how
UNDECAYED = ("bias", "LayerNorm.weight")  # in names of parameters
MOST = {"epochs": 100_000, "batch": 100_000}  # whole numbers
INITIAL = 0.02  # deviation of the head's weights at the start, where the network's settings say none


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune; the defaults are those of Uppaal et al.'s code.

    Attributes:
        epochs: Passes over the training texts; 0 leaves the network as it is.
        lr: Learning rate at the start.
        batch: Texts a step.
        weight_decay: Of AdamW.
        cross_entropy: Weight of the cross entropy.
        contrast: Weight of the supervised contrastive loss.
        tau: Its temperature.
    """

    epochs: int = 10
    lr: float = 1e-5
    batch: int = 4
    weight_decay: float = 0.01
    cross_entropy: float = 1.0
    contrast: float = 2.0
    tau: float = 0.3

    def check(self) -> None:
        """Refuse what is out of range.

        Raises:
            OodgridError: Naming the option.
        """
        for name, value in asdict(self).items():
            least, most = {"batch": 1, "tau": 1e-6}.get(name, 0), MOST.get(name, sys.float_info.max)
            wanted = "whole number" if name in MOST else "number"
            is_one = isinstance(value, int if name in MOST else (int, float)) and not isinstance(value, bool)
            if not (is_one and least <= value <= most):
                until = f"to {most:,}" if name in MOST else "on"
                option = f"--{name.replace('_', '-')} {brief(value)}"
                raise OodgridError(f"{option}: give a {wanted} from {least} {until}")
        if self.epochs and not (self.cross_entropy or self.contrast):
            raise OodgridError("--cross-entropy and --contrast are both 0: there is nothing to learn")


class Head(torch.nn.Module):
    """From pooled tokens (N, D) to logits (N, K): dropout, a layer, tanh, dropout, a layer."""

    def __init__(self, width: int, classes: int, dropout: float, deviation: float) -> None:
        super().__init__()
        self.dense, self.out = torch.nn.Linear(width, width), torch.nn.Linear(width, classes)
        self.dropout = torch.nn.Dropout(dropout)
        for layer in (self.dense, self.out):
            torch.nn.init.normal_(layer.weight, std=deviation)
            torch.nn.init.zeros_(layer.bias)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (N, K), of pooled tokens, shape (N, D)."""
        return self.out(self.dropout(torch.tanh(self.dense(self.dropout(z)))))


def supcon(z: torch.Tensor, labels: torch.Tensor, tau: float) -> torch.Tensor:
    """Return the supervised contrastive loss as Uppaal et al.'s code has it.

    With p_ij = exp(cos(z_i, z_j) / tau) / sum over k ≠ i of exp(cos(z_i, z_k) / tau), it is the mean over i of
    sum over partners j of -log(p_ij + 1e-5) / (number of partners + 1e-3). In Khosla et al. (2020, equation 2) there
    are neither of the two small numbers, and samples without a partner do not count in the mean.

    Args:
        z: Shape (b, D), of any norm.
        labels: Shape (b,).
        tau: Temperature.
    """
    unit = functional.normalize(z, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    shares = (unit @ unit.T / tau).masked_fill(itself, -torch.inf).softmax(dim=1) if len(z) > 1 else unit @ unit.T * 0
    partners = (labels[:, None] == labels) & ~itself
    logs = torch.where(partners, -torch.log(shares + 1e-5), 0)
    return (logs.sum(dim=1) / (partners.sum(dim=1).to(z.dtype) + 1e-3)).mean()


def finetune(
    backbone: Backbone, dataset: Dataset, recipe: Recipe, folder: Path, shots: int | None = None, seed: int = 42
) -> dict[str, Any]:
    """Fine-tune the encoder of a backbone on the training texts of a dataset, and leave it as a folder.

    The folder appears when it is whole. Epoch 0 is the encoder as it was, to the bit.

    Args:
        backbone: One of `model: transformers`.
        dataset: Texts with classes.
        recipe: How.
        folder: Where to; nothing may be there.
        shots: Texts a class, the draw that methods have under these shots and this seed; None for all.
        seed: Of the draw, the head, dropout and the order.

    Returns:
        The entry of the new backbone but for its name, as a configuration has it.

    Raises:
        OodgridError: Nothing can be learned from these texts, the loss is not finite, or the folder cannot be written.
    """
    recipe.check()
    if backbone.takes_images or backbone.precision != "fp32":
        what = f"is {backbone.model}" if backbone.takes_images else f"has precision {backbone.precision}"
        raise OodgridError(f"backbone {backbone.name} {what}: name one of model: transformers in fp32")
    text_folders.check_new(folder)
    loaded = backbones.load(backbone)
    samples, rows, about = _training_texts(loaded, dataset, shots, seed)
    texts = [(samples.texts or ())[row] for row in rows]
    labels = torch.from_numpy(samples.labels[rows].astype(np.int64)).to(loaded.device)
    losses = train(loaded, loaded.tokenize(texts), labels, recipe, seed, f"finetune {backbone.name} on {dataset.name}")
    texts_identity = identify(loaded, dataset, "train", samples)
    del texts_identity["backbone"]
    record = {
        "source": {"name": backbone.name, **loaded.identity},
        "texts": {**texts_identity, "shots": shots, "rows": len(rows), **about},
        "recipe": {"paper": "Uppaal et al. 2023 (ACL)", **asdict(recipe), "seed": seed},
        "losses": losses,
        "run": store.run_record(),
    }
    with text_folders.whole_folder(folder) as beside:
        said = text_folders.write(loaded, backbone, beside)
        store.write_json(beside / RECORD, record)
    return {"model": backbone.model, "pretrained": str(folder), **said}


def _training_texts(
    loaded: LoadedBackbone, dataset: Dataset, shots: int | None, seed: int
) -> tuple[ImageSet, np.ndarray, dict[str, int]]:
    """Return the training split of a dataset, the rows that are learned from, and what the record says of them.

    Texts that stand in the validation or the test split too are left out of what was drawn, and nothing takes their
    place: the other shots are those of methods.
    """
    if dataset.thing != "text":
        raise OodgridError(f"dataset {dataset.name} has no texts: name one with texts:")
    opened = open_splits(dataset)
    if "train" not in opened:
        raise OodgridError(f"dataset {dataset.name} has no training split: nothing can be learned from it")
    samples = with_cuts(loaded, opened["train"])
    report_remarks(dataset, {**opened, "train": samples})
    if shots is None:
        drawn = np.flatnonzero(has_class(samples.labels))
    else:
        val = opened["val"].labels if "val" in opened and has_class(opened["val"].labels).any() else None
        drawn = draw(samples.labels, val, shots, seed).train
        for remark in count_remarks(samples.labels, None, shots, [seed]):
            print(f"oodgrid: {dataset.name} at {counted(shots, 'shot')}: {remark}", file=sys.stderr)
    texts = samples.texts or ()
    others = {text for split, other in opened.items() if split != "train" for text in other.texts or ()}
    rows = np.array([row for row in drawn.tolist() if texts[row] not in others], dtype=np.int64)
    left_out, but = len(drawn) - len(rows), ""
    if left_out:
        are = counted(left_out, "training text stands", "training texts stand")
        but = f" ({are} in val or test too)"
        print(f"oodgrid: {dataset.name}: {are} in val or test too: left out, not learned from", file=sys.stderr)
    counts = np.unique(samples.labels[rows], return_counts=True)[1]
    if len(counts) < 2:
        raise OodgridError(
            f"the training texts of {dataset.name} have {counted(len(counts), 'class', 'classes')}{but}: two or more "
            "are needed"
        )
    return samples, rows, {"fewest_of_a_class": int(counts.min()), "left_out": left_out}


def train(
    loaded: LoadedBackbone, tokens: torch.Tensor, labels: torch.Tensor, recipe: Recipe, seed: int, title: str
) -> list[float]:
    """Train the network of a backbone in place, and return the mean loss of every epoch.

    Args:
        loaded: The backbone; afterwards it is ready to encode again.
        tokens: Shape (N, L), `PADDING` behind each text.
        labels: Shape (N,), on the device of the backbone.
        recipe: How.
        seed: Of everything random.
        title: What the progress bar says.

    Raises:
        OodgridError: The loss is not finite.
    """
    model = loaded.model
    assert isinstance(model, TextModel)
    gpus = [torch.device(loaded.device)] if loaded.device != "cpu" else []
    with torch.random.fork_rng(gpus):
        torch.manual_seed(seed)
        model.train().requires_grad_(True)
        try:
            return _epochs(model, tokens, labels, recipe, torch.Generator().manual_seed(seed), title)
        finally:
            model.eval().requires_grad_(False)


def _epochs(
    model: TextModel,
    tokens: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    title: str,
) -> list[float]:
    steps = recipe.epochs * len(list(_batches(len(labels), recipe.batch, None)))
    if not steps:
        return []
    settings = model.network.config
    with torch.no_grad():
        width = model.pooled(_fitted(model, tokens[:1]).to(labels.device)).shape[1]
    dropout = getattr(settings, "hidden_dropout_prob", 0.1)
    deviation = getattr(settings, "initializer_range", INITIAL)
    head = Head(width, int(labels.max()) + 1, dropout, deviation).to(labels.device)
    groups = _groups(model, head, recipe.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=recipe.lr, eps=1e-8, fused=True)  # one pass over the weights, not ten
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    means = []
    with progress(total=steps, desc=title, unit="step") as bar:
        for epoch in range(recipe.epochs):
            losses = []
            for rows in _batches(len(labels), recipe.batch, generator):
                z = model.pooled(_fitted(model, tokens[rows]).to(labels.device))
                y = labels[rows.to(labels.device)]
                loss = recipe.cross_entropy * functional.cross_entropy(head(z), y)
                loss = loss + recipe.contrast * supcon(z, y, recipe.tau)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                falling.step()
                losses.append(loss.detach())
                bar.update()
            means.append(float(torch.stack(losses).mean()))
            if not math.isfinite(means[-1]):
                raise OodgridError(f"the loss became {means[-1]} in epoch {epoch + 1}: give a smaller --lr")
            bar.set_postfix(epoch=epoch + 1, loss=f"{means[-1]:.4f}")
    return means


def _groups(model: torch.nn.Module, head: torch.nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return all parameters in two groups: those with weight decay, and those without."""
    named = [*model.named_parameters(), *head.named_parameters()]
    without = [any(part in name for part in UNDECAYED) for name, _ in named]
    return [
        {
            "params": [value for (_, value), of in zip(named, without, strict=True) if of == spared],
            "weight_decay": weight,
        }
        for spared, weight in ((False, decay), (True, 0.0))
    ]


def _fitted(model: TextModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return token ids (b, L) of the length to which the longest text is padded."""
    return to_length(tokens, model.padded(int((tokens != PADDING).sum(dim=1).max())))


def _batches(count: int, size: int, generator: torch.Generator | None) -> Iterator[torch.Tensor]:
    """Yield the rows of each batch of an epoch, in random order; one that is not full only if it is the only one."""
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    stop = count - count % size if count >= size else count
    yield from (order[start : start + size] for start in range(0, stop, size))
