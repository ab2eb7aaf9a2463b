"""From the bytes of an image file to an RGB picture."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

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
            return _eight_bits(ImageOps.exif_transpose(image) if exif_rotation else image, image.format).convert("RGB")
    except UnidentifiedImageError as error:  # whose own words hold an address in memory, another one in every run
        raise OodgridError(f"{place} is a broken image (it is in no known format): replace or remove it") from error
    except Exception as error:  # Pillow's decoders fail on damage in many ways
        raise OodgridError(f"{place} is a broken image ({error}): replace or remove it") from error


def _eight_bits(image: Image.Image, kind: str | None) -> Image.Image:
    """Return the upper eight of 16 bits: Pillow would clip all that is brighter than 255 of 65535 to white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):  # both hold 16 bits as 32
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"nothing says what is white in pixels of mode {image.mode}: save it with 8 or 16 bits")
    return image
