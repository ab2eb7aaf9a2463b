"""Configurations in the documentation: a whole one can be pasted and is sound; all others say that they are parts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from oodgrid.config import Experiment, parse

ROOT = Path(__file__).parents[1]
MARK = "# part of an experiment"
REQUIRED = {name for name, field in Experiment.model_fields.items() if field.is_required()}
KEYS = set(Experiment.model_fields)


def blocks():
    """Every YAML block of the README and of docs/, by its place."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text[: found.start(1)].count("\n") + 1
            yield pytest.param(found[1], id=f"{page.name}:{line}")


def keys_of(block):
    read = yaml.safe_load(block.replace("{…}", "{}"))
    return set(read) if isinstance(read, dict) else set()


BLOCKS = list(blocks())
WHOLE = [each for each in BLOCKS if REQUIRED - {"experiment"} <= keys_of(each.values[0])]


def test_some_are_whole():
    assert len(WHOLE) >= 5


@pytest.mark.parametrize("block", WHOLE)
def test_a_whole_configuration_can_be_pasted(block, monkeypatch, tmp_path):
    """Files and folders that it names are the reader's own; whether they are there is not asked."""
    monkeypatch.chdir(tmp_path)
    assert MARK not in block
    assert parse(yaml.safe_load(block)).experiment


@pytest.mark.parametrize("block", [each for each in BLOCKS if each not in WHOLE])
def test_a_part_says_that_it_is_one_and_has_keys_that_there_are(block):
    keys = keys_of(block)
    assert "experiment" not in keys
    if keys <= {"datasets", "sources"} and keys:  # a file of published values
        return
    assert block.startswith(f"{MARK}\n"), f"begin this block with {MARK}, or make it whole"
    assert keys <= KEYS or keys <= {"texts"}  # the key of a dataset
