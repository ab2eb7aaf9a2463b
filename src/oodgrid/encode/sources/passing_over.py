"""Which files of a tree are images, and what is said of the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
    found = Sorted()
    for name in names:
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if name.endswith("/"):
            found.others |= {} if system_part(path) else {path.parts: set()}
        elif left := system_part(path):
            found.passed_over[left] += 1
        elif suffix in SUFFIXES:
            found.images.append(name)
        else:
            found.passed_over[printable(suffix) or "without a suffix"] += 1
            found.others.setdefault(path.parent.parts, set()).add(suffix)
    return found


def is_image(name: str) -> bool:
    """Say whether a file is an image by its name, and not what a file manager or a system has left behind."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not system_part(path)


def system_part(path: PurePosixPath) -> str:
    """Return the part of a path that a file manager or system has made, as `@eaDir` or `hidden`; else nothing."""
    *folders, file = path.parts or ("",)
    for part in folders:
        known = part.casefold() in SYSTEM_FOLDERS or re.fullmatch(r"found\.\d{3}", part.casefold())
        if known or (part.startswith(".") and part != ".."):
            return printable(part)
    if file.casefold() in SYSTEM_FILES:
        return printable(file)
    return "hidden" if file.startswith(".") else ""


def said(passed_over: Mapping[str, int]) -> str:
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
