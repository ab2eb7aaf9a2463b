"""A network of transformers for texts, in batches in which no text's numbers depend on the others.

A text is padded to the next of a few lengths that its own tokens decide, and goes through the network in batches of one
size, of which short ones are filled up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from oodgrid.errors import OodgridError

PADDING = -1  # in place of a token; the number that a model pads with may be a token of texts too
STEPS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # lengths to which texts are padded, then multiples of 256
BATCH = {"cpu": 16, "cuda": 128}  # texts; divides the rows of a chunk


class TextModel(torch.nn.Module):
    """A network of transformers with its pooling, called as open_clip's text towers are."""

    embeds_any_length = True  # `encode_text` batches texts of several lengths by itself

    def __init__(self, network: torch.nn.Module, pooling: str, layer: int, max_length: int, pad: int) -> None:
        super().__init__()
        self.network, self.pooling, self.layer, self.max_length, self.pad = network, pooling, layer, max_length, pad

    def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Return pooled embeddings (N, D), not normalised, of token ids (N, L), `PADDING` behind each text.

        Raises:
            OodgridError: A text has no token.
        """
        return self._batched(tokens, self.pooled)

    def encode_layers(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return what every layer gives of them, pooled alike, shape (N, 1 + layers, D): first the embeddings.

        Raises:
            OodgridError: A text has no token.
        """
        return self._batched(tokens, self.pooled_layers)

    def _batched(self, tokens: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Return what a function makes of token ids (N, L), in full batches of texts of one length."""
        lengths = (tokens != PADDING).sum(dim=1)
        if len(rows := (lengths == 0).nonzero()):  # who knows the text has refused it
            raise OodgridError(f"text {int(rows[0])} of {len(tokens)} has no token for this tokenizer: take it out")
        size = BATCH[tokens.device.type]
        steps = torch.tensor([self.padded(int(length)) for length in lengths])
        features: torch.Tensor | None = None
        for step in steps.unique().tolist():
            for rows in (steps == step).nonzero()[:, 0].split(size):
                filled = torch.cat([rows, rows[-1:].expand(size - len(rows))]).to(tokens.device)
                pooled = function(to_length(tokens[filled], step))[: len(rows)]
                features = pooled.new_empty(len(tokens), *pooled.shape[1:]) if features is None else features
                features[rows] = pooled
        assert features is not None  # there is a text
        return features

    def padded(self, length: int) -> int:
        """Return the length to which a text of some tokens is padded."""
        if self.pooling == "mean_with_padding":
            return self.max_length
        step = next((step for step in STEPS if step >= length), -(-length // 256) * 256)
        return min(step, self.max_length)

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, D), not normalised, of token ids (N, L), `PADDING` behind each text."""
        last = self.layer == -1
        left, mask = self._run(tokens, layers=not last)
        return self._pool(left.last_hidden_state if last else left.hidden_states[self.layer], mask)

    def pooled_layers(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of every layer, (N, 1 + layers, D); the last is what `pooled` gives by default."""
        left, mask = self._run(tokens, layers=True)
        return torch.stack([self._pool(each, mask) for each in (*left.hidden_states[:-1], left.last_hidden_state)], 1)

    def _run(self, tokens: torch.Tensor, layers: bool) -> tuple[Any, torch.Tensor]:
        """Return what the network gives of token ids (N, L), and where these are no padding."""
        mask = tokens != PADDING
        ids = tokens.masked_fill(~mask, self.pad)
        return self.network(input_ids=ids, attention_mask=mask.long(), output_hidden_states=layers), mask

    def _pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return one embedding of the tokens (N, L, D) of each text, shape (N, D)."""
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":
            return hidden[torch.arange(len(hidden)), mask.sum(dim=1) - 1]
        if self.pooling == "mean_with_padding":
            return hidden.mean(dim=1)
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def to_length(tokens: torch.Tensor, length: int) -> torch.Tensor:
    """Return token ids (N, L) cut or padded to another length, which holds all of each text."""
    short = tokens[:, :length]
    return torch.nn.functional.pad(short, (0, length - short.shape[1]), value=PADDING)
