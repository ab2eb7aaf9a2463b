"""Many texts through a backbone, in batches of one size and no longer than they are.

CLIP's text tower is causal and read at the end token: what is padded behind it changes nothing. So texts are sorted by
length, and every batch is cut behind its longest; of 77 places most labels fill ten. Exact but for rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from oodgrid.backbones import LoadedBackbone

if TYPE_CHECKING:
    import torch

BATCH = {"cpu": 64, "cuda": 1024}  # texts


def embed(loaded: LoadedBackbone, texts: Sequence[str], names: Sequence[str] | None = None) -> np.ndarray:
    """Return embeddings, shape (n, D), not normalised, of n texts.

    Short batches are filled up with their last text, so that a text depends on the others by the cut alone.

    Args:
        loaded: The backbone.
        texts: n texts.
        names: What messages call them. Default: as they begin.

    Raises:
        OodgridError: The backbone does not know a word, or takes no text, or one has no token.
    """
    import torch

    tokens, size = loaded.tokenize(list(texts), names), BATCH[loaded.device.split(":")[0]]
    if getattr(loaded.model, "embeds_any_length", False):
        with torch.inference_mode():
            return loaded.encode_text(tokens.to(loaded.device)).cpu().numpy()
    lengths = _lengths(loaded, tokens)
    order = lengths.argsort(stable=True)
    parts = []
    with torch.inference_mode():
        for rows in order.split(size):
            length = int(lengths[rows].max())
            filled = torch.cat([rows, rows[-1:].expand(size - len(rows))])
            features = shortened(loaded, length).encode_text(tokens[filled, :length].to(loaded.device))
            parts.append(features[: len(rows)].cpu().numpy())
    return np.concatenate(parts)[order.argsort().numpy()]


def embed_layers(loaded: LoadedBackbone, texts: Sequence[str], names: Sequence[str] | None = None) -> np.ndarray:
    """Return what every layer of an encoder of texts gives of n texts, shape (n, 1 + layers, D), not normalised.

    Args and errors: as of `embed`.
    """
    import torch

    tokens = loaded.tokenize(list(texts), names).to(loaded.device)
    with torch.inference_mode():
        (layers,) = loaded.encode_with(lambda model, tokens: (model.encode_layers(tokens),), tokens)
    return layers.cpu().numpy()


def _lengths(loaded: LoadedBackbone, tokens: torch.Tensor) -> torch.Tensor:
    """Return the places that each text fills, shape (n,); all of them where the tower looks at all."""
    import torch

    if not _ends_at_the_end_token(loaded.model):
        return torch.full((len(tokens),), tokens.shape[1])
    places = torch.arange(1, tokens.shape[1] + 1)
    return ((tokens != getattr(_part(loaded.model), "pad_id", 0)) * places).max(dim=1).values


def shortened(loaded: LoadedBackbone, length: int) -> LoadedBackbone:
    """Return the same backbone with a text tower of fewer places, which shares its weights."""
    import torch

    part = _part(loaded.model)
    if not _ends_at_the_end_token(loaded.model) or length == len(part.positional_embedding):
        return loaded
    positions = torch.nn.Parameter(part.positional_embedding[:length], requires_grad=False)
    short = _with(part, _parameters={"positional_embedding": positions})
    short = _with(short, _buffers={"attn_mask": part.attn_mask[:length, :length]})
    return replace(loaded, model=short if part is loaded.model else _with(loaded.model, _modules={"text": short}))


def _ends_at_the_end_token(model: torch.nn.Module) -> bool:
    part = _part(model)
    read = getattr(part, "pool_type", getattr(part, "text_pool_type", None))
    causal = getattr(part, "attn_mask", None) is not None and getattr(part, "cls_emb", None) is None
    return causal and read in ("argmax", "eos") and hasattr(part, "positional_embedding")


def _part(model: torch.nn.Module) -> torch.nn.Module:
    """Return the text tower, which is the model itself in open_clip's oldest class."""
    return getattr(model, "text", model)


def _with(module: torch.nn.Module, **changes: dict[str, Any]) -> torch.nn.Module:
    """Return a shallow copy of a module with some of its parameters, buffers or parts exchanged."""
    changed = copy.copy(module)
    for kind, entries in changes.items():
        changed.__dict__[kind] = {**module.__dict__[kind], **entries}
    return changed
