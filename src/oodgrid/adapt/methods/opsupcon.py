"""OPSupCon: supervised contrast on an adapted feature, against outliers made by mixing classes. Reconstructed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, normalise
from oodgrid.adapt.training import Family, Recipe, TrainingFeatures, uniform
from oodgrid.devices import device
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch

Share = Annotated[float, Field(ge=0, le=1)]


@method(
    title="OPSupCon (rec.)",
    look="green P -- hollow",
    leaves="features",
    needs=("prototypes", "shots"),
    paper="Seifi et al. 2024 (WACV), OOD Aware Supervised Contrastive Learning; reconstructed from the abstract, its "
    "code was never released",
)
@dataclass(frozen=True)
class OPSupCon:
    """OPSupCon (reconstructed): shots of a class attract each other and their prototype; mixtures of classes repel.

    The adapted feature is z = normalise(x + ratio · W₂ relu(W₁ x)), x normalised, W₂ zero at the start; the prototypes
    p_k are learned from the text prototypes on. Pseudo outliers o are the adapted mixtures a x_i + (1 - a) x_j of shots
    of two classes, a uniform in 0.3-0.7. Loss, with temperature tau:
      SupCon of z within the batch, with the outliers among the others in every denominator and never attracted
      + `prototype` · (cross entropy of z · p / tau + mean over outliers of relu(max_k o · p_k - margin)).
    Without outliers and prototypes (`outliers: 0`, `prototype: 0`) this is supervised contrastive learning
    (Khosla et al. 2020, equation 2).

    Reconstructed: the paper trains whole networks on CIFAR and its equations were not at hand; the terms follow its
    abstract, the numbers (tau .1, margin .4) a third party's code. SGD 0.02, batches of 256, 50 epochs, CoOp's
    schedule. Scale: cosines of the adapted features with the learned prototypes.
    """

    outliers: Share = 1.0
    prototype: NonNegativeFloat = 1.0
    margin: float = 0.4
    tau: PositiveFloat = 0.1
    ratio: NonNegativeFloat = 1.0
    epochs: PositiveInt = 50
    lr: NonNegativeFloat = 0.02
    batch: PositiveInt = 256
    views: Family = None

    def fit(self, data: FitData) -> Learned:
        """Train the adapter and the prototypes on the shots."""
        import torch

        generator = torch.Generator().manual_seed(data.seed)
        width = data.train.shape[1]
        hidden = max(1, width // 4)
        prototypes = torch.from_numpy(data.text.prototypes).clone()
        start = (uniform((hidden, width), width, generator), torch.zeros(width, hidden), prototypes)
        parameters = [value.to(device()).requires_grad_(True) for value in start]
        labels = torch.from_numpy(data.train_labels).long().to(device())
        loss = self._loss_of(parameters, labels, generator)
        features = TrainingFeatures(data, device(), normalise)
        losses = Recipe(self.epochs, self.lr, self.batch).descend(parameters, data, features, generator, loss)
        first, second, prototypes = (parameter.detach().cpu().numpy() for parameter in parameters)
        return Learned(
            {"first": first, "second": second, "prototypes": normalise(prototypes)},
            {"losses": losses, "notes": "reconstructed from the abstract: the paper's code was never released"},
        )

    def _loss_of(self, parameters: list[torch.Tensor], labels: torch.Tensor, generator: torch.Generator) -> Callable:
        import torch

        def loss(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            y = labels[rows]
            z = self._adapted(x, *parameters[:2])
            o = self._adapted(mixtures(x, y, round(self.outliers * len(x)), generator), *parameters[:2])
            total = contrast(z, y, o, self.tau)
            if not self.prototype:
                return total
            p = torch.nn.functional.normalize(parameters[2], dim=1)
            pulled = torch.nn.functional.cross_entropy(z @ p.T / self.tau, y)
            pushed = (o @ p.T).amax(dim=1).sub(self.margin).relu().mean() if len(o) else 0
            return total + self.prototype * (pulled + pushed)

        return loss

    def _adapted(self, x: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.nn.functional.normalize(x + self.ratio * (x @ first.T).relu() @ second.T, dim=1)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity of adapted features with the learned prototypes."""
        first, second = (learned[name].astype(np.float64) for name in ("first", "second"))

        def change(features: np.ndarray) -> np.ndarray:  # in numpy, because importing torch costs seconds
            x = normalise(features.astype(np.float64))  # float32 would show where in its block an image stands
            return normalise(x + self.ratio * np.maximum(x @ first.T, 0) @ second.T).astype(np.float32)

        return Classifier(learned["prototypes"], change=change)


def contrast(z: torch.Tensor, labels: torch.Tensor, outliers: torch.Tensor, tau: float) -> torch.Tensor:
    """Return the supervised contrastive loss with outliers in the denominators.

    Args:
        z: Shape (b, D), unit norm.
        labels: Shape (b,).
        outliers: Shape (o, D), unit norm; o may be 0.
        tau: Temperature.

    Returns:
        The mean over samples that have a partner of their class; 0 where none has.
    """
    import torch

    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    inner = (z @ z.T / tau).masked_fill(itself, -torch.inf)
    logs = inner - torch.cat([inner, z @ outliers.T / tau], dim=1).logsumexp(dim=1, keepdim=True)
    partners = (labels[:, None] == labels) & ~itself
    counts = partners.sum(dim=1)
    having = counts > 0
    if not having.any():
        return z.sum() * 0
    of_partners = torch.where(partners, logs, 0).sum(dim=1)[having] / counts[having]
    return -of_partners.mean()


def mixtures(x: torch.Tensor, labels: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return up to `count` mixtures of two samples of different classes, shape (o, D), unit norm."""
    import torch

    one, other = (torch.randint(len(x), (count,), generator=generator).to(x.device) for _ in range(2))
    share = (0.3 + 0.4 * torch.rand((count, 1), generator=generator)).to(x.device)
    differ = labels[one] != labels[other]
    return torch.nn.functional.normalize((share * x[one] + (1 - share) * x[other])[differ], dim=1)
