"""A head on frozen features, trained by cross entropy, by supervised contrast, or by both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, class_means, normalise
from oodgrid.adapt.methods.opsupcon import contrast
from oodgrid.adapt.training import Family, Recipe, TrainingFeatures, mean_view, uniform
from oodgrid.devices import device
from oodgrid.errors import OodgridError
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch

    Beside = Callable[[list[torch.Tensor], torch.Tensor, torch.Tensor], torch.Tensor]


@method(
    title="MLP head",
    look="orange > : hollow",
    leaves="features",
    needs=("shots",),
    paper="Uppaal et al. 2023 (ACL), section 4 (its losses, on frozen features); Khosla et al. 2020, equation 2",
)
@dataclass(frozen=True)
class MlpHead:
    """MLP head: z = normalise(x + W₂ relu(W₁ x)) on frozen unit features x, W₁ and W₂ (D, D), W₂ zero at the start.

    Loss: `cross_entropy` · CE(z · p / tau) + `contrast` · SupCon(z) within the batch, at temperature tau. Prototypes
    p_k start at the class means of the shots and are learned; where `cross_entropy` is 0, they are the class means of
    the changed shots at the end. Scores see z: Mahalanobis, KNN and their kin run on what the head learned. So it
    asks what training by labels does to a space, as Uppaal et al. ask of a whole encoder: `epochs` is the axis. After
    none it is `prototype`. Weights 1 and 2 are theirs; `contrast: 0` is cross entropy alone, `cross_entropy: 0` SupCon.

    Recipe: SGD of momentum 0.9, a cosine by epoch without warm-up, weight decay 5e-4; the last epoch counts, nothing is
    selected. Scale: cosines of z with the prototypes.
    Deviations from the paper: the encoder is frozen, tau is .1, and the head is residual, so that it starts at the
    frozen features.
    """

    epochs: NonNegativeInt = 50
    cross_entropy: NonNegativeFloat = 1.0
    contrast: NonNegativeFloat = 2.0
    tau: PositiveFloat = 0.1
    lr: NonNegativeFloat = 0.1
    batch: PositiveInt = 256
    views: Family = None

    def __post_init__(self) -> None:
        """Refuse what would be class means under another name, though training is asked for."""
        if not (self.cross_entropy or self.contrast):
            raise OodgridError(
                "method mlp_head: cross_entropy and contrast are both 0: there is nothing to learn: give one a weight, "
                "or name prototype"
            )

    def fit(self, data: FitData) -> Learned:
        """Train the two layers and the prototypes on the shots."""
        return self.learn(data)

    def learn(self, data: FitData, beside: Beside | None = None) -> Learned:
        """Train them; what `beside` returns of the head, the rows of a batch and their z is added to the loss."""
        import torch

        generator = torch.Generator().manual_seed(data.seed)
        width, means = data.train.shape[1], class_means(mean_view(data), data.train_labels, data.classes)
        start = (uniform((width, width), width, generator), torch.zeros(width, width), torch.from_numpy(means))
        parameters = [value.to(device()).requires_grad_(True) for value in start]
        labels = torch.from_numpy(data.train_labels).long().to(device())
        recipe = Recipe(self.epochs, self.lr, self.batch, warm_up=False)
        features = TrainingFeatures(data, device(), normalise)
        losses = recipe.descend(parameters, data, features, generator, self._loss_of(parameters, labels, beside))
        first, second, prototypes = (parameter.detach().cpu().numpy() for parameter in parameters)
        if not self.cross_entropy:
            prototypes = class_means(_changed(mean_view(data), first, second), data.train_labels, data.classes)
        return Learned({"first": first, "second": second, "prototypes": normalise(prototypes)}, {"losses": losses})

    def _loss_of(
        self, parameters: list[torch.Tensor], labels: torch.Tensor, beside: Beside | None
    ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        import torch

        def loss(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            first, second, prototypes = parameters
            z = embedded(x, first, second)
            p = torch.nn.functional.normalize(prototypes, dim=1)
            classified = torch.nn.functional.cross_entropy(z @ p.T / self.tau, labels[rows])
            total = self.cross_entropy * classified + self.contrast * contrast(z, labels[rows], z[:0], self.tau)
            return total if beside is None else total + beside(parameters, rows, z)

        return loss

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity of changed features with the prototypes."""
        return Classifier(
            learned["prototypes"], change=lambda features: _changed(features, learned["first"], learned["second"])
        )


def embedded(x: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return what a head in training makes of unit features x (n, D), shape (n, D), unit norm."""
    import torch

    return torch.nn.functional.normalize(x + (x @ first.T).relu() @ second.T, dim=1)


def _changed(features: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return what the head makes of features (N, D), shape (N, D), float32, unit norm."""
    x = normalise(features.astype(np.float64))  # float32 would show where in its block a sample stands
    inner = np.maximum(x @ first.T.astype(np.float64), 0)
    return normalise(x + inner @ second.T.astype(np.float64)).astype(np.float32)
