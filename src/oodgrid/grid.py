"""What an experiment adds up to: which fits there are, and which rows metrics.parquet must hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from oodgrid import registry
from oodgrid.config import ANY, Choice, Experiment


@dataclass(frozen=True)
class Fit:
    """One fit: a method's label with the shots and the seed (both 0 for methods without shots)."""

    method: str
    shots: int
    seed: int


def methods(experiment: Experiment) -> list[str]:
    """Return the labels of the methods, and `any` where a score does not depend on them."""
    labels = [method.listed("method") for method in experiment.methods]
    return [*labels, ANY] if any(map(on_features, experiment.scores)) else labels


def fits(experiment: Experiment, method: str) -> list[Fit]:
    """Return the fits of one method, in the order of the configuration."""
    if method != ANY and not registry.find("method", experiment.method(method).name).learns:
        return [Fit(method, 0, 0)]
    return [Fit(method, shots, seed) for shots in experiment.shots for seed in experiment.seeds]


def scores(experiment: Experiment, method: str) -> list[Choice]:
    """Return the scores that are listed under a method.

    Scores of image features stand under `any`, and under the methods that change the features.
    """
    if method == ANY:
        return [score for score in experiment.scores if on_features(score)]
    changes = registry.find("method", experiment.method(method).name).leaves == "features"
    return [score for score in experiment.scores if changes or not on_features(score)]


def on_features(score: Choice) -> bool:
    """Return whether a score looks at features rather than at logits."""
    return registry.find("score", score.name).on_features


def has_streams(experiment: Experiment) -> bool:
    """Return whether some score is transductive, and so has a table of its own."""
    return any(transductive(score) for score in experiment.scores)


def transductive(score: Choice) -> bool:
    """Return whether a score of a sample depends on the samples before it."""
    return registry.find("score", score.name).transductive


def rows(experiment: Experiment) -> Iterator[dict[str, str | int]]:
    """Yield the key of every row that metrics.parquet must hold, in the order of the configuration."""
    for backbone in experiment.backbones:
        for id_dataset in experiment.id_datasets:
            for method in methods(experiment):
                for fit in fits(experiment, method):
                    for score in scores(experiment, method):
                        for _, ood in id_dataset.pairs():
                            yield {
                                "backbone": backbone.name,
                                "id_dataset": id_dataset.name,
                                "method": method,
                                "shots": fit.shots,
                                "seed": fit.seed,
                                "score": score.listed("score"),
                                "ood_dataset": ood.name,
                            }
