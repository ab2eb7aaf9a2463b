"""Text towers that take embeddings in place of tokens, for prompt learners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oodgrid.adapt.contract import Skip
from oodgrid.adapt.text_tower.causal import CausalTower
from oodgrid.adapt.text_tower.plain import EncoderTower, PlainTower
from oodgrid.adapt.text_tower.prompts import Position
from oodgrid.adapt.text_tower.tower import Precision, TextTower

if TYPE_CHECKING:
    import torch

    from oodgrid.backbones import LoadedBackbone
    from oodgrid.config import Backbone

__all__ = ["Position", "Precision", "TextTower", "load", "of"]


def load(backbone: Backbone) -> TextTower:
    """Load the text tower of a backbone, in fp32 whatever the images were encoded in: prompts are trained through it.

    Raises:
        Skip: It has none.
    """
    from oodgrid import backbones

    return of(backbones.load(backbone.model_copy(update={"precision": "fp32"})))


def of(loaded: LoadedBackbone) -> TextTower:
    """Return the fastest exact way through the text tower of a loaded backbone.

    Raises:
        Skip: It has none.
    """
    if loaded.tokenizer is None:
        raise Skip(f"backbone {loaded.name} has no text tower")
    if getattr(loaded.model, "embeds_any_length", False):
        return EncoderTower(loaded)
    part = getattr(loaded.model, "text", loaded.model)
    return CausalTower(loaded) if _is_causal_and_read_at_the_end(part) else PlainTower(loaded)


def _is_causal_and_read_at_the_end(part: torch.nn.Module) -> bool:
    """Return whether tokens after the end token change nothing, in layers that are open_clip's plain blocks."""
    if not hasattr(part, "token_embedding") or getattr(part, "attn_mask", None) is None:
        return False
    if getattr(part, "pool_type", getattr(part, "text_pool_type", None)) not in ("argmax", "eos"):
        return False
    if getattr(part, "cls_emb", None) is not None:
        return False
    blocks = part.transformer.resblocks
    return all(type(block).__name__ == "ResidualAttentionBlock" for block in blocks)
