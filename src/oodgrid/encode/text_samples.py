"""The samples of a dataset of texts through a text tower, chunk after chunk, as `pipeline` does it for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from oodgrid import store
from oodgrid.backbones import LoadedBackbone
from oodgrid.backbones.tokens import cut_rows, places_of
from oodgrid.counts import counted
from oodgrid.encode.chunks import Chunk, Chunks
from oodgrid.encode.decode import source_sha256
from oodgrid.encode.embedding import embed, embed_layers
from oodgrid.encode.sources import ImageSet
from oodgrid.encode.work import Shard
from oodgrid.progress import progress

PARITY = 64  # texts


def encode_text_rows(chunks: Chunks, shard: Shard, title: str) -> None:
    """Encode and keep every chunk of a shard that is not finished yet.

    Raises:
        OodgridError: The backbone does not know a word; finished chunks stay.
    """
    pending = chunks.pending(shard)
    done = sum(len(chunks.rows(start)) for start in set(chunks.starts(shard)) - set(pending))
    total = done + sum(len(chunks.rows(start)) for start in pending)
    with progress(total=total, initial=done, desc=title, unit="text") as bar:
        for start in pending:
            chunks.write(start, _chunk(chunks, chunks.rows(start)))
            bar.update(len(chunks.rows(start)))


def _chunk(chunks: Chunks, rows: range) -> Chunk:
    samples, about = chunks.images, chunks.provenance
    texts = _texts(samples)[rows.start : rows.stop]
    whose = [
        f"dataset {about['dataset']['name']}, {about['split']}, {name}"
        for name in samples.paths[rows.start : rows.stop]
    ]
    layers = embed_layers(chunks.loaded, texts, whose) if "layer_features" in about else None
    features = embed(chunks.loaded, texts, whose) if layers is None else layers[:, chunks.loaded.model.layer]
    parity = chunks.loaded.text_parity(list(texts[:PARITY])) if rows.start == 0 else None
    store.check_finite(features, "encoding", samples.paths[rows.start : rows.stop])
    digests = b"".join(source_sha256(text.encode()) for text in texts)
    stamps = np.array([samples.stamp(row) for row in rows], dtype=np.int64)
    usable, sha256 = np.ones(len(texts), dtype=bool), np.frombuffer(digests, np.uint8).reshape(-1, 32)
    return Chunk(features, sha256, stamps, usable, [], parity=parity, layer_features=layers)


def with_cuts(loaded: LoadedBackbone, samples: ImageSet) -> ImageSet:
    """Return the samples of a split with a remark on those of whose text the text tower does not see the end."""
    texts = samples.words or ()
    rows = cut_rows(loaded, texts)
    if not rows:
        return samples
    cut = counted(len(rows), "text is", "texts are")
    line = (
        f"{cut} cut, being longer than the {places_of(loaded)} tokens of {loaded.name} ({len(rows) / len(texts):.1%} "
        f"of {len(texts):,}), the first: {samples.paths[rows[0]]}"
    )
    return replace(samples, remarks=(*samples.remarks, line))


def tokens_of(loaded: LoadedBackbone) -> Callable[[int, bytes | np.ndarray], torch.Tensor]:
    """Return what makes network input of one text, by its row and its UTF-8."""
    return lambda row, source: loaded.tokenize([bytes(source).decode()])


def _texts(samples: ImageSet) -> Sequence[str]:
    if samples.texts is None:
        raise TypeError("the samples are images")
    return samples.texts
