"""What numbers depend on that no row says: in the page, and under every table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oodgrid.config import parse
from oodgrid.plan import triggers
from oodgrid.report import latex, render, settings, tables
from tests.report import certain

REPORT = ("tables", "draw", "page")
ONE = "Prompt of the classes, where a method learns none: 'a photo of a {}.'"


def sets(**changed):
    return [{"name": "concepts", "ood": {"far": ["noise"]}} | changed]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ONE),
        ({"templates": ["a {}", "one {}"]}, "the mean of 2 prompts, 'a {}', 'one {}'."),
        ({"templates": [f"{n} {{}}" for n in range(7)]}, "the mean of 7 prompts, '0 {}' and 6 more."),
        ({"text": "visual_prototypes"}, "class means of the shots stand in place of texts."),
        ({"text": {"tiny": "visual_prototypes"}}, "class means of the shots stand in place of texts."),
    ],
)
def test_the_prompt_of_a_pair_or_what_stands_in_its_place(experiment_of, changed, said):
    experiment = parse(experiment_of(id_datasets=sets(**changed), methods=["prototype"]))
    (note,) = settings.of_pairs(experiment)["tiny", "concepts"]
    assert note.endswith(said)
    assert settings.facts(experiment)[settings.OF_CLASSES] in note


def test_label_lists_are_named_with_their_prompts_where_a_score_is_given_them(experiment_of):
    lists = [
        {
            "name": "mine",
            "labels": {"noun": ["cat"], "adjective": ["red"]},
            "templates": {"noun": ["the {}"], "adjective": ["{} one"]},
        }
    ]
    with_list = experiment_of(scores=["mcm", {"name": "neglabel", "labels": "mine"}], label_lists=lists)
    said = "noun 'the {}' and adjective '{} one'"
    assert settings.facts(parse(with_list))[settings.OF_LISTS] == said
    assert settings.of_pairs(parse(with_list))["tiny", "concepts"][1] == f"{settings.OF_LISTS}: {said}."
    assert settings.OF_LISTS not in settings.facts(parse(with_list | {"scores": ["mcm"]}))


def test_precision_names_and_draws_are_said_and_what_differs_is_named(experiment_of):
    two = [
        *sets(leaky_selection_on_test=True),
        {"name": "digits", "classnames": [f"n{i}" for i in range(10)], "ood": {"far": ["noise"]}},
    ]
    said = settings.facts(parse(experiment_of(id_datasets=two, methods=["zero_shot"], score_precision="float32")))
    assert said["Precision"] == "encoder: fp32; scores: float32"
    assert said["Class names"] == "concepts: the source's own; digits: 10 names given in the config"
    assert said["Draws of shots"].startswith("drawn by seed in the order of CoOp's code")
    assert said["Hyper-parameters chosen on the whole test split"] == "concepts"


def test_every_table_of_a_pair_has_the_note_in_every_clothing(metrics_of):
    every = replace(certain.evaluated_of(metrics_of()), settings={("tiny", "concepts"): [ONE]})
    found = tables.of_pair(every.pair("tiny", "concepts"))
    assert set(found) >= {"main", "scores", "sets"}
    for table in found.values():
        assert render.markdown(table).count(ONE) == 1
        assert "a photo of a {}." in render.html(table)
        for layout in (latex.TEXT, latex.COLUMN):
            assert r"a photo of a \{\}." in latex.latex(table, layout)


def test_another_prompt_makes_tables_and_page_again_and_draws_nothing(experiment_of):
    first, other = (parse(experiment_of(id_datasets=sets(templates=[prompt]))) for prompt in ("a {}", "one {}"))
    names = {"method": "zero_shot", "backbone": "tiny", "id_dataset": "concepts"}
    specs = [{rule: triggers.TRIGGERS[rule]["spec"](each, **names) for rule in REPORT} for each in (first, other)]
    differ = {rule for rule in REPORT if specs[0][rule] != specs[1][rule]}
    assert differ == {"tables", "page"}


def test_of_an_import_by_hand_the_page_does_not_say_whose_draws_they_are(experiment_of):
    """`import npz` may bring one fixed draw, as real-clip-all-x does; the configuration does not say which it is."""
    imported = [{"name": "d", "imported": {}, "ood": {"far": ["noise"]}}]
    said = settings.facts(parse(experiment_of(id_datasets=imported)))["Draws of shots"]
    assert "unless the import brought fixed draws" in said
