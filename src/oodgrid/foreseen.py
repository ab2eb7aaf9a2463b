"""Which scores a method never gets, whatever the data: known from the configuration, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from oodgrid import grid, registry
from oodgrid.config import ANY, Choice, Experiment
from oodgrid.registry import Entry
from oodgrid.registry.banks import OF_DRAW

OF_WHAT_IS_LEFT = {  # needs that only methods meet that leave one of these, and why no other does
    "head": ({"prototypes", "features"}, "they need a linear head on the features, and there are logits only"),
    "local_logits": ({"prototypes"}, "they need logits of patches, and there are none without prototypes"),
    "corrupted_logits": (
        {"prototypes"},
        "they need corrupted images, and there are none without prototypes",
    ),
    "layer_features": ({"prototypes", "logits"}, "they need what every layer gives, and the features are changed"),
}


class Skipped(NamedTuple):
    """Scores that are skipped under some methods, by the names that list them, and why."""

    scores: list[str]
    methods: list[str]
    reason: str


def skipped(experiment: Experiment) -> list[Skipped]:
    """Return the scores that are sure to be skipped, those of one reason and the same methods together.

    More may be skipped in the run: where data lack what a score needs, as local features, or a method fails.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for method in grid.methods(experiment):
        for score in grid.scores(experiment, method):
            if reason := next(_reasons(experiment, method, score), None):
                found.setdefault((score.listed("score"), reason), []).append(method)
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (score_name, reason), methods in found.items():
        together.setdefault((reason, tuple(methods)), []).append(score_name)
    return [Skipped(scores, list(methods), reason) for (reason, methods), scores in together.items()]


def _reasons(experiment: Experiment, method: str, score: Choice) -> Iterator[str]:
    """Yield why a method never gets a score."""
    entry = registry.find("score", score.name)
    needs = [set(need.split("|")) for need in entry.needs_with(score.params)]
    if not grid.learns(experiment, method) and any(alternatives <= {*OF_DRAW} for alternatives in needs):
        yield "they need shots or validation samples, and there are none"
    if method == ANY:
        return
    of_method = registry.find("method", experiment.method(method).name)
    if entry.label_lists and {"logits"} in needs and not _compares(experiment, of_method):
        yield "they compare logits with cosines to texts, and these logits are none"
    for need, (left, reason) in OF_WHAT_IS_LEFT.items():
        if {need} in needs and of_method.leaves not in left:
            yield reason


def _compares(experiment: Experiment, method: Entry) -> bool:
    """Return whether the logits of a method are cosines with texts, under some backbone and ID set."""
    stands = {each.text_under(backbone.name) for each in experiment.id_datasets for backbone in experiment.backbones}
    return method.text_cosines and "classnames" in stands
