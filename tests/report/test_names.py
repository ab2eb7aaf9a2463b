from __future__ import annotations

import re

import pytest

from oodgrid.report import names


def test_methods_of_the_design_look_different_from_each_other():
    looks = [names.look(name) for name in names.METHODS]
    assert len({(look.colour, look.marker) for look in looks}) == len(looks)
    assert len({look.label for look in looks}) == len(looks)


def test_an_unknown_method_always_looks_the_same_and_like_no_known_one():
    look = names.look("my_new_method")
    assert look == names.look("my_new_method")
    assert look.label == "my_new_method"
    assert re.fullmatch(r"#[0-9A-F]{6}", look.colour)
    assert look.marker not in {known.marker for known in names.METHODS.values()}


def test_a_variant_keeps_the_colour_of_its_method():
    look = names.look("coop@epochs=20")
    assert look.label == "CoOp (epochs=20)"
    assert look.colour == names.look("coop").colour
    assert look != names.look("coop")


@pytest.mark.parametrize(
    ("score", "label"),
    [("mcm", "MCM"), ("mcm@T=0.5", "MCM (T=0.5)"), ("max_logit", "MaxLogit"), ("odd_one", "odd_one")],
)
def test_score_labels(score, label):
    assert names.score_label(score) == label
