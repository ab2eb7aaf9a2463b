"""Zip files, read by their directory, which is held against what lies before it.

Every member has a checksum, its name and place in the directory have none; so a damaged directory could hide members.
Bytes are unpacked here rather than by `zipfile`, which may unpack far more of a member than it is said to hold.
"""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from oodgrid.encode.sources.passing_over import printable
from oodgrid.encode.sources.reading import Members, check_size, open_regular, pieces_of
from oodgrid.errors import OodgridError

# RuntimeError: compressed in a way that Python does not know; ValueError: a name that is no UTF-8
BROKEN = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, ValueError, struct.error)
LOCAL, LOCAL_MAGIC, END_MAGIC = struct.Struct("<4s2xH18x2H"), b"PK\x03\x04", b"PK\x05\x06"
DESCRIPTOR = 24  # bytes that may stand behind a member, at most
ENCRYPTED = 0x1 | 0x40 | 0x2000  # by a password, strongly, names too
UTF8 = 0x800
MEMORY = 2**28  # bytes that LZMA may ask for


class Place(NamedTuple):
    """The place of a member: where its packed bytes begin, and its entry in the directory."""

    start: int
    info: zipfile.ZipInfo


def open_zip(path: Path, what: str) -> Members:
    """Return the files of a zip.

    Raises:
        OodgridError: It is no zip, damaged, or ends in the middle; the line begins with `what`.
    """
    with open_regular(path, what) as file:
        try:
            with zipfile.ZipFile(file) as opened:
                infos, stop = opened.infolist(), opened.start_dir
            starts = _starts(file, infos, stop)
        except BROKEN as error:
            cut = ", it is cut or no zip at all" if "not a zip" in str(error) else ""
            raise OodgridError(f"{what} is not a readable zip file: {error}{cut}") from error
    piece = pieces_of(path, what)
    places: dict[str, Place] = {}
    folders: set[str] = set()
    twice: set[str] = set()
    for start, info in zip(starts, infos, strict=True):
        name = _name(info).replace("\\", "/")  # which the format forbids, and tools of Windows have written
        folder, name = name.endswith("/"), PurePosixPath(name).as_posix()
        if folder:
            folders.add(name)
            continue
        twice |= {name} & places.keys()
        places[name] = Place(start, info)

    def read(name: str) -> bytes:
        start, info = places[name]
        place = f"{path}: {printable(name)}"
        check_size(max(info.file_size, info.compress_size), place)
        try:
            return _unpacked(piece(start, min(info.compress_size, stop - start)), info)
        except BROKEN as error:
            raise OodgridError(f"{place} cannot be read: {error}") from error

    return Members({name: place.info.file_size for name, place in places.items()}, read, folders, twice, Counter())


def _name(info: zipfile.ZipInfo) -> str:
    """Return the name of a member: UTF-8 where it can be, which tools of Linux write without saying so."""
    if info.flag_bits & UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode()
    except UnicodeDecodeError:
        return info.orig_filename


def _starts(file: BinaryIO, infos: list[zipfile.ZipInfo], stop: int) -> list[int]:
    """Return where the packed bytes of every member begin.

    Raises:
        BadZipFile: What lies before the directory is not what it says.
    """
    if _count(file) not in (len(infos) & 0xFFFF, 0xFFFF):
        raise zipfile.BadZipFile("its directory is not complete")
    # Members lie one behind another. A header between two of them belongs to one that the directory does not list; a
    # descriptor, a few bytes behind a member, may lie there, so only that many are searched.
    starts, end = {}, 0
    for row in sorted(range(len(infos)), key=lambda row: infos[row].header_offset):
        info = infos[row]
        between = info.header_offset - end
        file.seek(end)
        if between < 0 or LOCAL_MAGIC in file.read(min(between, DESCRIPTOR + len(LOCAL_MAGIC))):
            raise zipfile.BadZipFile(
                f"its directory leaves out a member, or has one twice, before {printable(info.filename)}"
            )
        starts[row] = info.header_offset + _header(file, info)
        end = starts[row] + info.compress_size
    file.seek(end)
    if end > stop or LOCAL_MAGIC in file.read(min(stop - end, DESCRIPTOR + len(LOCAL_MAGIC))):
        raise zipfile.BadZipFile("its directory leaves out the last member, or that one is cut")
    return [starts[row] for row in range(len(infos))]


def _header(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Return the length of a member's own header, which repeats its name."""
    file.seek(info.header_offset)
    magic, flags, length, more = LOCAL.unpack(file.read(LOCAL.size))
    name = info.orig_filename
    alike = file.read(length) == name.encode("utf-8" if info.flag_bits & UTF8 else "cp437")
    if magic != LOCAL_MAGIC or not alike or (not name.isascii() and (flags ^ info.flag_bits) & UTF8):
        raise zipfile.BadZipFile(f"its directory and the header of {printable(name)} differ")
    if "\0" in name:
        raise zipfile.BadZipFile(f"the name {printable(name)} goes on behind a NUL sign")
    return LOCAL.size + length + more


def _count(file: BinaryIO) -> int:
    """Return how many members the end of a zip says there are, the last 16 bits of it."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(size - 22 - 0xFFFF, 0))
    tail = file.read()
    return struct.unpack_from("<H", tail, tail.rfind(END_MAGIC) + 10)[0]


def _unpacked(data: bytes, info: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a member, never unpacking more than it is said to have.

    Raises:
        BadZipFile: They are not what its size and checksum say.
    """
    if info.flag_bits & ENCRYPTED:
        raise zipfile.BadZipFile("it is encrypted: unpack the archive with its password")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise zipfile.BadZipFile("it is a link: pack the file itself")
    most = info.file_size + 1
    if info.compress_type == zipfile.ZIP_DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most)
    elif info.compress_type == zipfile.ZIP_BZIP2:
        data = bz2.BZ2Decompressor().decompress(data, most)
    elif info.compress_type == zipfile.ZIP_LZMA:  # a version and a length, then what .lzma files have but for the size
        alone = data[4:9] + b"\xff" * 8 + data[9:]
        data = lzma.LZMADecompressor(lzma.FORMAT_ALONE, MEMORY).decompress(alone, most)
    elif info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"it is packed by method {info.compress_type}, which is not read: pack it by deflate")
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile("its bytes do not have the size and checksum they should: make or fetch it again")
    return data
