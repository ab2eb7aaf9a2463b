"""Configs with mistakes, made from sound ones by seeded mutation: of their values, and of their text."""

from __future__ import annotations

import copy
import datetime
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import yaml

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**60, 0.5, -0.0, 1e-320, 1e308, float("inf"),
    float("nan"), "", " ", "x", "con", "a.", "../x", "/", "~nobody/x", "${UNSET}", "é" * 300, "a b", "1:30", "no",
    "1e-3", "1_0", "\x00", "\x1b[31m", "\ud800", "\u202e", "a\nb", "{}", "{0}", "{x}", "%s", "x" * 20_000, "x" * 300,
    "features", "any", [], {}, [[]], [{}], {"name": None}, {"name": "x"}, {"name": ["x"]}, {"": ""}, [None, None],
    {"x": {"y": {"z": []}}}, datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1), b"\x00\xff", {1, 2}, (1, 2),
    {True: 1}, {None: 1}, {1.5: "x"}, {(1, 2): 3}, {b"x": 1}, {datetime.date(2026, 1, 1): 1}, list(range(5000)),
    ["x"] * 5000, object(), 1j, "mcm", "noise",
)  # fmt: skip
TEXTS = (
    "\t", ":", "- ", "[", "]", "{", "}", "&a ", "*a", "!!binary ", "!!set ", "!!omap ", "!!python/object:os.x ", "? ",
    "|\n", ">\n", "#", "'", '"', "%", "@", "`", "---\n", "...\n", "\x00", "\ufeff", "\r", "\u2028", "1:30", "0x10",
    "010", "1_000", ".inf", ".nan", "2026-01-01", "2026-02-30", "yes", "~", "<<: ", "<<: *a", "=", "9" * 5000,
    "[" * 900,
    "{a: " * 900, "\\ud800", '"\\0"', '"\\ud83d"', "!!float nan", "!!int x", "!!bool x", "!!timestamp x",
    "__use_yte__: true\n", "x: ?1/0\n",
)  # fmt: skip


def places(value: Any, here: tuple = ()) -> Iterator[tuple]:
    """Yield where in nested mappings and lists something stands."""
    if here:
        yield here
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*here, key))


def mutated(raw: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Return a copy of a parsed config with one to three changes."""
    raw = copy.deepcopy(raw)
    for *path, last in rng.sample(list(places(raw)), rng.randint(1, 3)):
        parent = raw
        with suppress(LookupError, TypeError):  # a place that an earlier change took away
            for step in path:
                parent = parent[step]
            _change(parent, last, rng, raw)
    return raw


def _change(parent: Any, last: Any, rng: random.Random, raw: dict[str, Any]) -> None:
    kind = rng.choice(("set", "set", "set", "delete", "wrap", "double", "rename", "nest", "move", "self"))
    value = parent[last]
    if kind == "set":
        parent[last] = copy.deepcopy(rng.choice(STRANGE))
    elif kind == "delete":
        del parent[last]
    elif kind == "wrap":
        parent[last] = rng.choice(([value], {"x": value}, {"name": value}))
    elif kind == "double" and isinstance(parent, list):
        parent.insert(last, copy.copy(value))
    elif kind == "rename" and isinstance(parent, dict):
        parent[rng.choice((f"{last}s", str(last).upper(), None, True, 3, "", "\x00", "x" * 5000))] = parent.pop(last)
    elif kind == "nest":
        for _ in range(rng.choice((3, 100, 2000))):
            value = rng.choice(([value], {"x": value}))
        parent[last] = value
    elif kind == "move":
        parent[last] = raw[rng.choice(list(raw))]
    elif kind == "self":
        parent[last] = rng.choice((parent, raw))


def garbled(text: str, rng: random.Random) -> bytes:
    """Return a config's text with one to three changes, as bytes that may be no text."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        number = rng.randrange(len(lines))
        kind = rng.choice(("insert", "insert", "insert", "cut", "twice", "swap", "indent", "value"))
        if kind == "insert":
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(TEXTS) + text[at:]
            continue
        if kind == "cut":
            text = text[: rng.randrange(len(text) + 1)]
            continue
        if kind == "twice":
            lines.insert(rng.randrange(len(lines)), lines[number])
        elif kind == "swap":
            other = rng.randrange(len(lines))
            lines[number], lines[other] = lines[other], lines[number]
        elif kind == "indent":
            lines[number] = rng.choice((" ", "  ", "\t")) + lines[number]
        elif ":" in lines[number]:
            lines[number] = f"{lines[number].split(':')[0]}: {rng.choice(TEXTS)}"
        text = "\n".join(lines)
    content = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1 and content:
        at = rng.randrange(len(content))
        content = content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    return content


def bombs() -> Iterator[tuple[str, str]]:
    """Yield texts that grow when they are read, by name."""
    growing = "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    yield "lists", "a0: &a0 [x, x]\n" + growing
    growing = "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 60))
    yield "mappings", "a0: &a0 {x: 1}\n" + growing
    growing = "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: 1}}\n" for i in range(1, 60))
    yield "merges", "a0: &a0 {x: 1}\n" + growing
    yield "seeds", f"seeds: [{', '.join(map(str, range(200_000)))}]\n"
    yield "seeds, one a line", "seeds:\n" + "".join(f"- {i}\n" for i in range(200_000))
    yield "one name", f"experiment: {'x' * 1_900_000}\n"
    yield "one key", f"{'x' * 1_900_000}: 1\n"
    yield "keys", "".join(f"k{i}: 1\n" for i in range(100_000))
    yield "one number", f"seeds: [{'9' * 1_900_000}]\n"
    yield "sequences", f"seeds: {'[' * 500_000}\n"
    yield "mappings in mappings", f"seeds: {'{a: ' * 300_000}\n"
    yield "entries of entries", "- " * 500_000 + "\n"
    yield "comments", "# x\n" * 450_000
    yield "spaces", " " * 1_900_000
    yield "anchors", "".join(f"k{i}: &a{i} 1\n" for i in range(50_000))
    yield "quotes", '"' + "\\\\" * 900_000 + '": 1\n'
    yield "tags", "".join(f"- !t{i} x\n" for i in range(50_000))
    yield "documents", "---\n" * 400_000
    yield "large", "x" * 5_000_000


def dumped(raw: dict[str, Any]) -> str | None:
    """Return a config as YAML, if YAML has a form of it."""
    try:
        return yaml.safe_dump(raw, allow_unicode=True)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError):
        return None
