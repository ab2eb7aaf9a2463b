"""Reading a config file: YAML or JSON, in which nothing is lost or read as something that the user did not write.

Snakemake reads the same files by itself, with a reader that keeps the last of two equal keys and takes 1:30 for 90.
Whatever this reader accepts, the two read alike.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from oodgrid.errors import Mistakes, OodgridError, all_of, brief, printable

MOST_BYTES = 2_000_000  # what is written down for the jobs, with the limits below, stays under it
MOST_VALUES = 20_000
MOST_CHARACTERS = 10_000  # of one text
MOST_TEXT = 400_000  # characters of all texts
DEEPEST = 40
LONGEST_NUMBER = 40
LARGEST = 2**63 - 1

TAG = "tag:yaml.org,2002:"
PLAIN = {TAG + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
NUMBER = re.compile(r"(?=.*[0-9])[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Wrong:
    """Stands in a config for a value that no config can hold, until whatever reads it says so."""

    said: str


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a config file without giving it a meaning yet.

    Raises:
        OodgridError: It cannot be read, or says something in a way that could be read as something else; the message
            names file, line and key.
    """
    raw, said = read(path)
    if said:
        raise Mistakes(said)
    return raw


def check_config_files(paths: Iterable[Path]) -> None:
    """Raise where one of the files that Snakemake has read says what Snakemake read as something else, or lost.

    Raises:
        OodgridError: As `read_config_file`.
    """
    all_of(*(partial(read_config_file, Path(path)) for path in paths))


