"""Reading a config file, YAML or JSON, strictly: nothing is dropped, and nothing read as another value.

Snakemake reads the same files by itself, with a reader that keeps the last of two equal keys and takes 1:30 for 90.
Whatever this reader accepts, the two read alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from oodgrid.config.values import DEEPEST, KEYS, MOST_VALUES, Wrong, marked
from oodgrid.counts import counted
from oodgrid.errors import Mistakes, OodgridError, all_of, brief, printable

MOST_BYTES = 1_000_000  # what is written down for the jobs, within the limits of values, stays under it
LONGEST_NUMBER = 40

TAG = "tag:yaml.org,2002:"
PLAIN = {TAG + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
NUMBER = re.compile(r"(?=.*[0-9])[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?")


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a config file without giving it a meaning yet.

    Raises:
        OodgridError: It cannot be read, or says something in a way that could be read as something else; the message
            names file, line and key.
    """
    raw, mistakes = read(path)
    if mistakes:
        raise Mistakes(mistakes)
    return raw


def check_config_files(paths: Iterable[Path]) -> None:
    """Refuse config files of which Snakemake's own reader has dropped a part, or read it as another value.

    Raises:
        OodgridError: As `read_config_file`.
    """
    all_of(*(partial(read_config_file, Path(path)) for path in paths))


def read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the content of a config file, with `Wrong` in place of each bad value, and a line per mistake.

    Raises:
        OodgridError: It cannot be read at all.
    """
    text = _text(path)
    as_json = _json(text)
    try:  # JSON too: where a key stands twice, its own reader does not say. It has no tabs but between values.
        loader = _Loader(text if as_json is None else text.replace("\t", " "), f"config {path}")
        raw = loader.get_single_data()
    except yaml.YAMLError as error:
        raise OodgridError(f"config {path}{_where(error)}: {_problem(error)}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # a tag that does not fit its value
        raise OodgridError(f"config {path} is not valid YAML: take out its tags, as !!bool") from error
    if not isinstance(raw, dict):
        raise OodgridError(f"config {path} is empty or no mapping: see config.yaml for an example")
    if "__use_yte__" in raw:
        raise OodgridError(f"config {path}: templates of yte are not read: take __use_yte__ out")
    raw, mistakes = marked(raw if as_json is None else as_json, f"config {path}")
    return raw, [*loader.mistakes, *mistakes]


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


def _json(text: str) -> dict[str, Any] | None:
    """Return what a JSON text says, by JSON's rules for numbers and escapes; None where it is none."""
    try:
        raw = json.loads(text) if text.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return problem if isinstance(error, _Refused) else f"not valid YAML: {printable(problem, 300)}"


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that no config may hold."""

    def __init__(self, problem: str, event: yaml.Event) -> None:
        mark: Any = event.start_mark  # of this reader, while its type stubs think of the one in C too
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's own reader; it stops at aliases that multiply values, and reports what would be dropped or guessed."""

    def __init__(self, text: str, what: str) -> None:
        super().__init__(text)
        self.what = what
        self.mistakes: list[str] = []
        self.depth = self.values = 0
        self.sizes: dict[int, int] = {}  # values below a node, those of aliases counted each time

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
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

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; keys that stand twice or are no text are reported."""
        self._refuse_doubles(node)
        sound = [(key, value) for key, value in node.value if self._is_text(key)]
        node.value = sound
        return super().construct_mapping(node, deep)

    def _refuse_doubles(self, node: yaml.MappingNode) -> None:
        first: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (other := first.setdefault(key.value, key)) is not key:
                line = other.start_mark.line + 1
                self._refuse(key, f"the key {brief(key.value)} stands here and in line {line}: take one out")

    def _is_text(self, key: yaml.Node) -> bool:
        if key.tag in (TAG + "str", TAG + "merge"):
            return True
        shown = brief(key.value) if isinstance(key, yaml.ScalarNode) else "of several parts"
        self._refuse(key, f"the key {shown}: {KEYS}")
        return False

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node, if YAML's old and new rules read it as the same plain value."""
        if node.tag not in PLAIN and node.tag != TAG + "merge":
            kind, shown = node.tag.removeprefix(TAG), f"{brief(node.value)} " * isinstance(node, yaml.ScalarNode)
            return self._refuse(
                node, f"{shown}is read as {kind}: write a text in quotes, a number, a list or a mapping"
            )
        if node.tag in (TAG + "int", TAG + "float") and (why := _no_number(node.value)):
            return self._refuse(node, why)
        return super().construct_object(node, deep)

    def _refuse(self, node: yaml.Node, why: str) -> Wrong:
        self.mistakes.append(f"{self.what}, line {node.start_mark.line + 1}: {why}")
        return Wrong(self.mistakes[-1])


def _no_number(text: str) -> str | None:
    """Return why a number is none, or could be two; None where it is one."""
    if text.lstrip("+-").lower() in (".inf", ".nan"):
        return f"{text} is no number to compute with: give a finite one"
    if len(text) > LONGEST_NUMBER:
        return f"a number of {counted(len(text), 'digit')}: write fewer"
    if not NUMBER.fullmatch(text):
        return (
            f"{brief(text)} is a number in base 60, 8, 16 or 2 to some readers of YAML and a text to others: write "
            "the number in plain digits, or the text in quotes"
        )
    return None
