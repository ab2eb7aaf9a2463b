"""Files that a person wrote: there, and text."""

from __future__ import annotations

from pathlib import Path

from oodgrid.errors import OodgridError


def existing(file: Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        OodgridError: It is not, or is a folder.
    """
    if not file.is_file():
        what = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise OodgridError(f"file {file} {what}: mend the path")
    return file


def read_lines(file: Path) -> list[str]:
    r"""Return the lines of a text file, as they are but for their ends, \n or \r\n.

    Raises:
        OodgridError: It is missing or no UTF-8 text.
    """
    try:
        text = existing(file).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OodgridError(f"{file} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
