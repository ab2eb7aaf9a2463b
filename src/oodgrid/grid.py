"""What an experiment adds up to: which fits there are, and which rows metrics.parquet must hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from oodgrid import registry
from oodgrid.config import ANY, Choice, Dataset, Experiment
from oodgrid.config.soundness import parts_of, swept
from oodgrid.corruptions import Corruption, of_words

KEYS = ("backbone", "id_dataset", "method", "shots", "seed", "score", "ood_dataset")  # of a row of metrics.parquet


@dataclass(frozen=True)
class Fit:
    """One fit: the variant of a method with the shots and the seed (both 0 for methods without shots)."""

    method: str
    shots: int
    seed: int


def methods(experiment: Experiment) -> list[str]:
    """Return the variants of the methods, and `any` where a score does not depend on them."""
    variants = [choice.listed("method") for choice in experiment.methods]
    return [*variants, ANY] if any(map(on_features, experiment.scores)) else variants


def fits(experiment: Experiment, method: str) -> list[Fit]:
    """Return the fits of one method by shots and seed, rising: their order in the configuration decides nothing."""
    if not learns(experiment, method):
        return [Fit(method, 0, 0)]
    return [Fit(method, shots, seed) for shots in sorted(experiment.shots) for seed in sorted(experiment.seeds)]


def learns(experiment: Experiment, method: str) -> bool:
    """Return whether a method learns from shots, or a part of it does; `any` stands for those that do."""
    if method == ANY or registry.find("method", experiment.method(method).name).learns:
        return True
    return any(learns(experiment, part) for part in parts(experiment, method))


def parts(experiment: Experiment, method: str) -> tuple[str, ...]:
    """Return the other methods of the experiment that a method combines, by the names that list them; mostly none."""
    return () if method == ANY else parts_of(experiment.method(method))


def scores(experiment: Experiment, method: str) -> list[Choice]:
    """Return the scores that are listed under a method.

    Scores of image features stand under `any`, and under the methods that change the features, or their norm.
    """
    if method == ANY:
        return [score for score in experiment.scores if on_features(score)]
    changes = registry.find("method", experiment.method(method).name).changes_features
    return [score for score in experiment.scores if changes or not on_features(score)]


def sweep(experiment: Experiment, method: str) -> list[Choice]:
    """Return the scores that are computed under other temperatures: all that have one at each, by their variants.

    The temperatures are those of `temperatures`, the default of each such score, and what the listed variants have, so
    that all curves have the same points.
    """
    listed = [score for score in scores(experiment, method) if swept(score)] if experiment.temperatures else []
    every = [{"T": registry.find("score", score.name).params["T"]} | score.params for score in listed]
    defaults = [registry.find("score", score.name).params["T"] for score in listed]
    points = sorted({*experiment.temperatures, *defaults, *(params["T"] for params in every)})
    variants = [
        Choice(name=score.name, **(params | {"T": T}))
        for score, params in zip(listed, every, strict=True)
        for T in points
    ]
    return list({variant.listed("score"): variant for variant in variants}.values())


def on_features(score: Choice) -> bool:
    """Return whether a score looks at features rather than at logits."""
    return registry.find("score", score.name).on_features


def corruptions(scores: Iterable[Choice]) -> tuple[Corruption, ...]:
    """Return the corruptions of test images that some scores take, each once."""
    params = (registry.find("score", score.name).params | score.params for score in scores if takes_corrupted(score))
    wanted = (of_words(each["corruptions"], each["corruption_seed"]) for each in params)
    return tuple(dict.fromkeys(corruption for each in wanted for corruption in each))


def corruptible(datasets: Iterable[Dataset]) -> Iterator[Dataset]:
    """Yield the datasets of whose test images corrupted versions can be made: images that are encoded here."""
    named = {dataset.name: dataset for dataset in datasets}.values()
    yield from (dataset for dataset in named if dataset.thing == "image" and not dataset.imported)


def takes_corrupted(score: Choice) -> bool:
    """Return whether a score looks at corrupted versions of a sample, too."""
    return bool({"corrupted_logits", "corrupted_features"} & set(registry.find("score", score.name).needs))


def has_streams(experiment: Experiment) -> bool:
    """Return whether some score is transductive, and so has a table of its own."""
    return any(transductive(score) for score in experiment.scores)


def transductive(score: Choice) -> bool:
    """Return whether a score of a sample depends on the samples before it."""
    return registry.find("score", score.name).transductive


def rows(experiment: Experiment) -> Iterator[tuple[str, str, str, int, int, str, str]]:
    """Yield the key of every row that metrics.parquet must hold, as `KEYS`, in the order of the tables."""
    for backbone in experiment.backbones:
        for id_dataset in experiment.id_datasets:
            oods = [ood.name for _, ood in id_dataset.pairs()]
            for method in methods(experiment):
                listed = [score.listed("score") for score in scores(experiment, method)]
                for fit, score, ood in product(fits(experiment, method), listed, oods):
                    yield backbone.name, id_dataset.name, method, fit.shots, fit.seed, score, ood


def count_rows(experiment: Experiment) -> int:
    """Return how many rows metrics.parquet must hold."""
    of_each = sum(len(fits(experiment, method)) * len(scores(experiment, method)) for method in methods(experiment))
    return of_each * len(experiment.backbones) * sum(len(list(each.pairs())) for each in experiment.id_datasets)
