"""Files that a person wrote: there, and text."""

from __future__ import annotations

import json
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


def read_names(file: Path) -> list[str]:
    """Return class names: a JSON list, a JSON object from index to name, or a text file with one a line.

    Raises:
        OodgridError: It is missing or holds anything else.
    """
    lines = read_lines(file)
    if file.suffix != ".json":
        return [line.strip() for line in lines if line.strip()]
    try:
        names = json.loads("\n".join(lines))
    except ValueError as error:
        raise OodgridError(f"{file} is not valid JSON: {error}") from error
    if isinstance(names, dict):
        names = [names.get(str(k)) for k in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OodgridError(f'{file} must hold a list of names, or an object from "0", "1", … to names')
    return names
