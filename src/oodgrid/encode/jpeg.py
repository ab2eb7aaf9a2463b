"""The header of a JPEG file: what is needed to choose a decoder, in a tenth of the time that Pillow takes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

START, END = b"\xff\xd8\xff", b"\xff\xd9"
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, coded by Huffman
SCAN, ADOBE = 0xDA, 0xEE
TABLES = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))  # what may stand before the scan: comments and APP0 to 15, too
SHORTEST = {0xDB: 67, 0xE0: 9, 0xE2: 16, ADOBE: 14}  # of less Pillow makes nothing


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
    place, adobe, header = 2, b"", None
    while place + 10 <= len(source) and source[place] == 0xFF:
        marker, length = source[place + 1], int.from_bytes(source[place + 2 : place + 4], "big")
        if marker == SCAN:  # all that comes before it is as it should be
            return header
        if marker in FRAMES and header is None:
            header = _frame(source[place + 4 : place + 2 + length], adobe)
        elif marker not in TABLES or length < SHORTEST.get(marker, 2):
            return None
        elif marker == ADOBE:
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