def read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return what a config file says with what is wrong in it replaced by `Wrong`, and the lines of all that is wrong.

    Raises:
        OodgridError: It cannot be read at all.
    """
    text = _spaced(_text(path))
    try:
        loader = _Loader(text, f"config {path}")
        raw = loader.get_single_data()
    except yaml.YAMLError as error:
        raise OodgridError(f"config {path}{_where(error)}: {_problem(error)}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # a tag that does not fit its value
        raise OodgridError(f"config {path} is not valid YAML: take out its tags, as !!bool") from error
    if not isinstance(raw, dict):
        raise OodgridError(f"config {path} is empty or no mapping: see config.yaml for an example")
    if "__use_yte__" in raw:
        raise OodgridError(f"config {path}: templates of yte are not read: take __use_yte__ out")
    raw, said = marked(raw, f"config {path}")
    return raw, [*loader.said, *said]


def marked(raw: dict[str, Any], what: str) -> tuple[dict[str, Any], list[str]]:
    """Return a parsed config with every value that none can hold replaced by `Wrong`, and a line for each.

    Args:
        raw: Whatever a reader of YAML or JSON gives.
        what: What it is, as "config experiments/mine.yaml".

    Raises:
        OodgridError: It is too deep or too long to be looked through.
    """
    marker = _Marker(what)
    return marker.marked(raw, ""), marker.said


class _Marker:
    def __init__(self, what: str) -> None:
        self.what, self.values, self.characters = what, 0, 0
        self.said: list[str] = []

    def marked(self, value: Any, place: str, depth: int = 0) -> Any:
        self.values += 1
        if depth > DEEPEST:
            raise OodgridError(f"{self.what}: nested deeper than {DEEPEST}, or a part that holds itself: take it out")
        self.characters += len(value) if isinstance(value, str) else 0
        for count, most, of in ((self.values, MOST_VALUES, "values"), (self.characters, MOST_TEXT, "characters")):
            if count > most:
                raise OodgridError(f"{self.what}: more than {most} {of}: write long lists in files of their own")
        dot = "." if place else ""
        if isinstance(value, list):
            return [self.marked(inner, f"{place}{dot}{number}", depth + 1) for number, inner in enumerate(value)]
        if isinstance(value, dict):
            sound = {key: inner for key, inner in value.items() if self._sound_key(key, place)}
            return {k: self.marked(inner, f"{place}{dot}{printable(k, 40)}", depth + 1) for k, inner in sound.items()}
        why = None if isinstance(value, Wrong) else _wrong(value)
        return value if why is None else self._say(place, why)

    def _sound_key(self, key: Any, place: str) -> bool:
        if isinstance(key, Wrong):  # has been said
            return False
        why = _wrong(key) if isinstance(key, str) else KEYS
        if why:
            self._say(place, f"the key {brief(key)}: {why}")
        return not why

    def _say(self, place: str, why: str) -> Wrong:
        self.said.append(f"{self.what}: {place}{': ' * bool(place)}{why}")
        return Wrong(self.said[-1])


KEYS = "a key is a text: write it in quotes (YAML reads on, off, yes, no as true or false)"


def _wrong(value: Any) -> str | None:
    """Return what is wrong with one value, as no config can hold it."""
    if isinstance(value, str):
        return _wrong_text(value)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return None if -LARGEST <= value <= LARGEST else f"{brief(value)} is too large: {LARGEST} is the most"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is no number to compute with: give a finite one"
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
    """PyYAML's own reader, which stops where values are multiplied, and says where they would be lost or guessed."""

    def __init__(self, text: str, what: str) -> None:
        super().__init__(text)
        self.what = what
        self.said: list[str] = []
        self.depth = self.values = 0
        self.sizes: dict[int, int] = {}  # values below a node, those of aliases counted each time

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Return the next node, counting depth and values; an alias counts as all that it stands for."""
        event, before = self.peek_event(), self.values
        self.values += 1
        if self.depth >= DEEPEST:
            raise _Refused(f"nested deeper than {DEEPEST}: take it out", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self.sizes:
                raise _Refused(f"*{event.anchor} stands within what it names: it would never end", event)
            self.values += self.sizes[id(node)] - 1
        if self.values > MOST_VALUES:
            raise _Refused(
                f"more than {MOST_VALUES} values up to here, an alias counting as all that it stands for: write long "
                "lists in files of their own",
                event,
            )
        self.sizes[id(node)] = self.values - before
        return node

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping of which every key stands once."""
        self._say_twice(node)
        sound = [(key, value) for key, value in node.value if self._is_text(key)]
        node.value = sound
        return super().construct_mapping(node, deep)

    def _say_twice(self, node: yaml.MappingNode) -> None:
        first: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (other := first.setdefault(key.value, key)) is not key:
                line = other.start_mark.line + 1
                self._say(key, f"the key {brief(key.value)} stands here and in line {line}: take one out")

    def _is_text(self, key: yaml.Node) -> bool:
        if key.tag in (TAG + "str", TAG + "merge"):
            return True
        shown = brief(key.value) if isinstance(key, yaml.ScalarNode) else "of several parts"
        self._say(key, f"the key {shown}: {KEYS}")
        return False

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node, if YAML's old and new rules read it as the same plain value."""
        if node.tag not in PLAIN and node.tag != TAG + "merge":
            kind, shown = node.tag.removeprefix(TAG), f"{brief(node.value)} " * isinstance(node, yaml.ScalarNode)
            return self._say(node, f"{shown}is read as {kind}: write a text in quotes, a number, a list or a mapping")
        if node.tag in (TAG + "int", TAG + "float") and (why := _no_number(node.value)):
            return self._say(node, why)
        return super().construct_object(node, deep)

    def _say(self, node: yaml.Node, why: str) -> Wrong:
        self.said.append(f"{self.what}, line {node.start_mark.line + 1}: {why}")
        return Wrong(self.said[-1])


def _no_number(said: str) -> str | None:
    """Return why a number is none, or could be two; None where it is one."""
    if said.lstrip("+-").lower() in (".inf", ".nan"):
        return f"{said} is no number to compute with: give a finite one"
    if len(said) > LONGEST_NUMBER:
        return f"a number of {len(said)} digits: write fewer"
    if not NUMBER.fullmatch(said):
        return (
            f"{brief(said)} is a number in base 60, 8, 16 or 2 to some readers of YAML and a text to others: write "
            "the number in plain digits, or the text in quotes"
        )
    return None
