"""Tip-Adapter-F: Tip-Adapter whose keys are trained."""

from __future__ import annotations

from collections.abc import Callable
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
        best, reached = {"keys": arrays["keys"], "epoch": 0}, []

        def judge(epoch: int, keys: np.ndarray) -> None:
            if len(val):
                reached.append(accuracy(KeyCache({**arrays, "keys": keys}).logits(val, beta, alpha), data.val_labels))
            if not len(val) or reached[-1] > max(reached[:-1], default=-1):
                best.update(keys=keys, epoch=epoch)

        losses = self._train(arrays, data, beta, alpha, judge)
        chosen = TipAdapter(self.alpha, self.beta, self.beta_to, self.alpha_to, beta, alpha)
        learned = finish(chosen, {**arrays, "keys": best["keys"]}, data)
        start = {"beta_start": beta, "alpha_start": alpha}
        info = {**learned.info, **start, "epoch": best["epoch"], "losses": losses, "val_accuracies": reached}
        return Learned(learned.arrays, info, epoch_remarks(best["epoch"], self.epochs, reached) + learned.remarks)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return Tip-Adapter's logits with the trained keys."""
        return TipAdapter().classifier(learned, text)

    def _start(self, arrays: Arrays, data: FitData) -> tuple[float, float]:
        """Return beta and alpha of the training: as given, or the alpha that is best on validation before it."""
        beta = self.beta_start if self.beta is None else self.beta
        if self.alpha is not None or self.alpha_start is not None:
            return beta, self.alpha_start if self.alpha is None else self.alpha
        before = TipAdapter(beta=beta, alpha_to=self.alpha_to)
        return beta, finish(before, arrays, data).info["alpha"]

    def _train(
        self, arrays: Arrays, data: FitData, beta: float, alpha: float, judge: Callable[[int, np.ndarray], None]
    ) -> list[float]:
        """Return the mean loss of every epoch; `judge` sees the keys before training and after every epoch."""
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
        judge(0, arrays["keys"])
        losses = []
        for epoch in range(self.epochs):
            taken = []
            x = features.epoch(generator)
            for rows in batches(len(x), self.batch, generator, drop_last=False, device=x.device):
                near = torch.exp(-beta * (1 - keys @ x[rows].T))
                # A product with one-hot labels costs twice that with the keys. `unsafe` skips checks that would wait
                # for the device at every step.
                affinity = torch.segment_reduce(near, "sum", lengths=shots, axis=0, unsafe=True).T
                logits = 100 * x[rows] @ prototypes.T + alpha * affinity
                taken.append(take_step(torch.nn.functional.cross_entropy(logits, y[rows]), optimiser))
                schedule.step()
            losses.append(mean_loss(taken, epoch))
            judge(epoch + 1, keys.detach().cpu().numpy().copy())
        return losses
