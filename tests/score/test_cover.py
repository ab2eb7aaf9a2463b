"""CoVer: the mean of a score over an image and its corrupted versions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oodgrid import grid, registry, scores
from oodgrid.config import parse
from oodgrid.corruptions import NAMES, RECOMMENDED, Corruption
from oodgrid.errors import OodgridError
from oodgrid.score.compute import compute
from oodgrid.score.contract import Skip, TextList, normalise
from oodgrid.score.scores.cover import BASES, cover
from oodgrid.score.scores.cover_neglabel import cover_neglabel
from oodgrid.score.scores.neglabel import neglabel

RNG = np.random.default_rng(11)
LOGITS, VERSIONS = RNG.uniform(0.1, 0.4, (7, 5)), RNG.uniform(0.1, 0.4, (7, 3, 5))


def naive(base, row, T):
    """One score of one sample's logits, in plain Python."""
    powers = [math.exp(s / T) for s in row]
    p = [power / sum(powers) for power in powers]
    mean = 1 / len(p)
    return {
        "mcm": max(p),
        "msp": max(p),
        "energy": T * math.log(sum(powers)),
        "max_logit": max(row),
        "entropy": sum(each * math.log(each) for each in p),
        "variance": sum((each - mean) ** 2 for each in p) / len(p),
    }[base]


@pytest.mark.parametrize("T", [0.05, 1.0])
@pytest.mark.parametrize("base", BASES)
def test_it_is_the_mean_over_the_image_and_its_versions(base, T):
    expected = [
        sum(naive(base, each, T) for each in [row, *versions]) / 4
        for row, versions in zip(LOGITS.tolist(), VERSIONS.tolist(), strict=True)
    ]
    np.testing.assert_allclose(cover(LOGITS, VERSIONS, base=base, T=T), expected, rtol=1e-12)


@pytest.mark.parametrize("base", BASES)
def test_without_a_version_or_with_copies_it_is_the_score_and_has_its_temperature(base):
    alone = BASES[base](LOGITS)
    assert np.array_equal(cover(LOGITS, VERSIONS[:, :0], base=base), alone)
    copies = np.repeat(LOGITS[:, None], 4, axis=1)
    np.testing.assert_allclose(cover(LOGITS, copies, base=base), alone, rtol=1e-12)


def test_the_order_of_versions_does_not_matter_and_samples_do_not_meet():
    np.testing.assert_allclose(cover(LOGITS, VERSIONS[:, ::-1]), cover(LOGITS, VERSIONS), rtol=1e-12)
    assert np.array_equal(cover(LOGITS[3:4], VERSIONS[3:4]), cover(LOGITS, VERSIONS)[3:4])
    np.testing.assert_allclose(scores.cover(LOGITS, VERSIONS), cover(LOGITS, VERSIONS), rtol=1e-12)


def test_of_neglabel_it_is_the_mean_of_neglabel():
    classes, features = normalise(RNG.normal(size=(5, 16))), normalise(RNG.normal(size=(7, 16)))
    versions = normalise(RNG.normal(size=(7, 2, 16)).reshape(-1, 16)).reshape(7, 2, 16)
    words = TextList(normalise(RNG.normal(size=(30, 16))), [f"word {k}" for k in range(30)], [""] * 30)
    params = {"labels": words, "groups": 3, "keep": 0.5}

    def one(some):
        return neglabel(some, some @ classes.T, classes, **params)

    made = cover_neglabel(features, features @ classes.T, versions, versions @ classes.T, classes, **params)
    expected = (one(features) + one(versions[:, 0]) + one(versions[:, 1])) / 3
    np.testing.assert_allclose(made, expected, rtol=1e-12)
    none = versions[:, :0]
    alone = cover_neglabel(features, features @ classes.T, none, none @ classes.T, classes, **params)
    assert np.array_equal(alone, one(features))


def test_a_score_is_given_the_versions_that_it_names_and_skipped_where_one_lacks():
    choice = parse_scores([{"name": "cover", "corruptions": ["fog-1", "contrast-2"]}])[0]
    by_name = {"test.contrast-2-seed0": VERSIONS[:, 0], "test.fog-1-seed0": VERSIONS[:, 1]}
    made = compute(choice, {"logits": LOGITS, "corrupted_logits": by_name})
    assert np.array_equal(made, cover(LOGITS, VERSIONS[:, [1, 0]]))
    del by_name["test.fog-1-seed0"]
    with pytest.raises(Skip, match=r"this set has no test\.fog-1-seed0"):
        compute(choice, {"logits": LOGITS, "corrupted_logits": by_name})
    with pytest.raises(Skip, match="it needs corrupted_logits"):
        compute(choice, {"logits": LOGITS})


def parse_scores(listed):
    return parse(
        {
            "experiment": "mini", "backbones": ["tiny"],
            "id_datasets": [{"name": "concepts", "ood": {"far": ["noise"]}}],
            "methods": ["zero_shot"], "shots": [1], "seeds": [1], "scores": listed,
        }
    ).scores  # fmt: skip


def test_a_list_of_corruptions_is_one_score_and_a_list_of_lists_are_several():
    listed = parse_scores(
        ["cover", {"name": "cover", "corruptions": [["fog-1"], ["fog-1", "snow-2"]]},
         {"name": "cover", "corruptions": ["fog-5"], "corruption_seed": 3, "base": ["msp", "energy"]}]
    )  # fmt: skip
    assert [each.listed("score") for each in listed] == [
        "cover", "cover@corruptions=fog-1", "cover@corruptions=fog-1+snow-2",
        "cover@corruptions=fog-5,corruption_seed=3,base=msp", "cover@corruptions=fog-5,corruption_seed=3,base=energy",
    ]  # fmt: skip
    wanted = grid.corruptions(listed)
    assert [str(each) for each in wanted[:12]] == list(RECOMMENDED)
    assert wanted[-1] == Corruption("fog", 5, 3)
    assert grid.corruptions(parse_scores(["mcm"])) == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["fogg-1"], "did you mean 'fog'"),
        (["fog-1", "fog-1"], "does not fit: one or more, each once, is wanted"),
        ([], "one or more, each once, is wanted"),
        (["fog-6"], r"does not fit: a corruption is written with its severity, as fog-1 to fog-5, not fog-6$"),
        (["frost-1"], r"does not fit: frost .* take fog or snow$"),
        (["fog-1\n"], r"^config: scores\.0\.corruptions\.0: '[^\n]*$"),
        ("fog-1", "a list, as"),
    ],
)
def test_corruptions_that_make_no_sense_are_one_line(given, said):
    with pytest.raises(OodgridError, match=said):
        parse_scores([{"name": "cover", "corruptions": given}])


def test_what_is_recommended_exists_and_is_the_default():
    assert {word.rpartition("-")[0] for word in RECOMMENDED} < set(NAMES)
    for name in ("cover", "cover_neglabel"):
        assert registry.find("score", name).params["corruptions"] == RECOMMENDED
