"""Tar files, read to their last byte.

A tar says of its headers alone whether they are whole, by a sum in each, and ends with two blocks of zeros. Python's
reader stops without a word at the first header that is damaged or missing, so that a cut file passes for a smaller set;
here every block is accounted for. The bytes of a member and long names have no sum at all.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import re
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from oodgrid.counts import counted
from oodgrid.encode.sources.files import NO_FILES, READ_ALREADY
from oodgrid.encode.sources.passing_over import is_image, printable
from oodgrid.encode.sources.reading import Members, Pieces, check_size, open_regular, piece_of, pieces_of
from oodgrid.errors import OodgridError

BLOCK, CHUNK = tarfile.BLOCKSIZE, 1 << 20
FILLING = 1 << 16  # zeros behind the last member, at most: tar writes records of 10,240 bytes where not told otherwise
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
STRANGE = {
    b"Rar!": "RAR",
    b"7z\xbc\xaf": "7z",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"LZIP": "lzip",
    b"\x1f\x9d": "compress",
}
BROKEN = (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError, ValueError, OverflowError, LookupError)
PAX_RECORD = re.compile(rb"(\d+) ([^=\n]+)=")
PAX_KEYWORDS = {*tarfile.PAX_FIELDS, *("atime", "ctime", "charset", "comment", "hdrcharset")}


class Place(NamedTuple):
    """The place of a member: its size, and (place in the tar, place in the member, length) of every part of it."""

    size: int
    parts: tuple[tuple[int, int, int], ...]


GONE = Place(0, ())  # of an image that is a link to nothing


def open_tar(path: Path, what: str) -> Members:
    """Return the files of a tar, which may be compressed by gzip, bzip2 or xz.

    Raises:
        OodgridError: It is no tar, damaged, or ends in the middle; the line begins with `what`.
    """
    with open_regular(path, what) as file:
        head = file.read(max(map(len, (*COMPRESSED, *STRANGE))))
        if known := packed_by(head):
            raise OodgridError(f"{what} is packed by {known}, which is not read here: unpack it, or pack it as .tar.gz")
        file.seek(0)
        piece: Pieces
        if head.startswith(COMPRESSED):
            whole = _decompressed(file, head, what)
            piece = partial(piece_of, whole, what)
            places, contents = _places(whole, what)
        else:
            piece = pieces_of(path, what)
            places, contents = _places(file, what)

    def read(name: str) -> bytes:
        place = f"{path}: {printable(name)}"
        if places[name] is GONE:
            raise OodgridError(f"{place} cannot be read: it is a link to what the archive does not hold")
        size, parts = places[name]
        check_size(size, place)
        if len(parts) == 1 and parts[0][1:] == (0, size):
            return piece(parts[0][0], size)
        data = bytearray(size)  # a sparse file, zero where no part lies
        for start, inside, length in parts:
            data[inside : inside + length] = piece(start, length)
        return bytes(data)

    return Members({name: place.size for name, place in places.items()}, read, *contents)


def is_tar(head: bytes) -> bool:
    """Return whether the first 512 bytes of a file are those of a tar, compressed or not."""
    return head.startswith(COMPRESSED) or head[257:262] == b"ustar"


def packed_by(head: bytes) -> str:
    """Return the name of a format that is not read here, by the first bytes of a file; else nothing."""
    return next((name for magic, name in STRANGE.items() if head.startswith(magic)), "")


def _places(file: BinaryIO, what: str) -> tuple[dict[str, Place], tuple[set[str], set[str], Counter[str]]]:
    """Return where every file lies, and of the archive: its folders, the names that come twice, what is no file."""
    places: dict[str, Place] = {}
    links: dict[str, str] = {}
    folders: set[str] = set()
    twice: set[str] = set()
    passed_over: Counter[str] = Counter()
    for member in _headers(file, what):
        name = PurePosixPath(member.name).as_posix()
        if member.islnk() and member.linkname == member.name:
            continue  # what tar makes of a file that it was given twice
        if (name in places or name in links) and not member.isdir():
            twice.add(name)
        if member.isreg():
            places[name] = _place(member, what)
        elif member.islnk():
            links[name] = PurePosixPath(member.linkname).as_posix()
        elif member.issym():
            links[name] = os.path.normpath(PurePosixPath(name).parent / member.linkname)
        elif member.isdir():
            folders.add(name)
        else:
            passed_over[NO_FILES if member.isdev() else f"members of type {printable(chr(member.type[0]))}"] += 1
    places = _linked(links, places, passed_over) | places
    if not any("/" in name for name in places):  # made by a tool of Windows that takes its own separator along
        places = {name.replace("\\", "/"): place for name, place in places.items()}
    return places, (folders, twice, passed_over)


def _place(member: tarfile.TarInfo, what: str) -> Place:
    if not member.issparse():
        return Place(member.size, ((member.offset_data, 0, member.size),))
    parts, start = [], member.offset_data
    sparse: Any = member.sparse  # by now a list of (place in the member, length), whatever typeshed says
    for inside, length in sparse:
        if min(inside, length) < 0 or inside + length > member.size:
            raise OodgridError(
                f"{what} is damaged: parts of {printable(member.name)} lie beyond its end: make or fetch it again"
            )
        parts.append((start, inside, length))
        start += length
    return Place(member.size, tuple(parts))


def _linked(links: dict[str, str], places: dict[str, Place], passed_over: Counter[str]) -> dict[str, Place]:
    """Return where files behind links lie; what a link to a folder shows is in the archive under its own name."""
    behind: dict[str, Place] = {}
    folders = {str(folder) for name in places for folder in PurePosixPath(name).parents} if links else set()
    for link in links:
        target = _end(link, links)
        if target in places:
            behind[link] = places[target]
        elif is_image(link):
            behind[link] = GONE
        else:
            passed_over[READ_ALREADY if target in folders else "links to nothing"] += 1
    return behind


def _end(name: str, links: dict[str, str]) -> str:
    """Return what a link leads to, over as many others as a kernel would follow."""
    for _ in range(40):
        outer = next((part for part in (name, *map(str, PurePosixPath(name).parents)) if part in links), None)
        if outer is None:
            break
        name = os.path.normpath(links[outer] + name.removeprefix(outer))
    return name


# ------------------------------------------------------------------------------------------------------ headers


def _headers(file: BinaryIO, what: str) -> Iterator[tarfile.TarInfo]:
    """Yield the header of every member, and raise unless the file ends as a tar does, with blocks of zeros alone."""
    size, start, last = os.fstat(file.fileno()).st_size, 0, "its beginning"
    try:
        opened = tarfile.open(fileobj=file, mode="r:", encoding="utf-8")  # noqa: SIM115 (it is the caller's file)
    except BROKEN as error:
        raise OodgridError(f"{what} is not a readable tar or zip file: {error}") from error
    while len(block := _block(file, start)) == BLOCK and block.strip(b"\0"):
        member = _header(opened, file, start, f"{what} is damaged after {last}, at byte {start:,}")
        if opened.offset > size:
            raise OodgridError(f"{what} ends in the middle of {printable(member.name)}: make or fetch it again")
        start, last = opened.offset, printable(member.name)
        yield member
    if start == 0 and len(block) < BLOCK:
        raise OodgridError(f"{what} is not a readable tar or zip file: it has {counted(size, 'byte')}")
    if size < start + 2 * BLOCK:
        raise OodgridError(f"{what} ends in the middle, after {last}, without the end of a tar: make or fetch it again")
    file.seek(start)
    if any(block.strip(b"\0") for block in iter(partial(file.read, CHUNK), b"")):
        raise OodgridError(
            f"{what} goes on behind the end of a tar, after {last}: it is damaged, or several were joined: "
            "make or fetch it again, or give each of them"
        )
    if size > start + FILLING:  # as a download of which a part is missing
        raise OodgridError(
            f"{what} has {counted(size - start, 'zero')} after {last}, more than a tar is filled up with: its "
            "last part may be "
            "missing, make or fetch it again"
        )


def _header(opened: tarfile.TarFile, file: BinaryIO, start: int, damage: str) -> tarfile.TarInfo:
    """Return the header at a place, and leave the place of the next one in `opened.offset`."""
    opened.offset = start
    file.seek(start)
    try:
        member = tarfile.TarInfo.fromtarfile(opened)
        if member.size < 0 or opened.offset < max(member.offset_data, start + BLOCK) or "\0" in member.name:
            raise ValueError("a size or a name cannot be right")
        _check_pax(file, start, member.offset_data)
    except BROKEN as error:
        raise OodgridError(f"{damage}: {error or type(error).__name__}: make or fetch it again") from error
    return member


def _check_pax(file: BinaryIO, start: int, stop: int) -> None:
    """Raise unless the records before a header, which no sum protects, follow one another with known names.

    Python's reader leaves out those behind one that it cannot read, and so a long name or a size.
    """
    while start < stop and (kind := (block := _block(file, start))[156:157]) in (b"x", b"X", b"g", b"L", b"K"):
        size = tarfile.nti(block[124:136])  # type: ignore[attr-defined]  # typeshed leaves it out
        records, position = _block(file, start + BLOCK, size), 0
        while kind in b"xXg" and records[position:].strip(b"\0"):
            record = PAX_RECORD.match(records, position)
            if record is None or not _is_whole(record, records):
                raise ValueError("a record of a header cannot be read")
            position += int(record[1])
        start += BLOCK + -(-size // BLOCK) * BLOCK


def _is_whole(record: re.Match[bytes], records: bytes) -> bool:
    """Return whether a record is as long as it says, up to the end of a line, and its keyword is known."""
    end = record.start() + int(record[1])
    known = b"." in record[2] or record[2].decode("utf-8", "replace") in PAX_KEYWORDS
    return known and end >= record.end() and records[end - 1 : end] == b"\n"


def _block(file: BinaryIO, start: int, size: int = BLOCK) -> bytes:
    file.seek(start)
    return file.read(size)


# -------------------------------------------------------------------------------------------------- compression


def _decompressed(file: BinaryIO, head: bytes, what: str) -> BinaryIO:
    """Return what a file holds, as a file without a name that lasts as long as it is open."""
    plain = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the images are read)
    try:
        for data in _unpacked(file, head):
            plain.write(data)
        plain.flush()
    except BROKEN as error:
        plain.close()
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            message = f"{what} does not fit into {tempfile.gettempdir()} when unpacked: set TMPDIR to a larger disk"
            raise OodgridError(message) from error
        raise OodgridError(f"{what} is not a readable tar or zip file, it is damaged or cut: {error}") from error
    return plain


def _unpacked(file: BinaryIO, head: bytes) -> Iterator[bytes]:
    """Yield the content of every stream in a file, and raise where one of them is damaged or does not end."""
    if head.startswith(b"\x1f\x8b"):
        with gzip.open(file) as packed:
            yield from iter(partial(packed.read, CHUNK), b"")
        return
    # Python's readers of the other two end without a word where something else follows a stream
    new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
    new = bz2.BZ2Decompressor if head.startswith(b"BZh") else lzma.LZMADecompressor
    stream, data = new(), b""
    while data := (data or file.read(CHUNK)):
        if stream.eof:
            data = data.lstrip(b"\0")  # between streams there may be zeros
            stream = new() if data else stream
            continue
        yield stream.decompress(data, CHUNK)
        while not (stream.needs_input or stream.eof):
            yield stream.decompress(b"", CHUNK)
        data = stream.unused_data
    if not stream.eof:
        raise EOFError("it ends in the middle")
