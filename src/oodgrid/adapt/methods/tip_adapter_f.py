"""Tip-Adapter-F: Tip-Adapter whose keys are trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, accuracy, normalise
from oodgrid.adapt.methods.tip_adapter import BETA_START, KeyCache, TipAdapter, finish
from oodgrid.adapt.search import epoch_remarks
from oodgrid.adapt.training import Family, TrainingFeatures, batches, mean_loss, mean_view, take_step
from oodgrid.devices import device
from oodgrid.registry import method


@method(
    title="Tip-Adapter-F",
    look="blue *",
    leaves="logits",
    needs=("prototypes", "shots"),
    paper="Zhang et al. 2022 (ECCV), Tip-Adapter, section 3.2 (Tip-Adapter-F); github.com/gaopengcuhk/Tip-Adapter",
)
@dataclass(frozen=True)
class TipAdapterF:
    """Tip-Adapter-F: Tip-Adapter whose keys are trained from the shots on; they are not normalised again.

    Loss: cross entropy of 100 x · t_k + alpha A_k(x) at the starting beta and alpha. Recipe of the code of record:
    AdamW 0.001, eps 1e-4, 20 epochs (EuroSAT: 100), batches of 256, cosine stepped by batch. The epoch (ties: the
    earlier; epoch 0 is Tip-Adapter) and then alpha and beta are chosen on the few-shot validation set; where there is
    none, the last epoch and the starting values count. The search and its range are those of Tip-Adapter.

    The start is `beta_start`, and `alpha_start`, or where that is not given the alpha that Tip-Adapter would choose on
    validation at this beta (1.17 without validation): how far the texts can be trusted differs by dataset, and a start
    that trusts them too far trains keys which no later alpha mends.

    Scale: logits = cos + (alpha / 100) A, as for Tip-Adapter.
    Deviations: the official code starts at values of its own for every dataset (docs/methods.md lists them), alpha 1.17
    for ImageNet to 10 for flowers, selects the epoch on the test set, and sees a fresh crop every epoch; here it is one
    of the cached `views` (its own: rrc50), or the centre view, which is then the key itself, so that every key matches
    its own image from the start.
    """

    alpha: NonNegativeFloat | None = None
    beta: NonNegativeFloat | None = None
    beta_to: PositiveFloat = 50.0
    alpha_to: PositiveFloat = 200.0
    beta_start: NonNegativeFloat = BETA_START
    alpha_start: NonNegativeFloat | None = None
    epochs: PositiveInt = 20
    lr: NonNegativeFloat = 0.001
    batch: PositiveInt = 256
    views: Family = None

    def fit(self, data: FitData) -> Learned:
        """Train the keys, then choose epoch, alpha and beta."""
        order = np.argsort(data.train_labels, kind="stable")  # so that the keys of a class are neighbours
        labels = data.train_labels.astype(np.int64)[order]
        arrays = {"keys": normalise(mean_view(data))[order], "labels": labels, "prototypes": data.text.prototypes}
        beta, alpha = self._start(arrays, data)
        val = normalise(data.val)
        best_keys, best_epoch = arrays["keys"], 0
        losses: list[float] = []
        accuracies: list[float] = []
        for epoch, (keys, loss) in enumerate(self._train(arrays, data, beta, alpha)):
            if epoch:
                losses.append(loss)
            if len(val):
                logits = KeyCache({**arrays, "keys": keys}).logits(val, beta, alpha)
                accuracies.append(accuracy(logits, data.val_labels))
            if not accuracies or accuracies[-1] > max(accuracies[:-1], default=-1):
                best_keys, best_epoch = keys, epoch
        chosen = TipAdapter(self.alpha, self.beta, self.beta_to, self.alpha_to, beta, alpha)
        learned = finish(chosen, {**arrays, "keys": best_keys}, data)
        start = {"beta_start": beta, "alpha_start": alpha}
        info = {**learned.info, **start, "epoch": best_epoch, "losses": losses, "val_accuracies": accuracies}
        return Learned(learned.arrays, info, epoch_remarks(best_epoch, self.epochs, accuracies) + learned.remarks)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return Tip-Adapter's logits with the trained keys."""
        return TipAdapter().classifier(learned, text)

    def _start(self, arrays: Arrays, data: FitData) -> tuple[float, float]:
        """Return beta and alpha of the training: the parameters, or the alpha that is best on validation before it."""
        beta = self.beta_start if self.beta is None else self.beta
        alpha = self.alpha_start if self.alpha is None else self.alpha
        if alpha is None:
            alpha = finish(TipAdapter(beta=beta, alpha_to=self.alpha_to), arrays, data).info["alpha"]
        return beta, alpha

    def _train(self, arrays: Arrays, data: FitData, beta: float, alpha: float) -> Iterator[tuple[np.ndarray, float]]:
        """Train, and yield the keys before training and after every epoch, each with the mean loss (before: NaN)."""
        import torch

        generator = torch.Generator().manual_seed(data.seed)
        features = TrainingFeatures(data, device(), normalise)
        shots = np.bincount(arrays["labels"], minlength=data.classes)
        y, shots, prototypes, keys = (
            torch.from_numpy(a).to(device())
            for a in (data.train_labels.astype(np.int64), shots, arrays["prototypes"], arrays["keys"].copy())
        )
        keys.requires_grad_(True)
        optimiser = torch.optim.AdamW([keys], lr=self.lr, eps=1e-4)
        steps = self.epochs * sum(1 for _ in batches(len(y), self.batch, torch.Generator(), drop_last=False))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        yield arrays["keys"], math.nan
        for epoch in range(self.epochs):
            losses = []
            x = features.epoch(generator)
            for rows in batches(len(x), self.batch, generator, drop_last=False, device=x.device):
                near = torch.exp(-beta * (1 - keys @ x[rows].T))
                # Sums over adjacent keys: a product with one-hot labels would cost twice the one with the keys.
                # `unsafe` skips checks for which each step would wait for the device.
                affinity = torch.segment_reduce(near, "sum", lengths=shots, axis=0, unsafe=True).T
                logits = 100 * x[rows] @ prototypes.T + alpha * affinity
                losses.append(take_step(torch.nn.functional.cross_entropy(logits, y[rows]), optimiser))
                schedule.step()
            yield keys.detach().cpu().numpy().copy(), mean_loss(losses, epoch)
