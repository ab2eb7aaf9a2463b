"""The answer first: every sentence is from the data, and is left out where they do not carry it."""

from __future__ import annotations

import re
from dataclasses import replace

import polars as pl
import pytest

from oodgrid.manifests import Ranks
from oodgrid.report import answer, findings, words
from oodgrid.report.names import Legend
from tests.report import certain

PAIRS = (("tiny", "concepts"), ("tiny", "digits"), ("big", "concepts"))


def text_of(metrics, **options):
    return answer.markdown(answer.answers(certain.evaluated_of(metrics, **options)))


def moved(metrics, amount, *where):
    """Return metrics with the AUROC of some rows set."""
    return metrics.with_columns(auroc=pl.when(*where).then(amount).otherwise("auroc"))


def small(metrics_of, **options):
    return metrics_of(methods=("zero_shot", "coop", "tip_adapter"), shots=(1, 16), scores=("mcm", "energy"), **options)


def test_the_best_is_said_with_its_interval_and_its_difference_to_zero_shot_with_mcm(metrics_of):
    tip = pl.col("method") == "tip_adapter", pl.col("score") == "energy", pl.col("shots") == 16
    metrics = moved(moved(small(metrics_of), 0.8, pl.lit(True)), 0.9, *tip)
    text = text_of(metrics)
    assert "**Tip-Adapter with Energy** is best overall (mean of 6 sets): AUROC 90.0 [88.0, 92.0], +10.0" in text
    assert "to zero-shot with MCM;" in text
    assert "Each of the other 7 pairs of method and score is distinguishably worse overall." in text
    assert "chosen among 8 by the OOD results" in text and "about 1.0 points" in text


def test_what_is_within_noise_is_said_and_no_difference_is_called_one(metrics_of):
    metrics = moved(small(metrics_of), 0.8, pl.lit(True))
    text = text_of(moved(metrics, 0.805, pl.col("method") == "zero_shot", pl.col("score") == "mcm"))
    assert "Not distinguishable from the best overall (7 of 7 others)" in text
    assert "distinguishably better overall: 0; worse: 0; neither: 4" in text
    assert "and is the baseline itself" in text


def test_near_and_far_may_have_other_bests(metrics_of):
    metrics = moved(small(metrics_of), 0.8, pl.lit(True))
    metrics = moved(metrics, 0.95, pl.col("method") == "coop", pl.col("ood_kind") == "near")
    metrics = moved(metrics, 0.99, pl.col("method") == "tip_adapter", pl.col("ood_kind") == "far")
    found = [line for line in text_of(metrics).splitlines() if "is best" in line]
    assert any("CoOp" in line and "for near OOD" in line for line in found)
    assert any("Tip-Adapter" in line and "for far OOD" in line for line in found)


@pytest.mark.parametrize("lacking", ["zero_shot", "fits", "mcm", "averages", "numbers", "shots"])
def test_no_sentence_where_the_data_do_not_carry_it(metrics_of, lacking):
    options = {
        "zero_shot": {"methods": ("coop", "tip_adapter")},
        "fits": {"methods": ("zero_shot",), "features": ()},
        "mcm": {"scores": ("energy", "msp")},
        "averages": {"sets": {"covariate": ["blurred"]}},
        "numbers": {"skip": lambda *_: "nothing works"},
        "shots": {"shots": (16,)},
    }[lacking]
    text = text_of(metrics_of(**options))
    absent = {
        "zero_shot": ["zero-shot with MCM", "against zero-shot"],
        "fits": ["Fine-tuning", "fine-tuned", "Shots:", "fits are distinguishably"],
        "mcm": ["MCM is among", "zero-shot with MCM"],
        "averages": ["best overall", "| Method |"],
        "numbers": ["best overall", "| Method |"],
        "shots": ["Shots: from"],
    }[lacking]
    assert not [words for words in absent if words in text]
    assert "None" not in text and "nan" not in text


def test_shots_rise_and_fall_by_more_than_the_intervals(metrics_of):
    metrics = moved(small(metrics_of), 0.8, pl.lit(True))
    metrics = moved(metrics, 0.9, pl.col("method") == "coop", pl.col("shots") == 16)
    metrics = moved(metrics, 0.83, pl.col("method") == "tip_adapter", pl.col("shots") == 16)
    assert "overall AUROC under MCM rises for 1 of 2 methods (CoOp +10.0) and falls for 0" in text_of(metrics)


def test_wins_of_scores_are_counted_over_methods(metrics_of):
    metrics = moved(small(metrics_of), 0.8, pl.lit(True))
    metrics = moved(metrics, 0.9, pl.col("score") == "energy", pl.col("method") != "coop")
    assert "of 3 methods" in text_of(metrics) and "Energy 2 (3), MCM 1 (1)" in text_of(metrics)


