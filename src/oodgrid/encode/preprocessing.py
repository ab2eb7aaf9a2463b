"""From the source of an image to the input of the network: the reference path, and a faster one for JPEG files.

`reference` is Pillow and open_clip's own transform, to the last bit what every peer computes. `fast` differs from it by
one or two of 256 levels a pixel for JPEGs up to six times the network's size: libjpeg-turbo through torchvision,
resized as uint8. Larger ones are decoded at a half, a quarter or an eighth (the DCT's own scaling), never below three
times the size that is needed. Whatever else there is, as PNG or CMYK, takes the reference path. benchmarks/decode.py
measures both.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from oodgrid.encode.decode import decode
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    import torch

JPEG = b"\xff\xd8\xff"
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
        kind: "reference" or "fast".
        exif_rotation: Turn pictures upright; these take the reference path.
        as_bytes: Return uint8.
    """
    preprocess = _without_scaling(preprocess) if as_bytes else preprocess

    def reference(source: bytes | np.ndarray, place: str) -> torch.Tensor:
        image = decode(source, place, exif_rotation)
        if preprocessing["resize_mode"] == "shortest":
            _check_length(image, _needed(preprocessing), place)
        return preprocess(image)

    # open_clip resizes by ways of its own where the longest side counts or the network's input is no square
    size, special = preprocessing["size"], preprocessing["resize_mode"] == "longest"
    if kind == "reference" or exif_rotation or special or not (isinstance(size, int) or size[0] == size[1]):
        return reference
    finish = _finisher(preprocessing, as_bytes)

    def fast(source: bytes | np.ndarray, place: str) -> torch.Tensor:
        pixels = _decode_jpeg(source, _needed(preprocessing)) if isinstance(source, bytes) else None
        return reference(source, place) if pixels is None else finish(pixels)

    return fast


def normalised(pixels: torch.Tensor, preprocessing: dict[str, Any]) -> torch.Tensor:
    """Return the network's input, shape (N, 3, H, W), float32, of pixels, uint8, by the steps of torchvision."""
    import torch

    def by_channel(name: str) -> torch.Tensor:
        return torch.tensor(preprocessing[name], dtype=torch.float32, device=pixels.device).view(-1, 1, 1)

    return pixels.float().div_(255).sub_(by_channel("mean")).div_(by_channel("std"))


def _without_scaling(preprocess: Any) -> Callable[[Image.Image], torch.Tensor]:
    """Return a transform of torchvision's or open_clip's without its last two steps, to numbers and to mean and std."""
    import torch

    *steps, to_numbers, normalise = preprocess.transforms
    assert type(to_numbers).__name__.endswith("ToTensor"), to_numbers
    assert type(normalise).__name__ == "Normalize", normalise

    def pixels(image: Image.Image) -> torch.Tensor:
        for step in steps:
            image = step(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

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

    if not source.startswith(JPEG):
        return None
    try:
        with Image.open(io.BytesIO(source)) as image:
            if image.mode not in ("RGB", "L"):
                return None
            if min(image.size) >= 2 * SPARE * needed:
                image.draft("RGB", (SPARE * needed, SPARE * needed))
                return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        return decode_jpeg(torch.frombuffer(bytearray(source), dtype=torch.uint8), ImageReadMode.RGB)
    except Exception:  # damaged, or beyond this decoder: the reference path reads it or says what is wrong
        return None


def _finisher(preprocessing: dict[str, Any], as_bytes: bool) -> Callable[[torch.Tensor], torch.Tensor]:
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
        return torch.addcmul(shift, rows, scale).unflatten(1, (square[1], 3)).permute(2, 0, 1)

    return finish
