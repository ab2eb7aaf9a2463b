"""LSN: a positive context for all classes, and negative ones for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, normalise
from oodgrid.adapt.training import Family, TrainingFeatures, batches, mean_loss, take_step
from oodgrid.progress import progress
from oodgrid.registry import method
from oodgrid.text_tower import Precision, TextTower

if TYPE_CHECKING:
    import torch


@method(
    title="LSN",
    look="black X : hollow",
    leaves="prototypes",
    needs=("text_tower", "shots"),
    text_cosines=True,
    negatives=True,
    paper="Nie et al. 2024 (ICLR), Out-of-Distribution Detection with Negative Prompts, section 3.2, algorithm 1; "
    "github.com/junz-debug/lsn",
)
@dataclass(frozen=True)
class LSN:
    """LSN: CoOp's context, and `negatives` class-specific contexts whose prompts lie far from the own class.

    With q = softmax(100 cos(x, g_k)) the positive context descends on the cross entropy of softmax(q); with
    q_j = softmax(20 (1 - cos(x, n_jk))) the negative context j descends on that of softmax(q_j) plus
    `orthogonality` · the mean cosine of n_jk with the other negatives of its class, which stand still meanwhile. The
    second softmax is the code's (its cross entropy takes probabilities for logits) and is kept. 16 tokens each from
    N(0, 0.02²).

    Recipe: positive SGD 0.001 with momentum 0.9 and weight decay 5e-4, 50 epochs; negatives Adam 0.002, 100 epochs,
    one after the other in every epoch; cosine over the epochs without warm-up, batches of 8, the last incomplete batch
    too; the last epoch counts. orthogonality 1 as in the code (the paper says 0.1). Scale: cosines.
    Deviations: `views` as for CoOp (the code has none); float32 parameters.
    """

    negatives: PositiveInt = 3
    context_tokens: PositiveInt = 16
    orthogonality: NonNegativeFloat = 1.0
    epochs: PositiveInt = 50
    negative_epochs: PositiveInt = 100
    lr: NonNegativeFloat = 0.001
    negative_lr: NonNegativeFloat = 0.002
    batch: PositiveInt = 8
    views: Family = None
    precision: Precision = "fp32"

    def fit(self, data: FitData) -> Learned:
        """Train the positive context, then the negative ones."""
        import torch

        tower = data.text.tower().at(self.precision)
        generator = torch.Generator().manual_seed(data.seed)
        shape = (self.context_tokens, tower.width)
        shapes = [shape, *[(data.classes, *shape)] * self.negatives]
        noise = [0.02 * torch.randn(each, generator=generator) for each in shapes]
        positive, *negatives = (context.to(tower.device).requires_grad_(True) for context in noise)
        training = _Training(data, tower, generator, self.batch)
        optimiser = torch.optim.SGD([positive], lr=self.lr, momentum=0.9, weight_decay=5e-4)
        losses = training.run([_Turn(positive, [], optimiser)], self.epochs, training.positive)
        turns = [
            _Turn(context, [c for c in negatives if c is not context], torch.optim.Adam([context], lr=self.negative_lr))
            for context in negatives
        ]
        negative_loss = partial(training.negative, orthogonality=self.orthogonality)
        negative_losses = training.run(turns, self.negative_epochs, negative_loss)
        context, *contexts = (context.detach().cpu().numpy() for context in (positive, *negatives))
        info = {"losses": losses, "negative_losses": negative_losses, "notes": tower.note}
        return Learned({"context": context, "negative_contexts": np.stack(contexts)}, info)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity with the class names under the positive context, and negatives from the others."""
        import torch

        tower = text.tower().at(self.precision)
        prompts = tower.prompts(text.classnames)
        with torch.inference_mode():
            positive, *negatives = (
                tower.encode(torch.from_numpy(context).to(tower.device), prompts).cpu().numpy()
                for context in (learned["context"], *learned["negative_contexts"])
            )
        return Classifier(positive, negatives=np.stack(negatives, axis=1))


@dataclass(frozen=True)
class _Turn:
    """One context to be trained.

    Attributes:
        context: The context.
        others: Those that its embeddings should be orthogonal to.
        optimiser: Of the context.
    """

    context: torch.Tensor
    others: list[torch.Tensor]
    optimiser: torch.optim.Optimizer


class _Training:
    """The losses of one few-shot set, and the training with them."""

    def __init__(self, data: FitData, tower: TextTower, generator: torch.Generator, batch: int) -> None:
        import torch

        self.tower, self.generator, self.batch = tower, generator, batch
        self.prompts = tower.prompts(data.text.classnames)
        self.features = TrainingFeatures(data, tower.device, normalise)
        self.labels = torch.from_numpy(data.train_labels).long().to(tower.device)

    def positive(
        self, rows: torch.Tensor, x: torch.Tensor, embeddings: torch.Tensor, others: list[torch.Tensor]
    ) -> torch.Tensor:
        """Return the loss of the positive embeddings (K, D) for features (b, D)."""
        return self._matching(100 * x @ embeddings.T, rows)

    def negative(
        self,
        rows: torch.Tensor,
        x: torch.Tensor,
        embeddings: torch.Tensor,
        others: list[torch.Tensor],
        orthogonality: float,
    ) -> torch.Tensor:
        """Return the loss of negative embeddings (K, D) for features (b, D), beside other negative ones."""
        matching = self._matching(20 * (1 - x @ embeddings.T), rows)
        cosines = [(embeddings * other).sum(dim=1).mean() for other in others]
        return matching + orthogonality * sum(cosines) / max(1, len(cosines))

    def run(self, turns: list[_Turn], epochs: int, loss: Callable[..., torch.Tensor]) -> list[list[float]]:
        """Train the contexts in turn, one epoch each, and again; return the mean losses of the epochs, by context."""
        import torch

        schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(turn.optimiser, epochs) for turn in turns]
        losses: list[list[float]] = [[] for _ in turns]
        for epoch in progress(range(epochs), desc="train", unit="epoch", leave=False):
            for turn, schedule, epoch_losses in zip(turns, schedules, losses, strict=True):
                x = self.features.epoch(self.generator)
                with torch.no_grad():  # the others do not change during this turn
                    others = [self.tower.encode(other, self.prompts) for other in turn.others]
                step_losses = []
                for rows in batches(len(x), self.batch, self.generator, drop_last=False, device=x.device):
                    embeddings = self.tower.encode(turn.context, self.prompts)
                    step_losses.append(take_step(loss(rows, x[rows], embeddings, others), turn.optimiser))
                epoch_losses.append(mean_loss(step_losses, epoch))
                schedule.step()
        return losses

    def _matching(self, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.nn.functional.cross_entropy(logits.softmax(dim=1), self.labels[rows])
