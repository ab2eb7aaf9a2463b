"""What does not fit together in the streams of an experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from oodgrid import registry, streams
from oodgrid.errors import unknown

if TYPE_CHECKING:
    from oodgrid.config.experiment import Choice, Experiment


def of_streams(experiment: Experiment, left_out: set[str]) -> Iterator[str]:
    """Yield what does not fit together in scores of streams and what is asked of them, one line each."""
    if not left_out & {"scores", "id_datasets"}:
        yield from _streams(experiment)
    if not left_out & {"scores", "metrics"} and experiment.firsts and not any(map(_is_of_streams, experiment.scores)):
        yield f"metrics: first@{experiment.firsts[0]} is of streams, and no listed score is transductive: list one"


def _streams(experiment: Experiment) -> Iterator[str]:
    """Yield the scores of streams whose protocol they or the ID sets do not have."""
    for score in filter(_is_of_streams, experiment.scores):
        stream = score.params.get("stream", streams.MIXED)
        if streams.carries_over(stream) and not registry.find("score", score.name).keeps_state:
            yield (
                f"score {score.name}, stream: {stream}: it begins every stream anew, for it takes no state: write "
                "stream: mixed, id_first or ood_first"
            )
        named = streams.named_sets(stream)
        if twice := next((name for name, count in Counter(named).items() if count > 1), None):
            yield f"score {score.name}, stream: {stream} comes to {twice} twice: name it once"
        for dataset in experiment.id_datasets:
            known = [ood.name for _, ood in dataset.pairs()]
            for name in (name for name in named if name not in known):
                yield f"score {score.name}, stream: {unknown(f'OOD set of {dataset.name}', name, known)}"


def _is_of_streams(score: Choice) -> bool:
    return registry.find("score", score.name).transductive
