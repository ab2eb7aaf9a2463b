"""What encoding does otherwise for samples of another kind, image, text or pair: the one place of encode that asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from oodgrid.backbones import LoadedBackbone
from oodgrid.encode.chunks import Chunks, Shard
from oodgrid.encode.pipeline import encode_rows
from oodgrid.encode.sources import ImageSet
from oodgrid.encode.text_samples import encode_text_rows, tokens_of, with_cuts

Prepare = Callable[[int, bytes | np.ndarray], torch.Tensor]  # row and source of a sample to network input


@dataclass(frozen=True)
class Kind:
    """How samples of one kind are encoded.

    Attributes:
        encode: Leaves all chunks of a shard; the title is that of its progress.
        remarked: The samples of a split with remarks on what the backbone will not see of them.
        prepare: What makes network input of a sample; None where it is decoded and preprocessed as images are.
        has_patches: Whether there are local features of a sample.
    """

    encode: Callable[[Chunks, Shard, str], None] = encode_rows
    remarked: Callable[[LoadedBackbone, ImageSet], ImageSet] = lambda loaded, samples: samples
    prepare: Callable[[LoadedBackbone], Prepare | None] = lambda loaded: None
    has_patches: bool = True


KINDS = {
    "image": Kind(),
    "pair": Kind(remarked=with_cuts),
    "text": Kind(encode_text_rows, with_cuts, tokens_of, has_patches=False),
}
