"""Small pictures of test images, for whoever looks at single samples."""

from __future__ import annotations

import io
from collections.abc import Sequence

from oodgrid.config import Dataset
from oodgrid.encode.decode import decode
from oodgrid.encode.sources import open_split
from oodgrid.errors import OodgridError

SIDE = 72  # pixels of the longer side
QUALITY = 70  # of JPEG


def thumbnails(dataset: Dataset, paths: Sequence[str]) -> dict[str, bytes]:
    """Return JPEG pictures of test images by path; none of texts, nor of what cannot be read here.

    Args:
        dataset: The dataset, as the configuration says it.
        paths: Names of images as its feature file has them.
    """
    if "image" not in dataset.parts or not paths:
        return {}
    try:
        images = open_split(dataset, "test")
    except (OodgridError, OSError, ImportError):  # results may have come without their images, or without a library
        return {}
    rows = {path: row for row, path in enumerate(images.paths)}
    pictures = {}
    for path in paths:
        if path in rows:
            try:
                picture = decode(images.read(rows[path]), images.place(rows[path]), dataset.exif_rotation)
            except (OodgridError, OSError):
                continue
            picture.thumbnail((SIDE, SIDE))
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=QUALITY)
            pictures[path] = buffer.getvalue()
    return pictures
