"""Lists of words that a configuration names by a file: class names, templates, classes."""

from __future__ import annotations

import json
from pathlib import Path

from oodgrid import catalogue
from oodgrid.config.base import expand
from oodgrid.errors import OodgridError, printable
from oodgrid.identity import is_file

LARGEST = 2_000_000  # bytes


def read_words(file: str, what: str) -> list[str]:
    """Return the lines of a .txt or the texts of a .json list; `package:FILE` lies in the catalogue.

    Raises:
        OodgridError: There is no such file, or it holds something else.
    """
    path = catalogue.packaged(file) if file.startswith(catalogue.PACKAGE) else expand(file)
    if path.suffix not in (".txt", ".json"):
        raise OodgridError(
            f"{what}: {printable(file, 300)} is no file of words: name a .txt with one a line, or a .json list"
        )
    if not is_file(path):  # neither is one whose name is too long
        raise OodgridError(f"{what}: {printable(str(path), 300)} does not exist: mend the path")
    if path.stat().st_size > LARGEST:
        raise OodgridError(f"{what}: {path} has more than {LARGEST:,} bytes: it is no list of words")
    return _words(path, what)


def words_of(value: str, where: str, published: dict[str, list[str]]) -> list[str]:
    """Return the words of a file; where lists go by names too, say which."""
    if published and not value.endswith((".txt", ".json")):
        raise OodgridError(f"{where}: {value} is no list of it ({', '.join(published)}), and no .txt or .json file")
    return read_words(value, where)


def _words(path: Path, what: str) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        words = json.loads(text) if path.suffix == ".json" else [line.strip() for line in text.splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise OodgridError(f"{what}: {path} cannot be read: {str(error)[:200]}") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise OodgridError(f'{what}: {path} is no list of texts: write ["one", "two", …]')
    words = [word for word in words if word and not (path.suffix == ".txt" and word.startswith("#"))]
    if not words:
        raise OodgridError(f"{what}: {path} is empty")
    return words
