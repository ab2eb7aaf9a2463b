"""docs/datasets.md has a row for every real dataset, as the catalogue has it, and its recipes are sound."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from oodgrid import cli
from oodgrid.catalogue import real
from oodgrid.cli.parser import parser
from oodgrid.config import parse

PAGE = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
RECIPES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("oodgrid ")
]


def row_of(name: str) -> str:
    """Return the row of a dataset in the page's table."""
    entry = real.real_set(name)
    splits = ", ".join(f"{split} {count:,}" if count else split for split, count in entry.splits.items())
    get = "`oodgrid fetch`" if not entry.get else "by hand, then `oodgrid fetch`" if entry.fetch else "by hand"
    trap = entry.traps[0].replace("|", "\\|").replace("<", "&lt;")
    cells = (f"`{name}`", entry.title, entry.use, splits, entry.licence, get, trap)
    return f"| {' | '.join(cells)} |"


def test_the_page_has_a_row_for_every_dataset_as_the_catalogue_has_it():
    rows = [row_of(name) for name in real.names()]
    missing = [row for row in rows if row not in PAGE.splitlines()]
    assert not missing, "docs/datasets.md lacks these rows:\n" + "\n".join(missing)
    table = [
        line for line in PAGE.splitlines() if line.startswith("| `") and line.count(" | ") == row_of("dtd").count(" | ")
    ]
    assert len(table) == len(rows)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: str(next(iter(recipe))))
def test_a_recipe_is_a_sound_experiment(experiment_of, recipe):
    whole = experiment_of(methods=["zero_shot"]) | recipe
    assert list(parse(whole).datasets())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_of_the_command_line(command):
    assert parser().parse_args(shlex.split(command, comments=True)[1:]).run


def test_commands_that_need_no_data_run(capsys):
    assert cli.main(["datasets"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > len(real.names())
    for name in ("imagenet", "ninco"):
        assert cli.main(["datasets", name]) == 0
        assert real.real_set(name).title in capsys.readouterr().out
