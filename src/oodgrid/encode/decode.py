"""From the bytes of an image file to an RGB picture."""

from __future__ import annotations

import hashlib
import io
import warnings

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from oodgrid.errors import OodgridError

# Pillow refuses pictures beyond twice MAX_IMAGE_PIXELS, 179 million pixels; that it warns of half as many is noise.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Text and colour profiles beside sound pixels may be larger than the 1 MB, 64 MB in all, that Pillow puts up with.
PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = 2**26, 2**29

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class OutOfMemoryError(OodgridError):
    """The machine has too little memory for an image, which may be sound and so is never skipped."""


def source_sha256(source: bytes | np.ndarray) -> bytes:
    """Return the digest, 32 bytes, of an image's source: its file, or its pixels where there is none."""
    return hashlib.sha256(source if isinstance(source, bytes) else np.ascontiguousarray(source).data).digest()


def decode(source: bytes | np.ndarray, place: str, exif_rotation: bool = False) -> Image.Image:
    """Return the RGB picture of an image file's bytes, or of pixels (H, W) or (H, W, 3), uint8.

    This is the reference path: what Pillow's `convert("RGB")` gives, as in every peer's code. With `exif_rotation` the
    picture is turned upright as its EXIF data say, which no published number did.

    Raises:
        OodgridError: The image is broken or too large; the line names `place`.
    """
    if not isinstance(source, bytes):
        return Image.fromarray(source).convert("RGB")
    try:
        with Image.open(io.BytesIO(source)) as image:
            image.load()
            picture = _eight_bits(image, image.format)
            # a copy of what is RGB already, as convert would make, takes four bytes a pixel more
            picture = picture if picture.mode == "RGB" else picture.convert("RGB")
            turn = _turn(image) if exif_rotation else None
            return picture if turn is None else picture.transpose(turn)
    except MemoryError as error:
        raise OutOfMemoryError(f"{place}: there is too little memory to decode it: use fewer cores") from error
    except Image.DecompressionBombError as error:
        pixels = str(error).partition(",")[0]  # how many pixels, and how many may be
        raise OodgridError(f"{place} is too large ({pixels}): make it smaller or remove it") from error
    except UnidentifiedImageError as error:  # its message holds an address in memory, another one in every run
        raise OodgridError(f"{place} is a broken image (it is in no known format): replace or remove it") from error
    except Exception as error:  # Pillow's decoders fail on damage in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        if "MAX_TEXT" in reason:
            raise OodgridError(f"{place} is too large (of text or a colour profile alone): save it without") from error
        raise OodgridError(f"{place} is a broken image ({reason}): replace or remove it") from error


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how a picture is to be turned; None where its EXIF data do not say so or cannot be read.

    Pillow's `exif_transpose` would write all EXIF data again, and fails on tags that have nothing to do with it.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return TURNS.get(orientation[0] if isinstance(orientation, tuple | bytes) else orientation)
    except Exception:  # damaged EXIF data fail in many ways, and the pixels may be sound
        return None


def _eight_bits(image: Image.Image, kind: str | None) -> Image.Image:
    """Return the upper eight of 16 bits: Pillow would clip all that is brighter than 255 of 65535 to white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):  # both hold 16 bits as 32
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"nothing says what is white in pixels of mode {image.mode}: save it with 8 or 16 bits")
    return image
