"""LSN: a positive context for all classes, and negative ones for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, normalise
from oodgrid.adapt.text_tower import Precision, TextTower
from oodgrid.adapt.training import Family, TrainingFeatures, batches, mean_loss, take_step
from oodgrid.progress import progress
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="LSN",
    look="black X : hollow",
    leaves="prototypes",
    needs=("text_tower", "shots"),
    text_cosines=True,
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
        """Train the positive context, then the negative ones in turn."""
        import torch

        tower = data.text.tower().at(self.precision)
        generator = torch.Generator().manual_seed(data.seed)
        shape = (self.context_tokens, tower.width)
        shapes = [shape, *[(data.classes, *shape)] * self.negatives]
        drawn = [0.02 * torch.randn(each, generator=generator) for each in shapes]
        contexts = [context.to(tower.device).requires_grad_(True) for context in drawn]
        training = _Training(data, tower, generator, self.batch)
        positive = torch.optim.SGD([contexts[0]], lr=self.lr, momentum=0.9, weight_decay=5e-4)
        losses = training.run([(positive, self.epochs, training.positive(contexts[0]))])
        turns = [
            (
                torch.optim.Adam([context], lr=self.negative_lr),
                self.negative_epochs,
                training.negative(contexts, place, self.orthogonality),
            )
            for place, context in enumerate(contexts[1:], start=1)
        ]
        negative_losses = training.run(turns)
        positive_context, *others = (context.detach().cpu().numpy() for context in contexts)
        info = {"losses": losses, "negative_losses": negative_losses, "notes": tower.note}
        return Learned({"context": positive_context, "negative_contexts": np.stack(others)}, info)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Encode the class names under the positive and the negative contexts."""
        import torch

        tower = text.tower().at(self.precision)
        prompts = tower.prompts(text.classnames)
        with torch.inference_mode():
            positive, *negatives = (
                tower.encode(torch.from_numpy(context).to(tower.device), prompts).cpu().numpy()
                for context in (learned["context"], *learned["negative_contexts"])
            )
        return Classifier(positive, negatives=np.stack(negatives, axis=1))


class _Training:
    """The losses of one few-shot set, and their descent."""

    def __init__(self, data: FitData, tower: TextTower, generator: torch.Generator, batch: int) -> None:
        import torch

        self.tower, self.generator, self.batch = tower, generator, batch
        self.prompts = tower.prompts(data.text.classnames)
        self.features = TrainingFeatures(data, tower.device, normalise)
        self.labels = torch.from_numpy(data.train_labels).long().to(tower.device)

    def positive(self, context: torch.Tensor) -> Callable:
        """Return the loss of the positive context."""

        def loss(rows: torch.Tensor, x: torch.Tensor, others: None) -> torch.Tensor:
            return self._matched(100 * x @ self.tower.encode(context, self.prompts).T, rows)

        return loss

    def negative(self, contexts: list[torch.Tensor], place: int, orthogonality: float) -> Callable:
        """Return the loss of one negative context; called without features it gives the others' embeddings."""
        import torch

        def loss(rows: torch.Tensor | None, x: torch.Tensor | None, others: list | None) -> torch.Tensor | list:
            if x is None:
                with torch.no_grad():
                    rest = [c for number, c in enumerate(contexts) if number not in (0, place)]
                    return [self.tower.encode(context, self.prompts) for context in rest]
            embeddings = self.tower.encode(contexts[place], self.prompts)
            matched = self._matched(20 * (1 - x @ embeddings.T), rows)
            alike = [(embeddings * other).sum(dim=1).mean() for other in others]
            return matched + orthogonality * sum(alike) / max(1, len(alike))

        return loss

    def run(self, turns: list[tuple[torch.optim.Optimizer, int, Callable]]) -> list[list[float]]:
        """Descend, the turns one after the other in every epoch; return the mean losses of the epochs, turn by turn."""
        import torch

        epochs = max(count for _, count, _ in turns)
        schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, count) for optimiser, count, _ in turns]
        losses: list[list[float]] = [[] for _ in turns]
        for epoch in progress(range(epochs), desc="train", unit="epoch", leave=False):
            for (optimiser, _, loss), schedule, found in zip(turns, schedules, losses, strict=True):
                x = self.features.epoch(self.generator)
                others = loss(None, None, None) if len(turns) > 1 else []
                rows_of = batches(len(x), self.batch, self.generator, drop_last=False, device=x.device)
                found.append(mean_loss([take_step(loss(rows, x[rows], others), optimiser) for rows in rows_of], epoch))
                schedule.step()
        return losses

    def _matched(self, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.nn.functional.cross_entropy(logits.softmax(dim=1), self.labels[rows])
