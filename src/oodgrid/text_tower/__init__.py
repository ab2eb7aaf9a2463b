"""Text towers that take embeddings in place of tokens, for prompt learners and for scores that invert images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oodgrid.errors import OodgridError, Skip
from oodgrid.text_tower.causal import CausalTower
from oodgrid.text_tower.plain import EncoderTower, PlainTower
from oodgrid.text_tower.prompts import Position
from oodgrid.text_tower.tower import Precision, TextTower

if TYPE_CHECKING:
    import torch

    from oodgrid.backbones import LoadedBackbone
    from oodgrid.config import Backbone

__all__ = ["Position", "Precision", "TextTower", "load", "of", "that_encoded"]


def load(backbone: Backbone, device: str | None = None) -> TextTower:
    """Load the text tower of a backbone, in fp32 whatever the images were encoded in: prompts are trained through it.

    Args:
        backbone: The backbone.
        device: Where it is to compute; default: the best device at hand.

    Raises:
        Skip: It has none.
    """
    from oodgrid import backbones

    return of(backbones.load(backbone.model_copy(update={"precision": "fp32"}), device))


def that_encoded(dataset: str, weights_sha256: str | None, backbone: Backbone, device: str | None = None) -> TextTower:
    """Load the text tower by which the class names of a dataset were encoded.

    Args:
        dataset: Name.
        weights_sha256: Of the weights that encoded them, where that is known.
        backbone: What the configuration says now.
        device: As of `load`.

    Raises:
        OodgridError: The backbone has other weights now.
        Skip: It has no text tower.
    """
    tower = load(backbone, device)
    is_now = tower.loaded.identity["weights_sha256"]
    if weights_sha256 and weights_sha256 != is_now:
        raise OodgridError(
            f"backbone {backbone.name} has weights {is_now} now but had {weights_sha256} when {dataset} was "
            "encoded: restore them, or give the new ones a backbone name of their own"
        )
    return tower


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
