"""A glance at a JPEG's header says what Pillow says of it, and decides nothing that Pillow would refuse."""

from __future__ import annotations

import io
import itertools
import random

import numpy as np
import pytest
from PIL import Image

from oodgrid.encode.decode import decode
from oodgrid.encode.jpeg import read_header
from oodgrid.encode.preprocessing import _decode_jpeg
from oodgrid.errors import OodgridError

pytest.importorskip("torch")
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8))
COMPONENTS = {"RGB": 3, "L": 1, "CMYK": 4}
BESIDE = [
    {},
    {"icc_profile": bytes(70_000)},
    {"comment": b"x" * 300},
    {"exif": Image.Exif().tobytes()},
    {"restart_marker_blocks": 2},
    {"subsampling": 0, "progressive": True},
]


def jpegs():
    for mode, beside in itertools.product(COMPONENTS, BESIDE):
        file = io.BytesIO()
        PICTURE.convert(mode).save(file, "JPEG", **beside)
        yield mode, file.getvalue()


def test_size_and_colours_are_those_of_pillow():
    for mode, data in jpegs():
        header = read_header(data)
        assert (header.width, header.height, header.components) == (53, 37, COMPONENTS[mode])
        assert header.usual_colours == (mode != "CMYK")


def test_rgb_that_is_no_ycbcr_is_seen():
    file = io.BytesIO()
    PICTURE.save(file, "JPEG", keep_rgb=True)
    assert not read_header(file.getvalue()).usual_colours


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "JPEG2000"])
def test_another_format_has_no_such_header(kind):
    file = io.BytesIO()
    PICTURE.save(file, kind)
    assert read_header(file.getvalue()) is None


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_of_damaged_files_the_fast_decoder_gives_the_pixels_of_pillow_or_nothing():
    """Then the reference path has its say, so that both refuse the same files."""
    choice = random.Random(0)
    files, decoded = [data for _, data in jpegs()], 0
    for _ in range(400):
        data = bytearray(choice.choice(files))
        end = min(len(data), choice.choice((700, 10**6)))
        for _ in range(choice.choice((1, 1, 2, 5))):
            data[choice.randrange(2, end)] = choice.randrange(256)
        source = bytes(data[: choice.randrange(3, len(data))] if choice.random() < 0.2 else data)
        pixels = _decode_jpeg(source, 224)
        if pixels is not None:
            decoded += 1
            np.testing.assert_array_equal(pixels.permute(1, 2, 0), np.asarray(decode(source, "x")))
    assert decoded > 80


def test_cut_off_headers_are_none():
    _, data = next(jpegs())
    scan = data.index(b"\xff\xda")
    assert all(read_header(data[:length]) is None for length in range(scan))
    with pytest.raises(OodgridError):
        decode(data[:scan], "x")
