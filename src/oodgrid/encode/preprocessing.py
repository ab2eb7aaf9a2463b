"""From the source of an image to the input of the network: the reference path, and a faster one for JPEG files.

`reference` is Pillow and open_clip's own transform, to the last bit what every peer computes. `fast` decodes to the
same bits (libjpeg-turbo through torchvision) and resizes as uint8, which changes one of 256 levels in a few pixels of a
thousand. JPEGs of more than six times the network's size are decoded at a half, a quarter or an eighth (the DCT's own
scaling), never below three times the size that is needed. Whatever else there is, as PNG or CMYK, takes the reference
path. benchmarks/decode.py measures both.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from oodgrid.encode.decode import decode
from oodgrid.encode.jpeg import START, read_header
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    import torch

SPARE = 3  # scaled decoding keeps so many times the pixels a side that are needed; at 2, cosines fell to .96


def preparer(
    preprocess: Callable[[Image.Image], torch.Tensor],
    preprocessing: dict[str, Any],
    kind: str = "reference",
    exif_rotation: bool = False,
    as_bytes: bool = False,
) -> Callable[[bytes | np.ndarray, str], torch.Tensor]:
    """Return a function from an image's source and place to the network's input, shape (3, H, W), float32.

    With `as_bytes` it stops before the numbers are scaled, at uint8, and `normalised` does the rest on the device: a
    quarter of the memory to copy, and on the reference path the same numbers to the last bit. It raises OodgridError,
    naming the place, where the image is broken; any number of threads may call it.

    Args:
        preprocess: The backbone's own transform of a picture.
        preprocessing: What it does: size, resize, interpolation, resize_mode, mean, std.
        kind: "fast", or another way, of which what the host decodes takes the reference path.
        exif_rotation: Turn pictures upright; these take the reference path.
        as_bytes: Return uint8.
    """
    import torch

    cut, scaled = pixels_of(preprocess, preprocessing, exif_rotation), scaler(preprocessing)

    def reference(source: bytes | np.ndarray, place: str) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(cut(source, place))).permute(2, 0, 1)
        return pixels if as_bytes else scaled(pixels)

    if kind != "fast" or exif_rotation or not resizes_plainly(preprocessing):
        return reference
    finish = finisher(preprocessing, as_bytes)

    def fast(source: bytes | np.ndarray, place: str) -> torch.Tensor:
        pixels = _decode_jpeg(source, _needed(preprocessing)) if isinstance(source, bytes) else None
        return reference(source, place) if pixels is None else finish(pixels)

    return fast


def open_picture(
    source: bytes | np.ndarray, place: str, preprocessing: dict[str, Any], exif_rotation: bool
) -> Image.Image:
    """Return the RGB picture of an image's source.

    Raises:
        OodgridError: It is broken, too large, or so long that it cannot be resized; the line names `place`.
    """
    image = decode(source, place, exif_rotation)
    if preprocessing["resize_mode"] == "shortest":
        _check_length(image, _needed(preprocessing), place)
    return image


def resizes_plainly(preprocessing: dict[str, Any]) -> bool:
    """Return whether resizing is none of open_clip's own ways, for the longest side or an input that is no square."""
    size = preprocessing["size"]
    return preprocessing["resize_mode"] != "longest" and (isinstance(size, int) or size[0] == size[1])


def normalised(pixels: torch.Tensor, preprocessing: dict[str, Any]) -> torch.Tensor:
    """Return the network's input, shape (N, 3, H, W), float32, of pixels, uint8, by the steps of torchvision."""
    return scaler(preprocessing, pixels.device)(pixels)


