"""CLIP's text tower on embeddings in place of tokens, as prompt learners need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oodgrid import backbones
from oodgrid.adapt.contract import Skip
from oodgrid.config import Backbone

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prompts:
    """Tokenised class names, each followed by a full stop, ready for a context in front.

    Attributes:
        start: Shape (1, 1, W): embedding of the start token.
        suffix: Shape (K, S, W): embeddings of name, full stop, end token; zeros after the end.
        lengths: Shape (K,): tokens of each suffix, its end token included.
    """

    start: torch.Tensor
    suffix: torch.Tensor
    lengths: torch.Tensor


class TextTower:
    """The frozen text tower of one backbone.

    It is causal and only the end token's position is read. Two savings follow, both exact: whatever follows the
    end token changes nothing, so prompts are cut to the longest of them; and start and context, which stand in
    front and are the same for all classes, have the same hidden states for all, so they pass the layers once and
    only the names' tokens attend to them.
    """

    def __init__(self, loaded: backbones.LoadedBackbone) -> None:
        model = loaded.model
        if not _is_clip_like(model):
            raise Skip(f"the text tower of {loaded.name} is not causal and read at the end token")
        self.loaded, self.model, self.device = loaded, model, loaded.device

    @property
    def width(self) -> int:
        """Width W of the token embeddings."""
        return self.model.token_embedding.weight.shape[1]

    @property
    def logit_scale(self) -> float:
        """The learned logit scale (100 for OpenAI's weights)."""
        return float(self.model.logit_scale.exp())

    def embed(self, text: str) -> torch.Tensor:
        """Return the embeddings of the tokens of a text without start and end, shape (L, W)."""
        ids = self.loaded.tokenize([text])[0].tolist()
        return self.model.token_embedding.weight[ids[1 : _end(ids)]]

    def prompts(self, names: list[str]) -> Prompts:
        """Tokenise "name." for every class."""
        import torch

        tokens = self.loaded.tokenize([f"{name.replace('_', ' ')}." for name in names]).to(self.device)
        ends = torch.tensor([_end(row) for row in tokens.tolist()], device=self.device)
        suffix = self.model.token_embedding(tokens[:, 1 : int(ends.max()) + 1])
        kept = torch.arange(suffix.shape[1], device=self.device) < ends[:, None]
        return Prompts(self.model.token_embedding(tokens[:1, :1]), suffix * kept[..., None], ends)

    def encode(self, context: torch.Tensor, prompts: Prompts) -> torch.Tensor:
        """Return normalised text embeddings, shape (K, D), of start + context + suffix.

        Args:
            context: Shape (M, W), shared by all classes; gradients flow to it.
            prompts: From `prompts`.
        """
        import torch

        front = torch.cat([prompts.start, context[None]], dim=1)  # (1, P, W)
        shared, length = front.shape[1], front.shape[1] + prompts.suffix.shape[1]
        if length > self.model.context_length:
            raise Skip(f"the longest prompt has {length} tokens, the text tower takes {self.model.context_length}")
        position = self.model.positional_embedding
        front, names = front + position[:shared], prompts.suffix + position[shared:length]
        for block in self.model.transformer.resblocks:
            front, names = _through(block, front, names)
        classes = torch.arange(len(names), device=self.device)
        x = self.model.ln_final(names[classes, prompts.lengths - 1])
        projection = self.model.text_projection
        x = projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
        return torch.nn.functional.normalize(x, dim=-1)


def _through(block: torch.nn.Module, front: torch.Tensor, names: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pass the shared front (1, P, W) and the names (K, S, W) through one residual attention block."""
    import torch

    attend = torch.nn.functional.scaled_dot_product_attention
    queries, keys, values = _projected(block, front)
    seen = attend(queries, keys, values, is_causal=True)
    own_queries, *own = _projected(block, names)
    all_keys, all_values = (
        torch.cat([of_front.expand(len(names), -1, -1, -1), of_names], dim=2)
        for of_front, of_names in zip((keys, values), own, strict=True)
    )
    length, shared = names.shape[1], front.shape[1]
    causal = torch.ones(length, shared + length, dtype=torch.bool, device=names.device).tril(shared)
    own_seen = attend(own_queries, all_keys, all_values, attn_mask=causal)
    return _finished(block, front, seen), _finished(block, names, own_seen)


def _projected(block: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return queries, keys and values, each of shape (batch, heads, tokens, W / heads)."""
    import torch

    attention = block.attn
    together = torch.nn.functional.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    parts = together.unflatten(-1, (3, attention.num_heads, attention.head_dim))
    return parts.permute(2, 0, 3, 1, 4).unbind()


def _finished(block: torch.nn.Module, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return the block's output for x (batch, tokens, W) that has seen (batch, heads, tokens, W / heads)."""
    x = x + block.ls_1(block.attn.out_proj(seen.transpose(1, 2).flatten(2)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def load(backbone: Backbone) -> TextTower:
    """Load the text tower of a backbone, in fp32 whatever the images were encoded in: prompts are trained through it.

    Raises:
        Skip: It is not a causal tower that is read at the end token.
    """
    return TextTower(backbones.load(backbone.model_copy(update={"precision": "fp32"})))


def _is_clip_like(model: torch.nn.Module) -> bool:
    """Return whether the text tower is causal, read at the end token, and made of open_clip's plain blocks."""
    if not hasattr(model, "token_embedding") or model.attn_mask is None:
        return False
    if model.text_pool_type not in ("argmax", "eos"):
        return False
    return all(type(block).__name__ == "ResidualAttentionBlock" for block in model.transformer.resblocks)


def _end(ids: list[int]) -> int:
    return ids.index(max(ids))  # the end token has the highest id of CLIP's vocabulary