def test_the_leaderboard_holds_the_best_set_the_other_bests_and_the_baseline_sorted(metrics):
    pair = certain.evaluated_of(metrics).pair("tiny", "concepts")
    board = answer.leaderboard(pair, Legend.of(metrics))
    keys = board.frame.select("method", "score").rows()
    best = pair.differences("best", "auroc", "overall").filter("in_best_set")
    assert set(best.select("method", "score").rows()[: answer.MOST]) <= set(keys)
    assert ("zero_shot", "mcm") in keys
    for scope in words.scopes(pair):
        row = words.best_row(pair, scope)
        assert (row["method"], row["score"]) in keys
    means = board.frame["overall.auroc"].to_list()
    assert means == sorted(means, reverse=True)


def test_several_pairs_have_one_answer_across_them_first_and_means_over_id_sets(metrics_of):
    metrics = small(metrics_of, pairs=PAIRS, seeds=(1, 2))
    found = answer.answers(certain.evaluated_of(metrics, across=True))
    assert [each.heading for each in found] == [
        "All 3 pairs of backbone and ID set", "Mean of 2 ID sets with tiny", "Mean of 1 ID sets with big",
        "concepts with tiny", "digits with tiny", "concepts with big",
    ]  # fmt: skip
    assert [each.folded for each in found] == [False] * 3 + [True] * 3
    across = " ".join(found[0].sentences)
    assert "of 3 pairs" in across and "larger backbones" in across
    assert found[0].leaderboard.frame.select("backbone", "id_dataset").rows() == list(PAIRS)


def test_ranks_are_told_where_there_are_such(metrics_of):
    ranks = Ranks(
        backbone="tiny", scope="overall", metric="auroc", score=None, id_datasets=12, mean_ranks=[1.5, 2.0, 3.1],
        names=[("coop", "mcm"), ("tip_adapter", "mcm"), ("zero_shot", "mcm")], friedman_p=0.01,
        critical_difference=0.9, groups=[(0, 1)],
    )  # fmt: skip
    whole = certain.evaluated_of(small(metrics_of, pairs=PAIRS))
    whole.ranks.append(ranks)
    sentences = findings.over_pairs(whole, list(PAIRS), Legend.of(whole.metrics))
    assert any("CoOp with MCM is first (mean rank 1.5); 1 other is within" in line for line in sentences)


FAR = {"far": ["noise"]}
ONE = {"methods": ("coop",), "scores": ("mcm",), "features": (), "shots": (16,), "seeds": (1,)}
STUDIES = {
    "one pair": (ONE | {"sets": FAR}, {}, "CoOp with MCM is the only pair of method and score that has a result"),
    "one kind": ({"methods": ("zero_shot", "coop"), "sets": FAR}, {}, "is best overall (far OOD alone)"),
    "no zero-shot": ({"methods": ("coop",), "scores": ("mcm", "msp"), "features": ()}, {}, "is no zero-shot beside it"),
    "one method": ({"methods": ("zero_shot",), "features": ()}, {}, "needs no classifier|fits nothing"),
    "nothing worked": ({"skip": lambda *_: "no tower"}, {}, "Nothing worked, so nothing is best."),
    "some skipped": ({"skip": lambda method, *_: method == "coop" and "no tower"}, {}, "every one of CoOp; skipped.md"),
    "all alike": ({}, {"auroc": 0.5}, "All 37 pairs of method and score have the same AUROC overall"),
    "below chance": ({}, {"auroc": 0.2}, "Worse than chance, the whole 95 % interval below an AUROC of 50: 37 of 37"),
}  # fmt: skip


@pytest.mark.parametrize("study", STUDIES)
def test_sentences_of_studies_of_other_shapes_are_true_and_well_formed(metrics_of, study):
    options, numbers, expected = STUDIES[study]
    metrics = metrics_of(**options).with_columns(**{name: pl.lit(value) for name, value in numbers.items()})
    text = text_of(metrics)
    assert re.search("|".join(map(re.escape, expected.split("|"))), text)
    assert not re.search(r"\b1 (methods|pairs|others|fits|rows|sets|points)\b|[+-]0\.0\b|\b(None|nan)\b", text)
    if study in ("one pair", "nothing worked", "all alike"):
        assert "** is best" not in text and "was chosen among" not in text
    if study in ("no zero-shot", "one pair"):
        assert "fits nothing" not in text
    if study != "all alike":
        assert ("Bold:" in text) == ("| **" in text)  # bold is explained where there is such, and only there


def test_a_limit_is_said_under_the_leaderboard_too(metrics_of):
    limited = small(metrics_of).with_columns(reason=pl.lit("limit: 100 images of each split"))
    assert "Mind: every row: limit: 100 images of each split." in text_of(limited)


def test_names_are_no_markup(metrics_of):
    text = text_of(metrics_of(methods=("zero_shot", "a|b*c*_d_"), shots=(1,), seeds=(1,), scores=("mcm", "x<b>")))
    assert "a\\|b\\*c\\*" in text and "<b>" not in text.replace("\\<b>", "")


def test_a_toy_world_is_called_so_before_any_result(metrics_of):
    evaluated = certain.evaluated_of(small(metrics_of))
    assert "toy world" not in answer.markdown(answer.answers(evaluated))
    first, *others = answer.answers(replace(evaluated, generated=["moonlit"]))
    assert first.sentences[0].startswith("**A toy world**: the images of moonlit are drawn by a program.")
    assert not any("toy world" in line for each in others for line in each.sentences)
