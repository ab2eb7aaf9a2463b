"""Features of images that belong to no dataset: as those of datasets, but kept nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from oodgrid.backbones import LoadedBackbone
from oodgrid.encode.chunks import Chunk
from oodgrid.encode.pipeline import encoded
from oodgrid.encode.sources import ImageSet
from oodgrid.encode.work import WHOLE, Work


def encode_unseen(
    loaded: LoadedBackbone, images: ImageSet, *, local: bool = False, upright: bool = False
) -> Iterator[tuple[int, Chunk]]:
    """Yield what a backbone makes of images, a chunk of rows at a time, each behind its first row.

    The numbers of an image are those that `oodgrid encode` gives it, whatever other images are beside it. A broken
    image is no error: its row is not usable, and the chunk says why.

    Args:
        loaded: The backbone.
        images: The images.
        local: Make local features too.
        upright: Turn pictures as their EXIF data say.
    """
    work = Work(loaded, images, skip=True, local=local, upright=upright)
    yield from encoded(work, work.starts(WHOLE), "encode")
