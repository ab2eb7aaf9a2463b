"""The table of edits in docs/architecture.md, every row of it made and compared with what Snakemake then plans."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from tests.workflow.conftest import PATIENCE, rules_in

DOCUMENT = Path(__file__).parents[2] / "docs/architecture.md"
ROW = re.compile(r"^\| (?P<edit>[^|`]+?) \| (?P<runs>nothing|refused|[`a-z ]+?) \|", re.M)


def documented():
    """Return the rules of every row, "nothing" or "refused", by the edit."""
    table = DOCUMENT.read_text(encoding="utf-8").split("| edit |")[1].split("\n\n")[0]
    rows = {row["edit"]: row["runs"] for row in ROW.finditer(table)}
    return {edit: runs if "`" not in runs else set(re.findall(r"`(\w+)`", runs)) for edit, runs in rows.items()}


def planned(clone):
    """Return what a run would do now, as `documented` says it."""
    process = clone.start("snakemake", "--cores", "1", "-n")
    output, _ = process.communicate(timeout=PATIENCE)
    if process.returncode:
        assert "oodgrid: error: " in output
        return "refused"
    if "Nothing to be done" in output:
        return "nothing"
    assert "--rerun-triggers" not in output  # Snakemake's advice, which would leave results out of date
    return rules_in(output)


def code(file, old, new):
    """Return an edit of a source file."""

    def edit(clone, experiment):
        clone.edit(f"src/oodgrid/{file}", old, new)
        return lambda: clone.edit(f"src/oodgrid/{file}", new, old)

    return edit


def config(change):
    """Return an edit of the configuration."""

    def edit(clone, experiment):
        changed = copy.deepcopy(experiment)
        change(changed)
        clone.write(changed)
        return lambda: clone.write(experiment)

    return edit


def both(*edits):
    """Return several edits as one."""

    def edit(clone, experiment):
        undone = [each(clone, experiment) for each in edits]
        return lambda: [undo() for undo in undone]

    return edit


def move(experiment):
    """Make the near OOD set a far one."""
    experiment["id_datasets"][0]["ood"] = {"far": experiment["id_datasets"][0]["ood"]["near"]}


FUTURE = "from __future__ import annotations\n"
PAIRS = "- pair: [imagenet, fgvc]\n"
EDITS = {
    "a comment in a score's file": code("score/scores/mcm.py", FUTURE, f"# Words.\n{FUTURE}"),
    "code of encode": code("encode/pipeline.py", FUTURE, f"{FUTURE}\nCHANGED = 1\n"),
    "one more seed": config(lambda experiment: experiment["seeds"].append(2)),
    "one more OOD set": config(
        lambda experiment: experiment["id_datasets"][0]["ood"].update(far=[{"name": "another", "imported": {}}])
    ),
    "one more score": config(lambda experiment: experiment["scores"].append("energy")),
    "one score fewer": config(lambda experiment: experiment["scores"].pop()),
    "far instead of near for an OOD set": config(move),
    "a corrected overlap in the catalogue": both(
        code("catalogue/overlaps.yaml", PAIRS, f"- pair: [own, other]\n  why: found later\n{PAIRS}"),
        config(lambda experiment: experiment["id_datasets"][0].update(allow_overlap=True)),
    ),
    "code of one score": code("score/scores/mcm.py", "T=T)\n", "T=T) * 2\n"),
    "code of angles": code("score/geometry.py", FUTURE, f"{FUTURE}\nCHANGED = 1\n"),
    "code of one method": code("adapt/methods/tip_adapter.py", FUTURE, f"{FUTURE}\nCHANGED = 1\n"),
    "code of intervals": code("evaluate/intervals.py", FUTURE, f"{FUTURE}\nCHANGED = 1\n"),
    "code of figures": code("report/figures/forest.py", FUTURE, f"{FUTURE}\nCHANGED = 1\n"),
    "another name of the experiment": config(lambda experiment: experiment.update(experiment="second")),
    "another source of images under a name": config(
        lambda experiment: experiment["id_datasets"][0].update(imported=None, folder="photos")
    ),
}


def test_every_row_has_its_edit():
    assert set(documented()) == set(EDITS)
    assert len(EDITS) >= 10


@pytest.mark.slow
def test_what_runs_after_an_edit_is_what_the_table_says(reported):
    """Every edit is taken back before the next, and then there is nothing to be done."""
    clone, experiment = reported
    assert planned(clone) == "nothing"
    found = {}
    for name, edit in EDITS.items():
        undo = edit(clone, experiment)
        found[name] = planned(clone)
        undo()
    assert planned(clone) == "nothing"
    assert found == documented()
