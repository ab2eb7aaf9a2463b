"""A joint space of a classifier and an encoder of texts: a convex combination of semantic embeddings (ConSE).

Norouzi et al., ICLR 2014: f(x) = 1/Z sum_t p(y_t | x) s(y_t) over the T likeliest classes y_t of image x, with
Z = sum_t p(y_t | x), and s(y) the embedding of the name of y. The paper itself could not be read here; that Z is the
sum of the T probabilities is as li-xirong/hierse has it, public code of somebody else. s(y) is normalised here, as
sentence-transformers leaves it; f(x) is not, as all features are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from oodgrid.errors import OodgridError, brief

if TYPE_CHECKING:
    from oodgrid.backbones import LoadedBackbone
    from oodgrid.config.backbone import Conse

BATCH = 250  # texts of classes at a time


def combined(logits: torch.Tensor, texts: torch.Tensor, top: int) -> torch.Tensor:
    """Return the mean of the texts of the likeliest classes, weighted by their probabilities, shape (N, D), float64.

    Args:
        logits: Shape (N, K). Of equal logits the first count as the likelier.
        texts: Shape (K, D), float64.
        top: T of the K classes are averaged.
    """
    values, classes = logits.double().sort(dim=1, descending=True, stable=True)
    # Z is the sum of the T probabilities, so that what all K share, the sum of the softmax, cancels.
    weights = values[:, :top].softmax(dim=1)
    return torch.zeros_like(logits, dtype=torch.float64).scatter_(1, classes[:, :top], weights) @ texts


class ConseModel(torch.nn.Module):
    """Both encoders, called as open_clip's models are.

    Attributes:
        text: The part that embeds texts, where those of open_clip have it.
    """

    def __init__(
        self, conse: Conse, classifier: LoadedBackbone, text: LoadedBackbone, head: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        super().__init__()
        self.text = getattr(text.model, "text", text.model)
        self.embeds_any_length = bool(getattr(text.model, "embeds_any_length", False))
        self._conse, self._classifier, self._encoder, self._head = conse, classifier, text, head
        self._texts: torch.Tensor | None = None  # of the classes, embedded when the first image comes

    def encode_image(self, pixels: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Return features (N, D), not normalised, of preprocessed images (N, 3, H, W)."""
        weights, bias = self._head
        logits = self._classifier.encode_image(pixels).double() @ weights.T + bias
        return combined(logits, self.class_texts(), self._conse.top).float()

    def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Return text features (N, D), not normalised, as the encoder of texts has them."""
        text: Any = self.text
        return text.encode_text(tokens) if hasattr(text, "encode_text") else text(tokens)

    def class_texts(self) -> torch.Tensor:
        """Return the normalised embeddings of the names of the K classes, shape (K, D), float64.

        Raises:
            OodgridError: The text tower would cut one, or does not know a word of it.
        """
        from oodgrid.backbones.tokens import cut_rows, places_of

        if self._texts is None:
            encoder, texts = self._encoder, self._conse.class_texts
            if cut := cut_rows(encoder, texts):
                raise OodgridError(
                    f"conse: the class {brief(texts[cut[0]])} of {self._classifier.name} is too long for the "
                    f"{places_of(encoder)} tokens of {encoder.name}: shorten it under head: classes"
                )
            batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
            with torch.inference_mode():
                parts = [encoder.encode_text(encoder.tokenize(batch).to(encoder.device)) for batch in batches]
                self._texts = torch.nn.functional.normalize(torch.cat(parts).double(), dim=1)
        return self._texts
