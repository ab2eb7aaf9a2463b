"""Sound pixels are read whatever lies beside them; what is too large is refused for its size."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from oodgrid.encode.decode import OutOfMemoryError, decode
from oodgrid.errors import OodgridError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
ORIENTATION, MEGABYTE = 0x0112, 2**20


def saved(kind, image=None, **more):
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, kind, **more)
    return file.getvalue()


def failure(data, kind=OodgridError):
    with pytest.raises(kind) as caught:
        decode(data, "a/x.png")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def texts(add, count, size, packed):
    info = PngImagePlugin.PngInfo()
    for k in range(count):
        getattr(info, add)(f"k{k}", "x" * size, zip=packed)
    return {"pnginfo": info}


@pytest.mark.parametrize(
    "beside",
    [
        {"icc_profile": bytes(2 * MEGABYTE)},
        {"icc_profile": bytes(20 * MEGABYTE)},
        texts("add_text", 1, 3 * MEGABYTE, packed=False),
        texts("add_text", 1, 3 * MEGABYTE, packed=True),
        texts("add_itxt", 1, 3 * MEGABYTE, packed=True),
        texts("add_text", 70, MEGABYTE, packed=True),
        {"exif": b"Exif\0\0no EXIF data at all"},
    ],
)
@pytest.mark.parametrize("upright", [False, True])
def test_sound_pixels_of_a_png_are_read_whatever_lies_beside_them(beside, upright):
    np.testing.assert_array_equal(decode(saved("PNG", **beside), "x", exif_rotation=upright), PIXELS)


def test_text_that_would_fill_memory_is_refused_for_its_size():
    assert "a/x.png is too large (of text" in failure(saved("PNG", **texts("add_text", 1, 65 * MEGABYTE, packed=True)))


def entry(tag, kind, count, value):
    return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")


TURNED = entry(ORIENTATION, 3, 1, struct.pack("<H", 6))
ODD = {
    "a fraction of zero": [TURNED, entry(0x011A, 5, 1, struct.pack("<I", 64))],
    "a fraction outside": [TURNED, entry(0x011A, 5, 1, struct.pack("<I", 99_999))],
    "a text outside": [entry(0x010F, 2, 500, struct.pack("<I", 99_999)), TURNED],
    "an unknown type": [entry(0x010F, 77, 5, b"abcd"), TURNED],
    "a huge count": [entry(0x010F, 1, 2**32 - 1, b"abcd"), TURNED],
    "zeros": [entry(0, 0, 0, b""), TURNED],
    "GPS outside": [TURNED, entry(0x8825, 4, 1, struct.pack("<I", 99_999))],
    "a circle": [TURNED, entry(0x8769, 4, 1, struct.pack("<I", 8))],
    "an orientation of 32 bits": [entry(ORIENTATION, 4, 1, struct.pack("<I", 6))],
    "an orientation of a byte": [entry(ORIENTATION, 1, 1, b"\6")],
    "two orientations": [entry(ORIENTATION, 3, 2, struct.pack("<HH", 6, 6))],
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_an_odd_tag_beside_a_good_orientation_changes_nothing(odd, kind):
    table = b"II*\0\x08\0\0\0" + struct.pack("<H", len(ODD[odd])) + b"".join(ODD[odd])
    data = saved(kind, exif=b"Exif\0\0" + table.ljust(200, b"\0"), **({"lossless": True} if kind == "WEBP" else {}))
    plain, upright = decode(data, "x"), decode(data, "x", exif_rotation=True)
    assert plain.size == (8, 6)
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(np.asarray(plain), -1))


def test_an_odd_tag_of_a_tiff_changes_nothing():
    """Pillow turns TIFFs by itself."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[ORIENTATION], tags[0x011A] = 6, 1.0
    data = saved("TIFF", tiffinfo=tags).replace(struct.pack("<II", 1, 1), bytes(8))
    np.testing.assert_array_equal(np.asarray(decode(data, "x")), np.rot90(PIXELS, -1))


def test_what_is_rgb_already_is_the_same_picture():
    image = decode(saved("PNG"), "x", exif_rotation=True)
    np.testing.assert_array_equal(np.asarray(image.crop((0, 0, 4, 4)).convert("RGB")), PIXELS[:4, :4])
    np.testing.assert_array_equal(np.asarray(image.copy()), PIXELS)


def png_of(width, height, depth=1, colour=0):
    """A PNG of zeros, however large, without holding its pixels."""
    row = 1 + -(-width * depth * (3 if colour == 2 else 1) // 8)
    packer, data = zlib.compressobj(1), b""
    for _ in range(height):
        data += packer.compress(bytes(row))
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0), b"IDAT": data + packer.flush()}
    made = b"\x89PNG\r\n\x1a\n"
    for kind, content in {**chunks, b"IEND": b""}.items():
        made += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return made


@pytest.mark.parametrize("size", [(20_000, 10_000), (2**31 - 1, 2**31 - 1), (200_000_000, 1)])
def test_more_pixels_than_are_read_are_refused_for_their_number(size):
    start = png_of(1, 1)
    header = b"IHDR" + struct.pack(">II", *size) + start[24:29]
    data = start[:12] + header + struct.pack(">I", zlib.crc32(header)) + start[33:]
    pixels = size[0] * size[1]
    assert failure(data).startswith(f"a/x.png is too large (Image size ({pixels} pixels) exceeds limit of 178956970")


def test_too_little_memory_is_no_damage(monkeypatch):
    def load(image):
        raise MemoryError

    data = saved("PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    assert failure(data, OutOfMemoryError) == "a/x.png: there is too little memory to decode it: use fewer cores"


MEASURE = """
import resource, sys
from oodgrid.encode.decode import decode
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = decode(data, "x").size
print(*size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("side", [5000, pytest.param(13_000, marks=pytest.mark.slow)])
def test_a_large_picture_takes_four_bytes_a_pixel(side):
    """What Pillow holds of it, and no copy beside; a warning of its size would be a line on the screen."""
    run = [sys.executable, "-W", "always", "-c", MEASURE]
    done = subprocess.run(run, input=png_of(side, side, 8, 2), capture_output=True, env=os.environ, check=True)
    width, height, memory = map(int, done.stdout.split())
    assert (width, height) == (side, side)
    assert memory < 4.4 * side**2 + 20e6
    assert b"Decompression" not in done.stderr