def scaler(preprocessing: dict[str, Any], device: torch.device | str = "cpu") -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function from pixels, shape (…, 3, H, W), uint8, to float32 as torchvision's last two steps make them.

    To the last bit: so 255 is a number on the device, for by one of the host's CUDA multiplies with its reciprocal.
    """
    import torch

    def constant(values: Any) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)

    white, mean, std = constant([255]), constant(preprocessing["mean"]), constant(preprocessing["std"])

    def scaled(pixels: torch.Tensor) -> torch.Tensor:
        numbers = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)  # rows of a channel in one piece
        return numbers.copy_(pixels).div_(white).sub_(mean).div_(std)

    return scaled


def pixels_of(
    preprocess: Any, preprocessing: dict[str, Any], exif_rotation: bool
) -> Callable[[bytes | np.ndarray, str], Image.Image]:
    """Return a function from an image's source and place to the picture that the network sees, by the reference.

    It is the transform of torchvision's or open_clip's without its last two steps, to numbers and to mean and std.
    """
    *steps, to_numbers, normalise = preprocess.transforms
    assert type(to_numbers).__name__.endswith("ToTensor"), to_numbers
    assert type(normalise).__name__ == "Normalize", normalise

    def pixels(source: bytes | np.ndarray, place: str) -> Image.Image:
        image = open_picture(source, place, preprocessing, exif_rotation)
        for step in steps:
            image = step(image)
        return image

    return pixels


def _check_length(image: Image.Image, needed: int, place: str) -> None:
    """Refuse a line of pixels, whose long side grows with the short one beyond what Pillow opens of any picture."""
    if needed**2 * max(image.size) / min(image.size) > 2 * Image.MAX_IMAGE_PIXELS:
        size = "x".join(map(str, image.size))
        raise OodgridError(f"{place} is too long to be resized ({size}): replace or remove it")


def _needed(preprocessing: dict[str, Any]) -> int:
    """Return how many pixels a side the resized image has at least."""
    size = preprocessing["size"]
    return preprocessing.get("resize") or (size if isinstance(size, int) else max(size))


def _decode_jpeg(source: bytes, needed: int) -> torch.Tensor | None:
    """Return the pixels, shape (3, H, W), uint8, of a JPEG file; None where the reference decoder is to have it."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    if not source.startswith(START):
        return None
    try:
        if not _is_plain(source, needed):
            with Image.open(io.BytesIO(source)) as image:
                if image.mode not in ("RGB", "L"):
                    return None
                if min(image.size) >= 2 * SPARE * needed:
                    image.draft("RGB", (SPARE * needed, SPARE * needed))
                    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        return decode_jpeg(torch.frombuffer(bytearray(source), dtype=torch.uint8), ImageReadMode.RGB)
    except Exception:  # damaged, or beyond this decoder: the reference path reads it or says what is wrong
        return None


def _is_plain(source: bytes, needed: int) -> bool:
    """Return whether a JPEG file is to be decoded as it is, so far as a glance at its header tells."""
    header = read_header(source)
    if header is None or header.components not in (1, 3):
        return False
    sides = header.width, header.height
    return min(sides) < 2 * SPARE * needed and sides[0] * sides[1] <= 2 * Image.MAX_IMAGE_PIXELS


def finisher(preprocessing: dict[str, Any], as_bytes: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what resizes and cuts the centre of pixels of shape (3, H, W), uint8, and, but `as_bytes`, scales them."""
    import torch
    from torchvision.transforms.v2 import functional

    scale = 1 / (255 * torch.tensor(preprocessing["std"], dtype=torch.float64))
    shift = -(255 * torch.tensor(preprocessing["mean"], dtype=torch.float64)) * scale
    size, mode = preprocessing["size"], functional.InterpolationMode(preprocessing["interpolation"])
    square = [size, size] if isinstance(size, int) else list(size)
    scale, shift = scale.float().repeat(square[1]), shift.float().repeat(square[1])  # of a row: three times as fast
    target = square if preprocessing["resize_mode"] == "squash" else [_needed(preprocessing)]

    def finish(pixels: torch.Tensor) -> torch.Tensor:
        resized = functional.resize(pixels, target, mode, antialias=True)
        centre = functional.center_crop(resized, square)
        if as_bytes:
            return centre
        rows = centre.permute(1, 2, 0).flatten(1).float()
        return torch.addcmul(shift, rows, scale, out=rows).unflatten(1, (square[1], 3)).permute(2, 0, 1)

    return finish
