"""From the bytes of an image file to an RGB picture."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image, ImageOps

from oodgrid.errors import OodgridError


def source_sha256(source: bytes | np.ndarray) -> bytes:
    """Return the digest, 32 bytes, of an image's source: its file, or its pixels where there is none."""
    return hashlib.sha256(source if isinstance(source, bytes) else np.ascontiguousarray(source)).digest()


def decode(source: bytes | np.ndarray, place: str, exif_rotation: bool = False) -> Image.Image:
    """Return the RGB picture of an image file's bytes, or of pixels (H, W) or (H, W, 3), uint8.

    This is the reference path: what Pillow's `convert("RGB")` gives, as in every peer's code. With `exif_rotation` the
    picture is turned upright as its EXIF data say, which no published number did.

    Raises:
        OodgridError: The image is broken; the line names `place`.
    """
    if not isinstance(source, bytes):
        return Image.fromarray(source).convert("RGB")
    try:
        with Image.open(io.BytesIO(source)) as image:
            if image.mode.startswith("I;16"):  # Pillow would clip all that is brighter than 255 of 65535 to white
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return (ImageOps.exif_transpose(image) if exif_rotation else image).convert("RGB")
    except Exception as error:  # Pillow's decoders fail on damage in many ways
        raise OodgridError(f"{place} is a broken image ({error}): replace or remove it") from error
