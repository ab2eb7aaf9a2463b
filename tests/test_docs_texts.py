"""What docs/texts.md shows is what the configuration takes, on the real lists that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from oodgrid.config import LabelList
from oodgrid.encode.text_lists import prompts, read_text_list

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "texts.md").read_text(encoding="utf-8"), re.DOTALL)
ENTRIES = [entry for block in BLOCKS for entry in yaml.safe_load(block)["label_lists"]]
SIZES = {  # labels, of which adjectives, templates
    "far-500": (215, 0, 1),
    "neglabel-words": (70_000, 13_091, 1),
    "neglabel-selected": (10_499, 0, 1),
    "csp-pool": (56_618, 10_060, 8),
    "nouns": (58_546, 0, 1),
}


def test_the_page_shows_what_is_tried_here():
    assert set(SIZES) < {entry["name"] for entry in ENTRIES}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_an_entry_can_be_read(shared, monkeypatch, tmp_path, entry):
    monkeypatch.setenv("OODGRID_SHARED", str(shared))
    monkeypatch.chdir(tmp_path)
    Path("near-imagenet.csv").write_text("label,kind\nDevon,cluster 103\n")  # as `oodgrid labels reneg` writes it
    labels = LabelList.model_validate(entry)
    if labels.imported:
        return
    found = read_text_list(labels, ["goldfish", "great white shark"])
    made = prompts(labels, found)
    if labels.name in SIZES:
        assert (len(found.names), found.kinds.count("adjective"), len(made.texts)) == SIZES[labels.name]
    if labels.drop == "word":
        assert not [name for name in found.names if "shark" in name.split()]
