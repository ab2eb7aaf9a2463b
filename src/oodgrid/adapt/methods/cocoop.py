"""CoCoOp: a context of its own for every image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, Skip, TextSide, normalise
from oodgrid.adapt.training import Family, Recipe, TrainingFeatures, uniform
from oodgrid.counts import counted
from oodgrid.registry import method
from oodgrid.text_tower import Precision, TextTower
from oodgrid.vectors import filled

if TYPE_CHECKING:
    import torch

NET = ("inner", "inner_bias", "outer", "outer_bias")
IMAGES = 16  # whose contexts are encoded at a time, when applied


@method(
    title="CoCoOp",
    look="orange v",
    leaves="logits",
    needs=("text_tower", "shots"),
    text_cosines=True,
    paper="Zhou et al. 2022 (CVPR), Conditional Prompt Learning for Vision-Language Models, equation 3; "
    "github.com/KaiyangZhou/CoOp",
)
@dataclass(frozen=True)
class CoCoOp:
    """CoCoOp: CoOp whose context vectors are moved, all by the same, by a small network of the image's feature.

    v_m(x) = v_m + W₂ relu(W₁ x + b₁) + b₂ with x the normalised feature and D/16 hidden units; logits are s cos(x,
    g_k(x)), with g_k(x) the embedding of class k under the context v(x). Recipe: four tokens from "a photo of a",
    SGD 0.002 with momentum 0.9 and weight decay 5e-4, batches of 1, 10 epochs, CoOp's schedule; the last step counts.

    Scale: cosines (the training logits are s times them).
    Deviations: `views` as for CoOp; float32 parameters, `precision` is that of the tower's layers alone. Every image
    costs a pass of all class names through the text tower, at test time too.
    """

    init: str = "a photo of a"
    epochs: PositiveInt = 10
    lr: NonNegativeFloat = 0.002
    batch: PositiveInt = 1
    views: Family = None
    precision: Precision = "fp32"

    def fit(self, data: FitData) -> Learned:
        """Train context and network on the shots."""
        import torch

        tower = data.text.tower().at(self.precision)
        prompts = tower.prompts(data.text.classnames)
        generator = torch.Generator().manual_seed(data.seed)
        parameters = [tower.embed(self.init).clone(), *_network(data.train.shape[1], tower.width, generator)]
        parameters = [parameter.to(tower.device).requires_grad_(True) for parameter in parameters]
        labels = torch.from_numpy(data.train_labels).long().to(tower.device)

        def loss(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            embeddings = tower.encode_each(_contexts(x, *parameters), prompts)
            logits = tower.logit_scale * torch.einsum("bd,bkd->bk", x, embeddings)
            return torch.nn.functional.cross_entropy(logits, labels[rows])

        recipe = Recipe(self.epochs, self.lr, self.batch, scaled=self.precision == "fp16")
        features = TrainingFeatures(data, tower.device, normalise)
        losses = recipe.descend(parameters, data, features, generator, loss)
        arrays = [parameter.detach().cpu().numpy() for parameter in parameters]
        info = {"epochs": self.epochs, "losses": losses, "notes": tower.note}
        return Learned(dict(zip(("context", *NET), arrays, strict=True)), info)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosines with the class names under every image's own context."""
        tower = text.tower().at(self.precision)
        return Classifier(text.prototypes, logits=_logits(tower, learned, text.classnames))


def _logits(tower: TextTower, learned: Arrays, names: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    prompts = tower.prompts(names)
    parameters = [torch.from_numpy(learned[name]).to(tower.device) for name in ("context", *NET)]

    def logits(features: np.ndarray) -> np.ndarray:
        parts = []
        with torch.inference_mode():
            for part in torch.from_numpy(filled(normalise(features), IMAGES)).to(tower.device).split(IMAGES):
                embeddings = tower.encode_each(_contexts(part, *parameters), prompts)
                parts.append(torch.einsum("bd,bkd->bk", part, embeddings).cpu())
        return torch.cat(parts).numpy()[: len(features)]

    return logits


def _network(width: int, tokens: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Return weights and biases of the network, from features of a width to token embeddings of another."""
    hidden = width // 16
    if not hidden:
        raise Skip(f"features of {counted(width, 'dimension')} are too small for a bottleneck of a sixteenth")
    shapes = [((hidden, width), width), ((hidden,), width), ((tokens, hidden), hidden), ((tokens,), hidden)]
    return [uniform(shape, inputs, generator) for shape, inputs in shapes]


def _contexts(
    x: torch.Tensor,
    context: torch.Tensor,
    inner: torch.Tensor,
    inner_bias: torch.Tensor,
    outer: torch.Tensor,
    outer_bias: torch.Tensor,
) -> torch.Tensor:
    """Return the context of every image, shape (b, M, W), of normalised features, shape (b, D)."""
    moved = (x @ inner.T + inner_bias).relu() @ outer.T + outer_bias
    return context + moved[:, None]
