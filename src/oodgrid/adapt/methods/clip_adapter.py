"""CLIP-Adapter: a small residual network on the image features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, Skip, TextSide
from oodgrid.adapt.training import Family, Recipe, TrainingFeatures, uniform
from oodgrid.counts import counted
from oodgrid.devices import device
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="CLIP-Adapter",
    look="green P",
    leaves="features",
    needs=("prototypes", "shots"),
    text_cosines=True,
    paper="Gao et al. 2023 (IJCV), CLIP-Adapter, equations 3-5; github.com/gaopengcuhk/CLIP-Adapter",
)
@dataclass(frozen=True)
class ClipAdapter:
    """CLIP-Adapter: x' = ratio · relu(W₂ relu(W₁ x)) + (1 - ratio) · x, then cosine with the text prototypes.

    x is the feature as CLIP emits it, not normalised; W₁ (D/4, D) and W₂ (D, D/4) have no bias. Loss: cross
    entropy of 100 cos(x', t_k). Ratio 0.2 as in the code of record, which ships no training recipe; here CoOp's
    (SGD 0.002, momentum 0.9, weight decay 5e-4, batches of 32, warm-up and cosine), for 200 epochs. The last
    epoch counts, nothing is selected.

    Scale: cosines of the changed features.
    Deviations: one of the cached `views` an image and epoch (its own: rrc08), or the centre view where none are
    named; Kaiming initialisation from the seed. Features whose norm an import has lost are used at unit norm, and the
    fit says so in its notes.
    """

    ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    epochs: PositiveInt = 200
    lr: NonNegativeFloat = 0.002
    batch: PositiveInt = 32
    views: Family = None

    def fit(self, data: FitData) -> Learned:
        """Train the two layers on the shots."""
        import torch

        generator = torch.Generator().manual_seed(data.seed)
        weights = self._initial(data.train.shape[1], generator)
        y = torch.from_numpy(data.train_labels).long().to(device())
        prototypes = torch.from_numpy(data.text.prototypes).to(device())

        def loss(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            changed = torch.nn.functional.normalize(self._change(x, *weights), dim=-1)
            return torch.nn.functional.cross_entropy(100 * changed @ prototypes.T, y[rows])

        recipe = Recipe(self.epochs, self.lr, self.batch)
        losses = recipe.descend(weights, data, TrainingFeatures(data, device()), generator, loss)
        first, second = (weight.detach().cpu().numpy() for weight in weights)
        notes = "unit-norm features: the import has lost the norms" if data.normalised else None
        arrays = {"first": first, "second": second, "prototypes": data.text.prototypes}
        return Learned(arrays, {"losses": losses, "notes": notes})

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity of changed features with the text prototypes."""
        first, second = (learned[name].astype(np.float64) for name in ("first", "second"))

        def change(features: np.ndarray) -> np.ndarray:  # in numpy, because importing torch costs seconds
            x = features.astype(np.float64)  # float32 would show where in its block an image stands
            inner = np.maximum(x @ first.T, 0)
            changed = self.ratio * np.maximum(inner @ second.T, 0) + (1 - self.ratio) * x
            return changed.astype(np.float32)

        return Classifier(learned["prototypes"], change=change)

    def _initial(self, width: int, generator: torch.Generator) -> list[torch.Tensor]:
        hidden = width // 4
        if not hidden:
            raise Skip(f"features of {counted(width, 'dimension')} are too small for a bottleneck of a quarter")
        shapes = ((hidden, width), (width, hidden))
        weights = [uniform(shape, shape[1], generator) for shape in shapes]
        return [weight.to(device()).requires_grad_(True) for weight in weights]

    def _change(self, x: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.ratio * (x @ first.T).relu().matmul(second.T).relu() + (1 - self.ratio) * x
