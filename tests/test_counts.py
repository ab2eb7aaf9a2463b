"""Numbers before nouns: how they are said, and that messages leave it to `oodgrid.counts`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import oodgrid
from oodgrid.counts import counted, plural, some

SOURCE = Path(oodgrid.__file__).parent
# "… has", "… names": the third person of a verb behind a name, and small words that end in s.
VERBS = re.compile(
    "is|has|was|does|as|this|its|begins|belongs|changes|claims|depends|differs|draws|ends|fits|gives|goes|holds|imports|"
    "keeps|lacks|learns|lies|lists|looks|makes|means|names|needs|opens|overlaps|passes|predicts|reads|refuses|registers|"
    "repeats|replaces|runs|says|shares|shows|stands|starts|stays|takes|turns|wants|writes"
)
NUMBER = re.compile(r"len\(|count|sum\(|size|num|total|shots|seeds|width|dim|rows|fewer|height|cores|epochs")
# Limits that are always several, and numbers that are at least two where the message is made.
ALLOWED = {
    "_number(count)",  # which may be none
    "FILES", "LARGEST", "LARGEST_VARIANT", "LONGEST", "LONGEST_NAME", "LONGEST_VARIANT", "MOST", "MOST_CHARACTERS",
    "MOST_ENTRIES", "MOST_LINES", "MOST_SHARDS", "MOST_SHOWN", "MOST_VALUES", "READ", "SIZE",
}  # fmt: skip


@pytest.mark.parametrize(
    ("number", "arguments", "words"),
    [
        (0, ["score"], "0 scores"), (1, ["score"], "1 score"), (2, ["score"], "2 scores"),
        (1203, ["row"], "1,203 rows"),
        (1, ["class", "classes"], "1 class"), (3, ["class", "classes"], "3 classes"),
        (1, ["pair of method and score"], "1 pair of method and score"),
        (2, ["pair of method and score"], "2 pairs of method and score"),
        (1, ["row is", "rows are"], "1 row is"), (2, ["row is", "rows are"], "2 rows are"),
    ],
)  # fmt: skip
def test_a_number_stands_before_its_noun(number, arguments, words):
    assert counted(number, *arguments) == words
    assert words.endswith(plural(number, *arguments))


def test_a_list_says_how_many_it_leaves_out():
    assert some(map(str, range(3)), 3) == "0, 1, 2"
    assert some(map(str, range(1005)), 2) == "0, 1 and 1,003 more"


def uncounted(source: str) -> list[str]:
    """Return the fields of f-strings that are a number and stand before a noun in its plural."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for field, behind in zip(node.values, node.values[1:], strict=False):
            if not (isinstance(field, ast.FormattedValue) and isinstance(behind, ast.Constant)):
                continue
            noun = re.match(r" (?:(?:more|other|further) )?([a-z]+s)\b", behind.value)
            value = ast.unparse(field.value)
            is_number = NUMBER.search(value) and not re.match(r"(counted|plural)\(", value)
            if is_number and noun and not VERBS.fullmatch(noun[1]):
                lines.append(f"line {node.lineno}: {{{value}}}{noun[0]}")
    return lines


def test_the_scan_finds_a_number_before_a_plural():
    assert uncounted('f"{len(x)} images and {shots} more rows, {size:,} bytes"') == [
        "line 1: {len(x)} images", "line 1: {shots} more rows", "line 1: {size} bytes"
    ]  # fmt: skip
    assert not uncounted("f\"{counted(len(x), 'image')} names {name} holds {len(x)} of them\"")


def test_messages_count_by_one_rule():
    found = {
        f"{file.relative_to(SOURCE)} {line}" for file in SOURCE.rglob("*.py") for line in uncounted(file.read_text())
        if not any(f"{{{name}}}" in line for name in ALLOWED)
    }  # fmt: skip
    assert not found, "\n".join(sorted(found))
