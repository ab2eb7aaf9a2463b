"""Images in zip and tar files, read in place: nothing is ever unpacked to disk.

A compressed tar has no places to read from, so it is decompressed once into a nameless temporary file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from oodgrid.encode.sources.image_set import ImageSet, existing, file_stamp, of_layout
from oodgrid.encode.sources.layout import Rule, arrange
from oodgrid.encode.sources.passing_over import printable
from oodgrid.encode.sources.reading import Members, open_regular
from oodgrid.encode.sources.tars import is_tar, open_tar, packed_by
from oodgrid.encode.sources.zips import open_zip
from oodgrid.errors import OodgridError

PACKED = (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".zip", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")


def archive(path: Path, rule: Rule) -> ImageSet:
    """Return the images of a zip or tar file, by the folder in which each lies.

    Raises:
        OodgridError: It is missing, not readable, damaged or cut, or its layout could mean two things.
    """
    members = open_members(path)
    full = {str(folder) for name in members.sizes for folder in PurePosixPath(name).parents}
    layout = arrange([*members.sizes, *(f"{folder}/" for folder in members.folders - full)], str(path), rule)
    layout.passed_over.update(members.passed_over)
    refuse_twice(members, layout.paths, f"archive {path}")
    if inside := [name for name in members.sizes if name.lower().endswith(PACKED)]:
        remark = (
            f"packed files lie in it, {len(inside)} as {printable(inside[0])}, and are not looked into: unpack them"
        )
        if not layout.paths:
            raise OodgridError(f"archive {path} holds no image, but {remark} and pack the images alone")
        layout = replace(layout, remarks=(*layout.remarks, remark))
    _, time = file_stamp(path)

    def read_row(row: int) -> bytes:
        return members.read(layout.paths[row])

    return of_layout(layout, read_row, lambda row: (members.sizes[layout.paths[row]], time), str(path))


def refuse_twice(members: Members, names: Iterable[str], what: str) -> None:
    """Refuse an archive that holds one of these files more than once.

    Raises:
        OodgridError: It does; the line begins with `what`.
    """
    if first := min(members.twice.intersection(names), default=None):
        raise OodgridError(
            f"{what} holds {printable(first)} twice (of such names there are {len(members.twice)}), "
            "and which one counts would be a guess: pack it again with one of each"
        )


def open_members(path: Path) -> Members:
    """Return the files of an archive, whose kind its first bytes say: a tar may end with a zip in it.

    Raises:
        OodgridError: It is missing, not readable, damaged or cut.
    """
    what = f"archive {path}"
    with open_regular(existing(path, "archive"), what) as file:
        head = file.read(512)
        zipped = head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
        if not zipped and not is_tar(head) and not packed_by(head):
            zipped = path.suffix.lower() == ".zip" or zipfile.is_zipfile(file)  # so behind a program that unpacks it
    return open_zip(path, what) if zipped else open_tar(path, what)
