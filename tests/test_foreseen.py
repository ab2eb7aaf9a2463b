"""What is skipped whatever the data is known before anything runs, and what it alone would read is not asked for.

That it is what the stages then skip: tests/score/test_foreseen_skips.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from oodgrid import config, foreseen, grid, plan
from oodgrid.errors import OodgridError

ROOT = Path(__file__).parents[1]
WORDS = {"name": "words", "labels": ["ant", "bee", "cat"]}
FOG = {"name": "cover", "corruptions": ["fog-1"]}


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
        ("vim@bank=train", {"clip_adapter", "tip_adapter"}),
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


def test_check_says_it_before_anything_runs(tmp_path, capsys):
    from oodgrid.cli import main

    assert main(["check", str(ROOT / "experiments/all-scores.yaml"), "--results", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped under ")]
    assert any("linear_probe, tip_adapter" in line and "neglabel@labels=concept-words" in line for line in lines)
    assert all(line.count(": ") >= 2 and "whatever the data" in line for line in lines)


def of(methods, scores, *, id_set=None, ood=None, **more):
    """A small experiment of images, with exchanged parts."""
    dataset = {"name": "concepts", "ood": ood or {"far": ["noise"]}} | (id_set or {})
    return config.parse(
        {
            "experiment": "mini", "backbones": ["tiny"], "id_datasets": [dataset], "methods": methods,
            "scores": ["mcm", *scores], "shots": [2], "seeds": [1], "label_lists": [WORDS], **more,
        }
    )  # fmt: skip


def asked(experiment, results):
    """Return what encoding is to make beside the splits and the texts of the classes, by its name."""
    usual = {*plan.feature_files(results, of(["prototype"], []))}
    return {file.relative_to(results).as_posix() for file in plan.encoded_files(results, experiment)} - {
        file.relative_to(results).as_posix() for file in usual
    }


FOGGY = {f"features/tiny/{name}/test.fog-1-seed0.h5" for name in ("concepts", "noise")}
LIST, SHUFFLED = "text/tiny/labels/words.h5", "text/tiny/concepts.shuffled.h5"
TANL = {"name": "tanl", "labels": "words", "noise": "words"}


@pytest.mark.parametrize(
    ("methods", "scores", "more", "expected"),
    [
        (["zero_shot"], [FOG], {}, FOGGY),
        (["zero_shot", "clip_adapter"], [FOG], {}, FOGGY),
        (["clip_adapter", "tip_adapter"], [FOG], {}, set()),  # none leaves a head on the features as cached
        (["own_head"], [FOG], {}, set()),  # without a head it is skipped as a whole
        (["zero_shot"], [FOG], {"ood": {"far": [{"name": "far", "imported": {}}]}}, set()),  # no row has both sets
        (["zero_shot"], [FOG], {"ood": {"far": ["noise", {"name": "far", "imported": {}}]}}, FOGGY),
        (["clip_adapter"], [TANL], {}, {LIST}),
        (["linear_probe", "tip_adapter"], [TANL], {}, set()),  # logits that are no cosines
        (["prototype"], [TANL], {"id_set": {"text": "visual_prototypes"}}, set()),
        (["prototype"], ["tag"], {}, {SHUFFLED}),
        (["prototype"], ["tag"], {"id_set": {"text": "visual_prototypes"}}, set()),
    ],
)
def test_what_no_row_uses_is_not_encoded(tmp_path, methods, scores, more, expected):
    experiment = of(methods, scores, **more)
    assert asked(experiment, tmp_path) == expected
    inputs = {
        file.relative_to(tmp_path).as_posix()
        for method in grid.methods(experiment)
        for file in plan.score_input(tmp_path, experiment, "tiny", "concepts", method)
    }
    assert inputs >= expected and not (inputs & {*FOGGY, LIST, SHUFFLED}) - expected


def test_views_of_a_method_that_is_skipped_as_a_whole_are_not_encoded(tmp_path):
    views = {"views": [{"family": "rrc08", "count": 2}]}
    methods = [{"name": "zs_lp", "views": "rrc08"}]
    assert len(asked(of(methods, [], id_set=views), tmp_path)) == 1
    experiment = of(methods, [], id_set={**views, "text": "visual_prototypes"})
    assert not asked(experiment, tmp_path)
    assert not plan.view_files(tmp_path, experiment, "tiny", "concepts", "zs_lp@views=rrc08")


def test_an_imported_list_that_no_row_uses_need_not_be_there(tmp_path):
    brought = {"label_lists": [{"name": "words", "imported": {}}]}
    plan.check_imports(tmp_path, of(["linear_probe"], [TANL], **brought))
    with pytest.raises(OodgridError, match=r"words\.h5 is missing"):
        plan.check_imports(tmp_path, of(["zero_shot"], [TANL], **brought))


def test_scores_that_no_row_has_need_no_torch():
    tins = [{"name": "tins", "labels": "words"}]
    assert plan.scores_load_torch(of(["clip_adapter"], tins))
    assert not plan.scores_load_torch(of(["linear_probe"], tins))


def test_places_are_named_where_it_is_not_everywhere():
    oods = {"near": ["concepts-unseen-shapes"], "far": [{"name": "far", "imported": {}}]}
    both = [
        {"name": "concepts", "ood": oods},
        {"name": "moonlit", "text": "visual_prototypes", "ood": {"far": ["noise"]}},
    ]
    said = foreseen.skipped(of(["zero_shot", "prototype"], [FOG], id_datasets=both))
    assert {(*each.scores, each.where) for each in said if each.methods == ["zero_shot"] and not each.scores} == {
        (" on moonlit",)
    }
    assert {(*each.scores, *each.methods, each.where) for each in said if each.scores} == {
        ("cover@corruptions=fog-1", "zero_shot", "prototype", " on concepts against far")
    }


def test_encoding_corrupted_images_that_no_row_uses_says_so(tmp_path, write_yaml, capsys):
    from oodgrid.cli import main

    written = {
        "experiment": "mini", "backbones": ["tiny"], "methods": ["clip_adapter"], "scores": ["mcm", FOG],
        "id_datasets": [{"name": "concepts", "ood": {"far": ["noise"]}}], "shots": [1], "seeds": [1],
    }  # fmt: skip
    arguments = ["encode", "corrupted", "--config", str(write_yaml(written)), "--results", str(tmp_path / "results")]
    assert main(arguments) == 0
    assert "tiny: no row uses these corrupted images" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.h5"))
