"""Reading a config file: YAML or JSON, in which nothing is lost or read as something that the user did not write.

Snakemake reads the same files by itself, with a reader that keeps the last of two equal keys and takes 1:30 for 90.
Whatever this reader accepts, the two read alike.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from oodgrid.errors import OodgridError, brief, printable

MOST_BYTES = 500_000
MOST_VALUES = 20_000
MOST_CHARACTERS = 10_000  # of one text
DEEPEST = 40
LARGEST = 2**63 - 1

TAG = "tag:yaml.org,2002:"
PLAIN = {TAG + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?")


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a config file without giving it a meaning yet.

    Raises:
        OodgridError: It cannot be read, or says something in a way that could be read as something else; the message
            names file, line and key.
    """
    text = _text(path)
    try:
        raw = yaml.load(_spaced(text), Loader=_Loader)
    except yaml.YAMLError as error:
        raise OodgridError(f"config {path}{_where(error)}: {_problem(error)}") from error
    if not isinstance(raw, dict):
        raise OodgridError(f"config {path} is empty or no mapping: see config.yaml for an example")
    if "__use_yte__" in raw:
        raise OodgridError(f"config {path}: templates of yte are not read: take __use_yte__ out")
    try:
        check_values(raw)
    except OodgridError as error:
        raise OodgridError(f"config {path}: {error}") from None
    return raw


def check_config_files(paths: Iterable[Path]) -> None:
    """Raise where one of the files that Snakemake has read says what Snakemake read as something else, or lost.

    Raises:
        OodgridError: As `read_config_file`.
    """
    for path in paths:
        read_config_file(Path(path))


def check_values(raw: Any) -> None:
    """Raise where a parsed config holds what no config can: other types, endless nesting, texts no file can bear.

    Raises:
        OodgridError: The message names the place.
    """
    for count, (place, value) in enumerate(_walk(raw)):
        if count > MOST_VALUES:
            raise OodgridError(f"the config holds more than {MOST_VALUES} values: shorten its lists")
        if wrong := _wrong(value):
            raise OodgridError(f"{place}: {wrong}" if place else wrong)


def _walk(raw: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value with the place where it stands."""
    waiting = [("", raw, 0)]
    while waiting:
        place, value, depth = waiting.pop()
        if depth > DEEPEST:
            raise OodgridError(f"{printable(place, 80)}: nested deeper than {DEEPEST}, or holds itself")
        yield place, value
        dot = "." if place else ""
        if isinstance(value, dict):
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise OodgridError(
                        f"{place}{dot}: the key {brief(key)} is no text: write it in quotes "
                        "(YAML reads on, off, yes, no as true or false)"
                    )
                yield f"{place}{dot}{printable(key, 40)}", key
                waiting.append((f"{place}{dot}{printable(key, 40)}", inner, depth + 1))
        elif isinstance(value, list):
            waiting.extend((f"{place}{dot}{number}", inner, depth + 1) for number, inner in enumerate(value))


def _wrong(value: Any) -> str | None:
    """Return what is wrong with one value, as no config can hold it."""
    if isinstance(value, str):
        return _wrong_text(value)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return None if -LARGEST <= value <= LARGEST else f"{brief(value)} is too large: {LARGEST} at most"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is no number to compute with: give a finite one"
    if isinstance(value, dict | list):
        return None
    return f"{brief(value)} is read as {type(value).__name__}: write a text in quotes, a number, or a list"


def _wrong_text(text: str) -> str | None:
    if len(text) > MOST_CHARACTERS:
        return f"a text of {len(text)} characters: {MOST_CHARACTERS} at most"
    strange = next((c for c in text if c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c <= "\udfff"), None)
    if strange is None:
        return None
    mend = "; write it in one line, or with >- in place of > and |" if strange == "\n" else ""
    return f"{brief(text)} holds the character U+{ord(strange):04X}, which is no text: take it out{mend}"


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise OodgridError(f"cannot read config {path}: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise OodgridError(
            f"config {path} is larger than {MOST_BYTES // 1000} kB: is it a config? Long lists go in files"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise OodgridError(f"config {path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error


def _spaced(text: str) -> str:
    """Return JSON that is indented by tabs as YAML can read it; within its texts JSON has no tabs."""
    return text.replace("\t", " ") if "\t" in text and text.lstrip().startswith("{") and _is_json(text) else text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return said if isinstance(error, _Refused) else f"not valid YAML: {printable(said, 300)}"


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that a config is not to hold."""

    def __init__(self, said: str, node: yaml.Node) -> None:
        super().__init__(problem=said, problem_mark=node.start_mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's own reader, which stops where values would be lost, guessed or multiplied."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.values = 0
        self.sizes: dict[int, int] = {}  # values below a node, those of aliases counted each time

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Return the next node, counting depth and values; an alias counts as all that it stands for."""
        event, before = self.peek_event(), self.values
        self.values += 1
        if self.depth >= DEEPEST:
            raise _Refused(f"nested deeper than {DEEPEST}", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self.sizes:
                raise _Refused(f"*{event.anchor} stands within what it names: it would never end", event)
            self.values += self.sizes[id(node)] - 1
        if self.values > MOST_VALUES:
            raise _Refused(f"more than {MOST_VALUES} values (an alias counts as all that it stands for)", event)
        self.sizes[id(node)] = self.values - before
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Take in what `<<` names; before that, no key may stand twice."""
        first: dict[Any, yaml.Node] = {}
        for key, _ in node.value:
            said = key.value if isinstance(key, yaml.ScalarNode) else None
            if said is not None and said in first:
                line = first[said].start_mark.line + 1
                raise _Refused(f"key {brief(said)} stands here and in line {line}: the first would be lost", key)
            first[said] = key
        super().flatten_mapping(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node, if YAML's old and new rules read it as the same plain value."""
        if node.tag not in PLAIN and node.tag != TAG + "merge":
            kind = node.tag.removeprefix(TAG)
            raise _Refused(f"{brief(node.value)} is read as {kind}: write it in quotes, as a text", node)
        if node.tag in (TAG + "int", TAG + "float") and not NUMBER.fullmatch(node.value):
            raise _Refused(_ambiguous(node.value), node)
        return super().construct_object(node, deep)


def _ambiguous(said: str) -> str:
    if said.lstrip("+-").lower() in (".inf", ".nan"):
        return f"{said} is no number to compute with: give a finite one"
    return (
        f"{brief(said)} is a number in base 60, 8, 16 or 2 to some readers of YAML and a text to others: write the number "
        "in plain digits, or the text in quotes"
    )
