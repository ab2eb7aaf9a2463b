"""Images in archives, read in place: zip and tar files and the shards of WebDataset. Nothing is ever unpacked.

A compressed tar has no places to read from, so it is decompressed once into a nameless temporary file.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from itertools import product
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from oodgrid.config import Webdataset, expand
from oodgrid.encode.sources.image_set import ImageSet, classes_by_value, existing, file_stamp, of_layout
from oodgrid.encode.sources.layout import Rule, arrange
from oodgrid.encode.sources.passing_over import is_image
from oodgrid.errors import OodgridError

COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
UNREADABLE = (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError)
GONE = -1, 0
# RuntimeError: encrypted, or compressed in a way that Python does not know; ValueError: a name that is no UTF-8
UNREADABLE_ZIP = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, ValueError)


def archive(path: Path, rule: Rule) -> ImageSet:
    """Return the images of a zip or tar file, by the folder in which each lies.

    Raises:
        OodgridError: It is missing or not readable, or its layout could mean two things.
    """
    existing(path, "archive")
    sizes, read = _zip(path) if zipfile.is_zipfile(path) or path.suffix.lower() == ".zip" else _tar(path)
    layout = arrange(sizes, str(path), rule)
    _, time = file_stamp(path)

    def read_row(row: int) -> bytes:
        return read(layout.paths[row])

    return of_layout(layout, read_row, lambda row: (sizes[layout.paths[row]], time), str(path))


def webdataset(source: Webdataset, split: str) -> ImageSet:
    """Return the samples of a set of tar shards: members with one key, the part before the first dot, belong together.

    Raises:
        OodgridError: A shard is missing or not readable.
    """
    pattern = source.shards if isinstance(source.shards, str) else source.shards[split]
    shards = brace_expand(str(expand(pattern)))
    opened = [_tar(existing(Path(shard), "shard")) for shard in shards]
    times = [file_stamp(Path(shard))[1] for shard in shards]
    images: list[tuple[int, str]] = []
    values: list[int | str | None] = []
    for number, (sizes, read) in enumerate(opened):
        labels = {key for key in map(_key, sizes) if f"{key}.{source.label}" in sizes}
        for name in filter(is_image, sizes):
            images.append((number, name))
            key = _key(name)
            values.append(_label(read(f"{key}.{source.label}"), source) if key in labels else None)
    if source.label != "cls" and values and all(value is None for value in values):
        raise OodgridError(f"{pattern}: no sample has a label in a member .{source.label}: mend label or json_key")
    found, classnames = classes_by_value(values, pattern)
    names = [Path(shard).name for shard in shards]
    names = names if len(set(names)) == len(names) else shards  # two images never have one name
    paths = [f"{names[number]}/{name}" for number, name in images]

    def read_row(row: int) -> bytes:
        number, name = images[row]
        return opened[number][1](name)

    def stamp(row: int) -> tuple[int, int]:
        number, name = images[row]
        return opened[number][0][name], times[number]

    return ImageSet(paths, found, classnames, read_row, stamp, pattern)


def brace_expand(pattern: str) -> list[str]:
    """Return the paths of a pattern such as `train-{000..012}.tar` or `{a,b}.tar`; leading zeros keep the width."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(part) if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(inside: str) -> list[str]:
    if numbers := re.fullmatch(r"(\d+)\.\.(\d+)", inside):
        first, last = numbers.groups()
        return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return inside.split(",")


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return (path.parent / path.name.split(".", 1)[0]).as_posix()


def _label(data: bytes, source: Webdataset) -> int | str | None:
    text = data.decode("utf-8", "replace").strip()
    if source.label != "json":
        return text
    try:
        return json.loads(text).get(source.json_key)
    except (ValueError, AttributeError) as error:
        raise OodgridError(f"{source.shards}: a .json member is no JSON object: {error}") from error


def _zip(path: Path) -> tuple[dict[str, int], Callable[[str], bytes]]:
    """Return the size of every member, and how to read one."""
    try:
        opened = zipfile.ZipFile(path)
    except UNREADABLE_ZIP as error:
        raise OodgridError(f"archive {path} is not a readable zip file: {error}") from error

    def read(name: str) -> bytes:
        try:
            return opened.read(name)
        except UNREADABLE_ZIP as error:
            raise OodgridError(f"{path}: {name} cannot be read: {error}") from error

    return {info.filename: info.file_size for info in opened.infolist() if not info.is_dir()}, read


def _tar(path: Path) -> tuple[dict[str, int], Callable[[str], bytes]]:
    """Return the size of every member, and how to read one."""
    try:
        file = _plain(path)
        with tarfile.open(fileobj=file, mode="r:") as opened:
            members = _members(opened)
    except UNREADABLE as error:
        raise OodgridError(f"archive {path} is not a readable tar or zip file: {error}") from error

    def read(name: str) -> bytes:
        start, size = members[name]
        if start < 0:
            raise OodgridError(f"{path}: {name} cannot be read: it is a link to what the archive does not hold")
        data = os.pread(file.fileno(), size, start)  # at a place of its own, so that threads do not disturb each other
        if len(data) != size:
            raise OodgridError(f"{path}: {name} cannot be read: the archive is truncated")
        return data

    return {name: size for name, (_, size) in members.items()}, read


def _members(opened: tarfile.TarFile) -> dict[str, tuple[int, int]]:
    """Return where the bytes of every file begin and how many they are; links stand for what they name."""
    places: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    for member in opened:
        name = PurePosixPath(member.name).as_posix()
        if member.isreg() and not member.issparse():
            places[name] = member.offset_data, member.size
        elif member.islnk():
            links[name] = PurePosixPath(member.linkname).as_posix()
        elif member.issym():
            links[name] = os.path.normpath(PurePosixPath(name).parent / member.linkname)
    return places | _linked(places, links)


def _linked(places: dict[str, tuple[int, int]], links: dict[str, str]) -> dict[str, tuple[int, int]]:
    """Return the same of files behind links, to files and to folders; -1, 0 of images that are not there."""
    found: dict[str, tuple[int, int]] = {}
    for link in links:
        target = _end(link, links)
        if target in places or is_image(link):
            found[link] = places.get(target, GONE)
        else:
            inside = [name for name in places if name.startswith(f"{target}/")]
            found |= {link + name.removeprefix(target): places[name] for name in inside}
    return found


def _end(name: str, links: dict[str, str]) -> str:
    """Return what a link leads to, over as many others as a kernel would follow."""
    for _ in range(40):
        name = links.get(name, name)
    return name


def _plain(path: Path) -> BinaryIO:
    """Return an uncompressed tar, open for reading."""
    file = path.open("rb")
    opener = COMPRESSED.get(file.read(2))
    file.seek(0)
    if opener is None:
        return file
    plain = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the images are read)
    with file, opener(file) as stream:
        shutil.copyfileobj(stream, plain, 1 << 20)
    plain.seek(0)
    return plain
