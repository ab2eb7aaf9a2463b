"""Formats of files of texts: each is read into rows of named columns, with the line of the file where each stands."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oodgrid.config import TextTable
from oodgrid.counts import counted
from oodgrid.encode.lines import parse_json
from oodgrid.errors import OodgridError, unknown
from oodgrid.store import frames, read_bytes

LARGEST = 2**31 - 1  # characters of one field; the csv module stops at 131,072 otherwise
LONE_CR = re.compile(r"\r(?!\n)")


@dataclass(frozen=True)
class Row:
    """One row of a file: its line, or its number where it has none, and what stands in its columns."""

    line: int
    values: Mapping[Any, Any]


def _text_of(file: Path) -> str:
    try:
        text = read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OodgridError(f"{file} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    if "\0" in text:
        raise OodgridError(f"{file} is no text: it holds NUL characters. Save it as UTF-8 (and not as UTF-16)")
    return text


def _separated(file: Path, source: TextTable) -> Iterator[Row]:
    """Yield the rows of a file of separated values.

    Quotes are read as programs write them, so that a text may hold the separator and ends of lines. A quote that begins
    a text and is none of these would swallow the lines behind it, and is refused.
    """
    is_tsv = source.format_of(str(file)) == "tsv"
    quoting: Any = csv.QUOTE_MINIMAL if source.quotes else csv.QUOTE_NONE
    before = csv.field_size_limit(LARGEST)
    text = _text_of(file)
    if "\n" in text:  # then a carriage return alone ends no line, which the csv module thinks
        text = LONE_CR.sub(" ", text)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter="\t" if is_tsv else ",", strict=source.quotes, quoting=quoting)
    try:
        header: Sequence[Any] | None = None
        line = 1
        for values in reader:
            if header is None:
                if not values:
                    continue
                header = _header(file, values) if source.header else [*range(len(values))]
                if source.header:
                    line = reader.line_num + 1
                    continue
            lacks = source.text in header[: len(values)] and len(values) < len(header)
            if len(values) > len(header) or lacks:
                raise OodgridError(
                    f"{file}, line {line}: {counted(len(values), 'column')} where the first line has {len(header)}: "
                    "put quotes around a text that holds the separator, or name the right format:"
                )
            if any("\t" in value and "\n" in value for value in values) and is_tsv:
                raise _swallowed(file, line)
            yield Row(line, {**dict.fromkeys(header), **dict(zip(header, values, strict=False))})
            line = reader.line_num + 1
    except csv.Error as error:
        raise _swallowed(file, line) from error
    finally:
        csv.field_size_limit(before)


def _header(file: Path, values: list[str]) -> list[str]:
    names = [value.strip() for value in values]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise OodgridError(f"{file}: two columns are called {twice[0]!r}: rename one, or write header: false")
    return names


def _swallowed(file: Path, line: int) -> OodgridError:
    return OodgridError(
        f"{file}, line {line}: a quote begins a text and does not end it, and would swallow the lines behind it: write "
        "quotes: false where quotes are characters as all others, or mend the line"
    )


def _json_lines(file: Path, source: TextTable) -> Iterator[Row]:
    for number, line in enumerate(_text_of(file).replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        row = parse_json(line, f"{file}, line {number}")
        if not isinstance(row, dict):
            raise OodgridError(f'{file}, line {number}: it is no JSON object, as {{"{source.text}": …}}: mend it')
        yield Row(number, row)


def json_parts(file: Path, source: TextTable, split: str | None) -> list[tuple[str | None, Iterator[Row]]]:
    """Return the rows of each split that a JSON file holds, or of the whole file where it is one list."""
    content = parse_json(_text_of(file), str(file))
    if isinstance(content, list):
        if split is None and source.split is None:
            raise OodgridError(f"{file} is one list: name the file of each split, as file: {{test: {file.name}}}")
        return [(split, _json_rows(file, content))]
    if not isinstance(content, dict):
        raise OodgridError(f"{file} holds neither lists of texts by split nor one list: name another format:")
    names: dict[str, str] = dict((source.splits or {}).items())
    keys = {split: names.get(split, split) for split in source.own_splits} if split is None else {}
    parts: list[tuple[str | None, Iterator[Row]]] = []
    for ours, theirs in (keys or {str(split): str(split)}).items():
        if not isinstance(content.get(theirs), list):
            raise unknown(f"split of {file} (texts, splits:)", theirs, content)
        parts.append((ours, _json_rows(file, content[theirs])))
    return parts


def _json_rows(file: Path, entries: list[Any]) -> Iterator[Row]:
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, dict):
            yield Row(number, entry)
        elif isinstance(entry, list) and len(entry) == 2:
            yield Row(number, {"text": entry[0], "label": entry[1]})
        elif isinstance(entry, str):
            yield Row(number, {"text": entry})
        else:
            raise OodgridError(f"{file}: entry {number} is neither a text, [text, label] nor an object: mend it")


def _parquet(file: Path, source: TextTable) -> Iterator[Row]:
    table = frames.read_parquet(file)[0]
    for number, values in enumerate(table.iter_rows(named=True), 1):
        yield Row(number, values)


def _lines(file: Path, source: TextTable) -> Iterator[Row]:
    text = _text_of(file).replace("\r\n", "\n")
    text = text if "\n" in text else text.replace("\r", "\n")
    lines = text.removesuffix("\n").split("\n") if text else []
    if source.format is None and any("\t" in line for line in lines) and all("\t" in x for x in lines if x.strip()):
        raise OodgridError(f"{file} has a tab in every line: write format: tsv, or format: lines where these are texts")
    yield from (Row(number, {source.text: line}) for number, line in enumerate(lines, 1))


READERS = {"csv": _separated, "tsv": _separated, "jsonl": _json_lines, "parquet": _parquet, "lines": _lines}
