"""Files that a person wrote: there, and text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oodgrid.errors import OodgridError
from oodgrid.store import existing, parse_json, read_bytes

__all__ = ["existing", "parse_json", "read_json", "read_lines", "read_names", "whole_texts"]


def read_lines(file: Path) -> list[str]:
    r"""Return the lines of a text file, as they are but for their ends, \n, \r\n or \r.

    Raises:
        OodgridError: It is missing or no UTF-8 text.
    """
    try:
        text = read_bytes(existing(file)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OodgridError(f"{file} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    if "\0" in text:
        raise OodgridError(f"{file} is no text: it holds NUL characters. Save it as UTF-8 (and not as UTF-16)")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def read_json(file: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        OodgridError: It is missing, or no JSON.
    """
    return parse_json("\n".join(read_lines(file)), str(file))


def read_names(file: Path) -> list[str]:
    """Return class names: a JSON list, a JSON object from index to name, or a text file with one per line.

    Raises:
        OodgridError: It is missing or holds anything else.
    """
    if file.suffix != ".json":
        return [line.strip() for line in read_lines(file) if line.strip()]
    names = read_json(file)
    if isinstance(names, dict):
        names = [names.get(str(k)) for k in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OodgridError(f'{file} must hold a list of names, or an object from "0", "1", … to names')
    return whole_texts(names, str(file))


def whole_texts(names: Sequence[str], where: str) -> list[str]:
    """Return texts that are Unicode, and not halves of what should be: JSON may hold those.

    Raises:
        OodgridError: One is not.
    """
    for name in names:
        if "\0" in name or (not name.isascii() and name.encode("utf-8", "ignore").decode() != name):
            raise OodgridError(f"{where}: the name {name!a} holds half a character (a lone surrogate, or NUL): mend it")
    return list(names)
