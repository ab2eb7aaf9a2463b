"""ProGrad: CoOp whose steps do not move away from zero-shot CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat

from oodgrid.adapt.prompt_learning import Batch, PromptLearner
from oodgrid.registry import method

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


@method(
    title="ProGrad",
    look="vermillion ^ : hollow",
    leaves="prototypes",
    needs=("text_tower", "shots"),
    text_cosines=True,
    paper="Zhu et al. 2023 (ICCV), Prompt-aligned Gradient for Prompt Tuning, equations 3-6; "
    "github.com/BeierZhu/Prompt-align",
)
@dataclass(frozen=True)
class ProGrad(PromptLearner):
    """ProGrad: where the gradient of the loss opposes that of agreement with zero-shot CLIP, its part along it goes.

    a is the gradient of the cross entropy, b that of T² · KL(zero-shot ‖ learned) of the softmax of scaled logits at
    temperature T. Where a · b < 0, the step descends on a - strength · (a · b / |b|²) b, else on a. Recipe: CoOp's.
    `strength: 0` is CoOp.

    Scale: cosines, as for CoOp. Deviations: those of CoOp; with `precision: fp16` gradients are not scaled, because
    two of them are compared.
    """

    strength: NonNegativeFloat = 1.0
    T: PositiveFloat = 1.0

    def loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cross entropy and disagreement."""
        teacher = (batch.scale * batch.x @ batch.zero_shot.T / self.T).softmax(dim=1)
        disagreement = -(teacher * (batch.logits / self.T).log_softmax(dim=1)).sum(dim=1).mean() * self.T**2
        return batch.cross_entropy, disagreement

    def descend(
        self, train: Callable[..., list[float]], context: torch.Tensor, epochs: int
    ) -> tuple[list[float], np.ndarray]:
        """Descend along the aligned gradient."""
        return super().descend(partial(train, step=self._step), context, epochs)

    def _step(self, losses: tuple, optimiser: torch.optim.Optimizer, scaler: object) -> torch.Tensor:
        (context,) = optimiser.param_groups[0]["params"]
        cross_entropy, disagreement = losses
        context.grad = self.aligned(cross_entropy, disagreement, context)
        optimiser.step()
        # The epoch checks one number per step that it is finite: the disagreement, where that alone is not.
        diverged = cross_entropy.isfinite() & ~disagreement.isfinite()
        return disagreement.where(diverged, cross_entropy).detach()

    def aligned(self, loss: torch.Tensor, disagreement: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the loss without what of it would raise the disagreement with zero-shot CLIP."""
        import torch

        (along,) = torch.autograd.grad(disagreement, context, retain_graph=True)
        (gradient,) = torch.autograd.grad(loss, context)
        size = along.norm()
        along = along / size.where(size > 0, 1)  # zero at zero-shot CLIP itself: then nothing is removed
        against = (gradient * along).sum().clamp(max=0)
        return gradient - self.strength * against * along
