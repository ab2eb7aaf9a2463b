"""LoCoOp: CoOp that learns from the patches of an image that do not show its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat, PositiveInt

from oodgrid.adapt.prompt_learning import Batch, PromptLearner
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="LoCoOp",
    look="purple D -- hollow",
    leaves="prototypes",
    needs=("text_tower", "shots", "local_features"),
    text_cosines=True,
    paper="Miyai et al. 2023 (NeurIPS), LoCoOp: Few-Shot Out-of-Distribution Detection via Prompt Learning, "
    "equations 4-6; github.com/AtsuMiyai/LoCoOp",
)
@dataclass(frozen=True)
class LoCoOp(PromptLearner):
    """LoCoOp: CoOp minus `strength` times the mean entropy over patches that do not show the class.

    Those are the patches r whose `top_k` likeliest classes do not hold the label; the entropy is that of the softmax
    of s cos(x_r, g_k), with log(p + 1e-5) as in the code. Recipe: CoOp's with 50 epochs; strength 0.25; top_k 200 of
    ImageNet's 1,000 classes and 20 of 100, so here a fifth of the classes where none is given. `strength: 0` is CoOp.

    Needs local features of the training images (a backbone with `local_features: true`), or with `views` those of
    the views (`local_features: true` there too). Scale: cosines, as for CoOp. Deviations: those of CoOp.
    """

    epochs: PositiveInt | None = 50
    strength: NonNegativeFloat = 0.25
    top_k: PositiveInt | None = None

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return cross entropy minus the weighted entropy of the background."""
        if not self.strength:
            return batch.cross_entropy
        entropies, _ = background_entropies(batch, self.top_k)
        return batch.cross_entropy - self.strength * (entropies.mean() if len(entropies) else 0)


def background_entropies(batch: Batch, top_k: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the entropy of every patch that does not show its image's class, and its image's place in the batch."""
    classes = len(batch.embeddings)
    probabilities = (batch.scale * batch.local_features() @ batch.embeddings.T).softmax(dim=-1)  # (b, P, K)
    likeliest = probabilities.topk(min(top_k or max(1, classes // 5), classes), dim=-1).indices
    shown = (likeliest == batch.labels[:, None, None]).any(dim=-1)
    images, patches = (~shown).nonzero(as_tuple=True)
    background = probabilities[images, patches]
    return -(background * (background + 1e-5).log()).sum(dim=-1), images
