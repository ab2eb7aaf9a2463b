"""What other keys call a dataset is what results call it, under a limit too."""

from __future__ import annotations

import pytest

from oodgrid import config
from oodgrid.config.class_choice import without_limit
from oodgrid.errors import OodgridError


def trial(experiment_of, **changes):
    sets = [{"name": "concepts", "ood": {"near": ["concepts-unseen-shapes"], "far": ["digits", "noise"]}}]
    lists = [
        {"name": "words", "labels": ["heart", "red circle"], "drop_classes_of": "concepts"},
        {"name": "both", "labels": ["heart"], "joined_to": "concepts"},
    ]
    stream = {"name": "adaneg", "labels": "words", "stream": "noise>digits"}
    scores = ["mcm", stream, {"name": "negrefine", "labels": "words", "pairs": "both"}]
    fields = {"id_datasets": sets, "label_lists": lists, "scores": scores, "methods": ["zero_shot"]} | changes
    return experiment_of(**fields)


def test_a_limit_above_all_breaks_no_list_and_no_stream(experiment_of):
    whole, limited = (config.parse(trial(experiment_of, **limit)) for limit in ({}, {"limit": 4}))
    assert limited.label_list("words").drop_classes_of == "concepts-limit-4"
    assert limited.label_list("both").joined_to == "concepts-limit-4"
    assert limited.scores[1].params["stream"] == "noise-limit-4>digits-limit-4"
    for name in ("words", "both"):  # a trial leaves the texts of its lists to what follows: they are the same
        assert limited.label_list(name).identity == whole.label_list(name).identity


def test_a_limit_of_one_set_is_in_its_name_alone(experiment_of):
    far = [{"name": "digits", "limit": 9}, "noise"]
    mine = trial(experiment_of, id_datasets=[{"name": "concepts", "ood": {"far": far}}])
    parsed = config.parse(mine)
    assert parsed.scores[1].params["stream"] == "noise>digits-limit-9"
    assert parsed.label_list("words").drop_classes_of == "concepts"


def test_an_unknown_name_is_refused_as_ever(experiment_of):
    lists = [{"name": "words", "labels": ["heart"], "drop_classes_of": "concept"}]
    scores = ["mcm", {"name": "neglabel", "labels": "words"}]
    with pytest.raises(OodgridError, match="drop_classes_of: unknown ID dataset of this experiment 'concept'"):
        config.parse(trial(experiment_of, label_lists=lists, scores=scores, limit=4))


@pytest.mark.parametrize(
    ("name", "without"), [("a-limit-4", "a"), ("a", "a"), ("limit-4", "limit-4"), ("a-limit-x", "a-limit-x")]
)
def test_the_mark_of_a_limit(name, without):
    assert without_limit(name) == without
