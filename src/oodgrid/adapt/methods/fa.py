"""FA: CoOp that has to beat frozen copies of zero-shot CLIP."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, TextSide
from oodgrid.adapt.prompt_learning import Batch, PromptLearner
from oodgrid.adapt.training import Recipe
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="FA",
    look="orange d -.",
    leaves="prototypes",
    needs=("text_tower", "shots"),
    text_cosines=True,
    negatives=True,
    paper="FA: Forced Prompt Learning of Vision-Language Models for Out-of-Distribution Detection (ICCV 2025, "
    "arXiv 2507.04511); github.com/0xFAFA/FA at 9cf7f88 (model.py, main.py)",
)
@dataclass(frozen=True)
class FA(PromptLearner):
    """FA: CoOp whose softmax also holds every class `copies` times as zero-shot CLIP has it, frozen.

    Loss: cross entropy, at the learned prompt of the label, of the softmax of s cos(x, ·) over the K learned prompts
    and `copies` times the K text prototypes t_k, (1 + copies) K columns. Classified by the learned prompts alone; the
    frozen ones are left as negative prompts, n = copies of each class, for scores that ask for them: `fa` and `gl_fa`
    are those of the code of record. `copies: 0` with `schedule: epoch` is CoOp with this recipe.

    Recipe of the code of record: four context tokens from "a photo of a", copies 3, SGD 0.002 with momentum 0.9 and
    weight decay 5e-4, batches of 160, the last incomplete one too, 50 epochs, a cosine stepped by batch without warm-up
    (`schedule: epoch` is CoOp's: by epoch, after one at 1e-5, without incomplete batches); the last step counts.

    Scale: cosines, as for CoOp. Deviations: those of CoOp, of which the code's own augmentation (crops of 80 % and
    more, both flips, rotation, colours, grey) is no family of `views`; frozen are the text prototypes of the dataset's
    own templates, as for KgCoOp: the code freezes the prompts by which learning starts, the same under the template
    "a photo of a {}.".
    """

    init: str | None = "a photo of a"
    epochs: PositiveInt | None = 50
    batch: PositiveInt = 160
    copies: NonNegativeInt = 3
    schedule: Literal["step", "epoch"] = "step"

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the cross entropy among learned and frozen prompts."""
        import torch

        frozen = batch.scale * batch.x @ batch.zero_shot.T
        columns = torch.cat([batch.logits, *[frozen] * self.copies], dim=1)
        return torch.nn.functional.cross_entropy(columns, batch.labels)

    def recipe(self, shots: int) -> Recipe:
        """Return the recipe of training with so many shots."""
        recipe, by_step = super().recipe(shots), self.schedule == "step"
        return replace(recipe, warm_up=not by_step, by_step=by_step, drop_last=not by_step)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity with the class names under the learned context, and the frozen prompts beside it."""
        negatives = np.repeat(text.prototypes[:, None], self.copies, axis=1)
        return replace(super().classifier(learned, text), negatives=negatives)
