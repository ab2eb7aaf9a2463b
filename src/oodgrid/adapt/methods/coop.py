"""CoOp: learns the context of the prompt."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import NonNegativeFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, normalise
from oodgrid.adapt.training import Family, TrainingFeatures, batches, coop_learning_rate, step
from oodgrid.registry import method

EPOCHS = ((1, 50), (4, 100), (10**9, 200))  # up to so many shots: epochs of the published recipe


@method(
    leaves="prototypes",
    needs=("text_tower", "shots"),
    paper="Zhou et al. 2022 (IJCV), Learning to Prompt for Vision-Language Models; github.com/KaiyangZhou/CoOp",
)
@dataclass(frozen=True)
class CoOp:
    """CoOp: learns M context vectors, shared by all classes, in place of "a photo of a".

    The prompt of class k is [start] v_1 … v_M name_k . [end]; its embedding g_k is the prototype. Loss: cross
    entropy of s cos(x, g_k), s the backbone's logit scale. Recipe of the code of record: v ~ N(0, 0.02²), SGD
    0.002 with momentum 0.9 and weight decay 5e-4, batches of 32, one warm-up epoch at 1e-5, then a cosine
    stepped by epoch; 50 epochs for 1 shot, 100 for 2 and 4, 200 from 8; the last step counts, nothing is selected.

    Scale: cosines (the training logits are s times them).
    Deviations: one of the cached `views` an image and epoch (CoOp's own: rrc08), or the centre view where none are
    named, in place of a fresh random crop every epoch; float32 throughout, where
    the official float16 context has collapsed runs.
    """

    context_tokens: PositiveInt = 16
    epochs: PositiveInt | None = None
    lr: NonNegativeFloat = 0.002
    batch: PositiveInt = 32
    views: Family = None

    def fit(self, data: FitData) -> Learned:
        """Train the context on the shots."""
        import torch

        tower = data.text.tower()
        prompts = tower.prompts(data.text.classnames)
        generator = torch.Generator().manual_seed(data.seed)
        context = (0.02 * torch.randn(self.context_tokens, tower.width, generator=generator)).to(tower.device)
        context.requires_grad_(True)
        optimiser = torch.optim.SGD([context], lr=self.lr, momentum=0.9, weight_decay=5e-4)
        features = TrainingFeatures(data, tower.device, normalise)
        y = torch.from_numpy(data.train_labels).long().to(tower.device)
        epochs = self.epochs or next(count for shots, count in EPOCHS if data.shots <= shots)
        losses = []
        for epoch in range(epochs):
            optimiser.param_groups[0]["lr"] = coop_learning_rate(epoch, epochs, self.lr)
            total = []
            x = features.epoch(generator)
            for rows in batches(len(x), self.batch, generator):
                logits = tower.logit_scale * x[rows] @ tower.encode(context, prompts).T
                total.append(step(torch.nn.functional.cross_entropy(logits, y[rows]), optimiser, epoch))
            losses.append(sum(total) / len(total))
        return Learned({"context": context.detach().cpu().numpy()}, self._info(epochs, losses))

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Encode the class names under the learned context."""
        import torch

        tower = text.tower()
        context = torch.from_numpy(learned["context"]).to(tower.device)
        with torch.inference_mode():
            prototypes = tower.encode(context, tower.prompts(text.classnames))
        return Classifier(prototypes.cpu().numpy())

    def _info(self, epochs: int, losses: list[float]) -> dict:
        return {"epochs": epochs, "losses": losses}
