"""Telling images from other files of a tree, and counting those by kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath

# All of which Pillow decodes the pixels by itself, but for video, documents and drawings. A list of ours and not what
# Pillow has registered: which images a set holds does not depend on the machine.
SUFFIXES = frozenset(
    """.apng .avif .avifs .blp .bmp .bw .cur .dcx .dds .dib .fit .fits .flc .fli .ftc .ftu .gbr .gif .icb .icns .ico .im
    .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .mpo .msp .pbm .pcd .pcx .pfm .pgm .png .pnm .ppm .psd .pxr .qoi
    .ras .rgb .rgba .sgi .tga .tif .tiff .vda .vst .webp .xbm .xpm""".split()  # noqa: SIM905
)
# Pictures that cannot be read here: where a class holds nothing else it is not left out but refused.
UNREADABLE = frozenset(
    """.3fr .ai .arw .cr2 .cr3 .crw .dcm .dng .emf .eps .exr .hdr .heic .heif .hif .jls .jxl .jxr .kdc .nef .nrw .orf
    .pef .pic .ps .raf .raw .rw2 .sr2 .srw .svg .svgz .wdp .wmf .xcf""".split()  # noqa: SIM905
)
# What file managers, cameras, network storage and Windows put beside images, some of it images itself; in lower case.
SYSTEM_FOLDERS = frozenset(
    {"@eadir", "@__thumb", "@__qini", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap"}
    | {
        "#recycle",
        "#snapshot",
        "~snapshot",
        "$recycle.bin",
        "$extend",
        "recycler",
        "recycled",
        "lost+found",
        "lost.dir",
    }
    | {"system volume information", "__macosx", "network trash folder", "temporary items"}
    | {"thevolumesettingsfolder", "_vti_cnf", "dfsrprivate", "__pycache__"}
)
SYSTEM_FILES = frozenset(
    {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r", "zbthumbnail.info"}
)
MOST = 8  # kinds that one line names


@dataclass
class Sorted:
    """The files of a tree.

    Attributes:
        images: Names of the images.
        passed_over: How many files of each kind are none, or are what a system has left.
        others: Of every folder, with its parts, the suffixes of the files in it that are no images; without what a
            system has left.
    """

    images: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    others: dict[tuple[str, ...], set[str]] = field(default_factory=dict)


def sort_out(names: Iterable[str]) -> Sorted:
    """Return which files are images, and how many of which kind are not.

    Args:
        names: Paths below the source, with / between folders; one that ends in / is a folder without files.
    """
    files = Sorted()
    for name in names:
        folder, _, file = name.rpartition("/")
        suffix = _suffix(file)
        if not file:
            files.others |= {} if _system_folder(folder) else {folder_parts(folder): set()}
        elif left := system_part(name):
            files.passed_over[left] += 1
        elif suffix in SUFFIXES:
            files.images.append(name)
        else:
            kind = suffix if re.fullmatch(r"\.(?!\d+$)\w{1,10}", suffix, re.ASCII) else "without a suffix"
            files.passed_over[kind] += 1
            files.others.setdefault(folder_parts(folder), set()).add(suffix)
    return files


def is_image(name: str) -> bool:
    """Return whether a file is an image by its name, and not what a file manager or a system has left behind."""
    return _suffix(name.rpartition("/")[2]) in SUFFIXES and not system_part(name)


def system_part(name: str | PurePosixPath) -> str:
    """Return the part of a path that a file manager or system has made, as `@eaDir` or `hidden`; else nothing."""
    folder, _, file = str(name).rpartition("/")
    if left := _system_folder(folder):
        return left
    return printable(file) if file.casefold() in SYSTEM_FILES else "hidden" if file.startswith(".") else ""


@lru_cache(1 << 16)  # folders are few, and files may be a million
def folder_parts(folder: str) -> tuple[str, ...]:
    """Return the folders of a path, outermost first, without such as lead nowhere below the source."""
    return tuple(part for part in folder.split("/") if part not in ("", ".", ".."))


@lru_cache(1 << 16)
def _system_folder(folder: str) -> str:
    for part in folder_parts(folder):
        if part.casefold() in SYSTEM_FOLDERS or re.fullmatch(r"\..*|found\.\d{3}", part.casefold(), re.DOTALL):
            return printable(part)
    return ""


def _suffix(file: str) -> str:
    stem, dot, suffix = file.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def summary(passed_over: Mapping[str, int]) -> str:
    """Return one line such as `passed over 7 files: 4 @eaDir, 2 Thumbs.db, 1 .txt`; nothing where there were none."""
    if not (total := sum(passed_over.values())):
        return ""
    kinds = sorted(passed_over.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [f"{count} {kind}" for kind, count in kinds[:MOST]]
    if rest := sum(count for _, count in kinds[MOST:]):
        named.append(f"{rest} of other kinds")
    return f"passed over {total} file{'s' * (total > 1)}: {', '.join(named)}"


def printable(name: str) -> str:
    """Return a name as it can stand in a line."""
    return name if name.isprintable() else ascii(name)[1:-1]
