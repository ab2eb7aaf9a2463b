from __future__ import annotations

import pytest

from oodgrid import registry
from oodgrid.report import names

VARIANTS = ["coop@epochs=20", "coop@epochs=50", "coop@lr=0.0001", "tip_adapter@beta_start=50", "zero_shot@x=1"]


@pytest.mark.parametrize(("kind", "titles"), [("method", names.METHODS), ("score", names.SCORES)])
def test_everything_registered_has_a_title(kind, titles):
    own = {name for name, entry in registry.entries(kind).items() if entry.plugin is None}  # not what a test registered
    assert own - set(titles) == set()
    labels = [look if isinstance(look, str) else look.label for look in titles.values()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    "methods",
    [
        ["zero_shot", "coop", "coop@epochs=20"],
        [*VARIANTS, *list(names.METHODS)[:7]],
        [*names.METHODS, *VARIANTS, "mine", "yours", "theirs@a=1", "theirs@a=2"],
        [f"coop@epochs={number}" for number in range(30)],
        [f"method_{number}" for number in range(32)],
    ],
    ids=len,
)
def test_no_two_methods_look_alike_even_without_colours(methods):
    looks = names.looks(methods)
    assert list(looks) and set(looks) == set(methods)
    assert len({look.mark for look in looks.values()}) == len(methods)  # points, in grey
    assert len({(look.colour, look.line) for look in looks.values()}) == len(methods)  # lines without points
    assert len({look.label for look in looks.values()}) == len(methods)
    assert looks == names.looks(methods)
    assert {name: look for name, look in looks.items() if name in names.METHODS}.items() <= names.METHODS.items()


def test_hundreds_of_methods_still_differ_in_something():
    looks = names.looks([f"method_{number}" for number in range(200)])
    assert len({(look.colour, look.mark) for look in looks.values()}) == 200


def test_a_method_added_at_the_end_changes_no_look():
    methods = ["zero_shot", *VARIANTS, "mine"]
    looks = names.looks(methods)
    assert looks.items() <= names.looks([*methods, "yours"]).items()


def test_a_variant_keeps_the_colour_of_its_method():
    looks = names.looks(["coop", "coop@epochs=20", "coop@epochs=30", "mine"])
    assert looks["coop@epochs=20"].label == "CoOp (epochs=20)"
    assert looks["coop"].colour == looks["coop@epochs=20"].colour == looks["coop@epochs=30"].colour
    assert looks["mine"].colour != looks["coop"].colour


def test_two_names_with_one_title_are_told_apart():
    looks = names.looks(["coop", "CoOp", "prompt_src", "PromptSRC (text)"])
    assert len({look.label for look in looks.values()}) >= 2
    assert names.looks(["CoOp@a=1", "coop@a=1"])["coop@a=1"].label == "coop@a=1"


@pytest.mark.parametrize(
    ("score", "label"),
    [("mcm", "MCM"), ("mcm@T=0.5", "MCM (T=0.5)"), ("max_logit", "MaxLogit"), ("odd_one", "odd_one")],
)
def test_score_labels(score, label):
    assert names.score_label(score) == label
