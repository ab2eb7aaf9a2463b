"""GalLoP: several prompts for the whole image, and several for its likeliest patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, normalise
from oodgrid.adapt.training import Family, Recipe, TrainingFeatures
from oodgrid.registry import method
from oodgrid.text_tower import Precision
from oodgrid.vectors import filled

if TYPE_CHECKING:
    import torch

IMAGES = 32  # per batch when logits are computed: their patches are compared with all prompts at once
Share = Annotated[float, Field(ge=0, le=1)]


@method(
    title="GalLoP",
    look="vermillion < -.",
    leaves="logits",
    needs=("text_tower", "shots", "local_features"),
    paper="Lafon et al. 2024 (ECCV), GalLoP: Learning Global and Local Prompts for Vision-Language Models, "
    "equations 3-8; github.com/MarcLafon/gallop",
)
@dataclass(frozen=True)
class GalLoP:
    """GalLoP: `global_prompts` contexts for the image, and one context for each of `top_k` for its likeliest patches.

    Global logits of context i are cos(x, g_ik). Local logits of context j are the mean of cos(W x_p, l_jk) over the
    top_k[j] patches p where it is largest, with W a learned projection that starts as the identity.
    Loss: cross entropy of s times the global logits of a few contexts drawn anew for every image (all but `dropout` of
    them, one at least), plus the mean over j of the cross entropy of s times the local logits of context j.
    Classified by the mean of the global and the mean of the local logits, (global + local) / 2.

    Recipe: all contexts start as "a photo of a"; SGD 0.002 with momentum 0.9 and weight decay 0.01, batches of 128, 50
    epochs (ImageNet; the code's scripts for smaller sets: batches of 32, 200 epochs), a cosine stepped by epoch without
    warm-up. With one global context and no `top_k` this is CoOp with this recipe.

    Needs local features of training and test images (a backbone with `local_features: true`).
    Scale: cosines (the training logits are s times them).
    Deviations: W stands behind the image encoder's own projection, which cached local features have passed (the code's
    stands before it); a full stop after the names, as for CoOp; `views` and float32 as for CoOp. Scores see the logits
    that classify; the code's GL-MCM, which asks every patch for itself, is not among them.
    """

    global_prompts: PositiveInt = 4
    top_k: tuple[PositiveInt, ...] = (5, 10, 15, 20)
    dropout: Share = 0.75
    init: str = "a photo of a"
    epochs: PositiveInt = 50
    lr: NonNegativeFloat = 0.002
    batch: PositiveInt = 128
    weight_decay: NonNegativeFloat = 0.01
    views: Family = None
    precision: Precision = "fp32"

    def fit(self, data: FitData) -> Learned:
        """Train contexts and projection on the shots."""
        import torch

        tower = data.text.tower().at(self.precision)
        prompts = tower.prompts(data.text.classnames)
        generator = torch.Generator().manual_seed(data.seed)
        count = self.global_prompts + len(self.top_k)
        start = (tower.embed(self.init).expand(count, -1, -1).clone(), torch.eye(data.train.shape[1]))
        contexts, projection = (value.to(tower.device).requires_grad_(True) for value in start)
        features = TrainingFeatures(data, tower.device, normalise)
        labels = torch.from_numpy(data.train_labels).long().to(tower.device)

        def loss(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            embeddings = tower.encode_each(contexts, prompts)
            patches = features.local(rows) if self.top_k else None
            return self.loss(x, patches, labels[rows], embeddings, projection, tower.logit_scale, generator)

        scaled = self.precision == "fp16"
        recipe = Recipe(self.epochs, self.lr, self.batch, self.weight_decay, scaled, warm_up=False)
        parameters = [contexts, projection] if self.top_k else [contexts]
        losses = recipe.descend(parameters, data, features, generator, loss)
        arrays = {"contexts": contexts.detach().cpu().numpy(), "projection": projection.detach().cpu().numpy()}
        return Learned(arrays, {"epochs": self.epochs, "losses": losses, "notes": tower.note})

    def loss(
        self,
        x: torch.Tensor,
        patches: torch.Tensor | None,
        labels: torch.Tensor,
        embeddings: torch.Tensor,
        projection: torch.Tensor,
        scale: float,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the loss of features (b, D), patches (b, P, D), if `top_k` has any, and prompts (contexts, K, D)."""
        import torch

        global_prompts, local_prompts = embeddings.split([self.global_prompts, len(self.top_k)])
        kept = max(self.global_prompts - int(self.dropout * self.global_prompts), 1)
        chosen = torch.randint(self.global_prompts, (len(x), kept), generator=generator).to(x.device)
        logits = torch.einsum("bd,nkd->bnk", x, global_prompts)
        logits = logits.gather(1, chosen[:, :, None].expand(-1, -1, logits.shape[2])).mean(dim=1)
        total = torch.nn.functional.cross_entropy(scale * logits, labels)
        if patches is None:
            return total
        parts = [
            torch.nn.functional.cross_entropy(scale * logits, labels)
            for logits in self.local_logits(patches, local_prompts, projection)
        ]
        return total + sum(parts) / len(parts)

    def local_logits(
        self, patches: torch.Tensor, embeddings: torch.Tensor, projection: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the logits of every local context, each (b, K): means over the likeliest patches of (b, P, D)."""
        import torch

        moved = torch.nn.functional.normalize(patches @ projection.T, dim=-1)
        return [
            (moved @ prompt.T).topk(min(k, moved.shape[1]), dim=1).values.mean(dim=1)
            for k, prompt in zip(self.top_k, embeddings, strict=True)
        ]

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return the mean of global and local logits, with the class names encoded under every context."""
        import torch

        tower = text.tower().at(self.precision)
        with torch.inference_mode():
            contexts = torch.from_numpy(learned["contexts"]).to(tower.device)
            embeddings = tower.encode_each(contexts, tower.prompts(text.classnames))
        projection = torch.from_numpy(learned["projection"]).to(tower.device)
        return Classifier(text.prototypes, local_logits=self._logits_of(embeddings, projection))

    def _logits_of(
        self, embeddings: torch.Tensor, projection: torch.Tensor
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        import torch

        global_prompts, local_prompts = embeddings.split([self.global_prompts, len(self.top_k)])

        def of_batch(x: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
            logits = x @ global_prompts.mean(dim=0).T
            if not self.top_k:
                return logits
            return (logits + sum(self.local_logits(patches, local_prompts, projection)) / len(self.top_k)) / 2

        def logits(features: np.ndarray, local: np.ndarray) -> np.ndarray:
            images, patches = (torch.from_numpy(filled(rows, IMAGES)) for rows in (normalise(features), local))
            batches = zip(images.split(IMAGES), patches.split(IMAGES), strict=True)
            with torch.inference_mode():
                parts = [of_batch(*(part.to(embeddings.device).float() for part in batch)).cpu() for batch in batches]
            return torch.cat(parts).numpy()[: len(features)]

        return logits
