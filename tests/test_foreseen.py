"""What is skipped whatever the data is known before anything runs, and is what the stage then skips."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodgrid import config, foreseen, registry
from oodgrid.config import Choice
from oodgrid.errors import Skip
from oodgrid.score.checks import example, example_texts
from oodgrid.score.compute import compute

ROOT = Path(__file__).parents[1]
LEFT = {"prototypes": "prototypes", "features": "prototypes", "logits": "logits"}  # of the trial's examples


@pytest.fixture(scope="module")
def experiment():
    return config.load(ROOT / "experiments/all-scores.yaml")


@pytest.fixture(scope="module")
def known(experiment):
    return {
        (score, method) for each in foreseen.skipped(experiment) for score in each.scores for method in each.methods
    }


@pytest.mark.parametrize(
    ("score", "methods"),
    [
        ("neglabel@labels=concept-words", {"linear_probe", "tip_adapter"}),
        ("tanl@labels=concept-words", {"linear_probe", "tip_adapter"}),
        ("interneg@labels=concept-words,count=40", {"zero_shot", "linear_probe", "tip_adapter"}),
        ("vim", {"zero_shot", "tip_adapter"}),
        ("vim@bank=train", {"tip_adapter"}),
        ("gl_mcm", {"clip_adapter", "tip_adapter"}),
        ("cover@corruptions=fog-1", {"clip_adapter", "tip_adapter"}),
        ("cover_neglabel@labels=concept-words,corruptions=fog-1", {"linear_probe", "clip_adapter", "tip_adapter"}),
        ("kl_matching", {"zero_shot"}),
        ("mcm", set()),
        ("knn", set()),  # stands under any, and under clip_adapter, which has shots
    ],
)
def test_scores_that_a_method_never_gets(experiment, known, score, methods):
    listed = {choice.listed("method").split("@")[0] for choice in experiment.methods}
    assert {method.split("@")[0] for name, method in known if name == score} & listed == methods
    assert score in {choice.listed("score") for choice in experiment.scores}


def test_what_is_foreseen_is_what_the_stage_skips(experiment, known):
    """On samples of which everything is there but what the method does not leave."""
    for name, method in known:
        choice = next(each for each in experiment.scores if each.listed("score") == name)
        entry, of_method = registry.find("score", choice.name), registry.find("method", experiment.method(method).name)
        inputs = example(LEFT[of_method.leaves]) | {"text_cosines": of_method.text_cosines}
        lacking = {"bank", "val"} if not of_method.learns else set()
        lacking |= {"local_logits", "corrupted_logits"} if of_method.leaves != "prototypes" else set()
        given = {need: value for need, value in inputs.items() if need not in lacking}
        lists = dict.fromkeys(entry.label_lists, "away")
        with pytest.raises(Skip):
            compute(Choice(name=choice.name, **choice.params | lists), given, {"away": example_texts()})


def test_check_says_it_before_anything_runs(tmp_path, capsys):
    from oodgrid.cli import main

    assert main(["check", str(ROOT / "experiments/all-scores.yaml"), "--results", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped under ")]
    assert any("linear_probe, tip_adapter" in line and "neglabel@labels=concept-words" in line for line in lines)
    assert all(line.count(": ") >= 2 and "whatever the data" in line for line in lines)
