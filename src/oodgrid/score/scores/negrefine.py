"""NegRefine: CSP's score, and how much better than its negative text a text of class and negative matches an image."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from oodgrid.counts import counted
from oodgrid.labels import JOINED
from oodgrid.registry import score
from oodgrid.score.contract import LabelList, Skip, TextList, by_rows, product
from oodgrid.score.mining import Fraction, Seed, in_groups, most_unlike
from oodgrid.score.scores.neglabel import grouped_share
from oodgrid.score.sharing import shared


@score(
    title="NegRefine",
    needs=("features", "logits", "class_texts"),
    family="vision-language",
    paper="Ansari et al. 2025 (ICCV); github.com/ah-ansari/NegRefine (clip_ood.py)",
    adapted="no language model takes proper nouns and kinds of the classes out of the negative texts: name a list that "
    "is already refined, with keep: 1",
)
def negrefine(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    *,
    labels: LabelList,
    pairs: LabelList,
    T: PositiveFloat = 0.01,
    groups: PositiveInt = 100,
    seed: Seed = 0,
    quantile: Fraction = 1.0,
    keep: Fraction = 0.15,
    closest: float = 0.95,
    top: PositiveInt = 5,
    weight: NonNegativeFloat = 2.0,
) -> np.ndarray:
    """NegRefine: CSP's score + weight · max over pairs of sigmoid((s_kj - n_j) / T), of the top classes k and texts j.

    n_j is the cosine with negative text j, s_kj that with the text "class k and j" of the list of pairs. An image that
    shows a class and something else matches both, and the text of both better than that of the other thing alone.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        class_texts: Shape (K, D), normalised.
        labels: Candidates, as CSP's.
        pairs: The same list `joined_to` the classes: K M texts, those of the first class first.
        T: Temperature on cosines.
        groups: Number of groups, at most one per candidate.
        seed: Of the grouping.
        quantile: Of a candidate's cosines with the classes, by which it is mined; 1, the largest, is published.
        keep: Share of every kind of candidate that is mined; 1 for a list that is already selected.
        closest: The largest cosine with a class that a candidate may have.
        top: How many classes, and how many of the mined texts, are paired for each image.
        weight: Of the largest sigmoid.

    Returns:
        Shape (N,), in [0, 1 + weight].

    Raises:
        Skip: No candidate is left, or the pairs are not those of these classes and candidates.
    """
    if reason := pairs.foreign or mismatch(labels, pairs, classes=logits.shape[1]):
        raise Skip(reason)
    chosen = most_unlike(labels, class_texts, quantile=quantile, keep=keep, closest=closest)
    negatives, groups = in_groups(labels, chosen, groups=groups, seed=seed)
    share = grouped_share(features, logits, negatives, groups=groups, T=T)

    def matched(rows: np.ndarray, of_classes: np.ndarray) -> np.ndarray:
        cosines = product(rows, labels.features[chosen])
        classes, texts = highest_places(of_classes, top), highest_places(cosines, top)
        both = pairs.features[classes[:, :, None] * len(labels.names) + chosen[texts][:, None, :]]
        gaps = np.einsum("nktd,nd->nkt", both, rows) - np.take_along_axis(cosines, texts, axis=1)[:, None, :]
        with np.errstate(over="ignore"):  # of what overflows, 0 is the right limit
            return 1 / (1 + np.exp(-gaps.max(axis=(1, 2)) / T))

    return share + weight * by_rows(matched, features, logits)


def highest_places(values: np.ndarray, count: int) -> np.ndarray:
    """Return where the largest values of each row are, in any order, shape (n, min(count, M)), of values (n, M)."""
    rest = max(values.shape[1] - count, 0)
    return (
        np.argpartition(values, rest, axis=1)[:, rest:]
        if rest
        else np.tile(np.arange(values.shape[1]), (len(values), 1))
    )


@shared
def mismatch(labels: TextList, pairs: TextList, *, classes: int) -> str:
    """Return why texts of pairs are not every label behind every class, in this order; "" where they are."""
    count = classes * len(labels.names)
    if len(pairs.names) != count:
        return (
            f"its pairs are {counted(len(pairs.names), 'text')}, and {counted(classes, 'class', 'classes')} with "
            f"{counted(len(labels.names), 'label')} make {count:,}: name the same list, joined_to the classes"
        )
    named = any(JOINED in name for name in pairs.names)  # arrays in a notebook are not
    of_pairs = zip(pairs.names, [*labels.names] * classes, strict=True)
    wrong = next((pair for pair, name in of_pairs if named and not pair.endswith(JOINED + name)), None)
    return (
        "" if wrong is None else f"its pair {wrong!r} is not of the label in its place: name the same list, joined_to"
    )
