"""Mines negative texts: which of many candidates lie far from the classes, and in which groups they are compared."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated
from weakref import WeakKeyDictionary

import numpy as np
from pydantic import Field

from oodgrid.counts import counted, plural
from oodgrid.score.contract import Bank, Skip, TextList, by_rows, normalise, of_directions
from oodgrid.score.sharing import shared

Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0)]
_SAID: WeakKeyDictionary[TextList, set[int]] = WeakKeyDictionary()  # of which lists it was said, for which counts


@shared
def most_unlike(
    candidates: TextList, class_texts: np.ndarray, *, quantile: float, keep: float, closest: float = np.inf
) -> np.ndarray:
    """NegMining: of every kind of candidate, those whose cosines with the classes have the lowest quantile.

    NegLabel (Jiang et al. 2024; github.com/XueJiang16/NegLabel, `multi_modal.py`) takes the quantile by
    linear interpolation and floor(keep n) of the n candidates of a kind, nouns first. CSP (Chen et al. 2024;
    github.com/MengyuanChen21/NeurIPS2024-CSP) also excludes what is nearly a class. Of equals, the earlier one.

    Args:
        candidates: M texts.
        class_texts: Shape (K, D), normalised.
        quantile: Over the classes, for every candidate.
        keep: Share of every kind.
        closest: Candidates with a larger cosine to any class are excluded; they count for what is kept.

    Returns:
        Indices of candidates, kind after kind, the farthest first.
    """

    def unlikeness(cosines: np.ndarray) -> np.ndarray:
        values = np.quantile(cosines, quantile, axis=1, overwrite_input=True)
        return np.where(cosines.max(axis=1) > closest, np.inf, values)

    distances = _of_cosines(unlikeness, candidates, class_texts)
    kinds = np.array(candidates.kinds, dtype=str)
    chosen = []
    for kind in sorted(set(candidates.kinds), reverse=True):  # nouns before adjectives, whatever the list's order
        members = np.flatnonzero(kinds == kind)
        first = members[np.argsort(distances[members], kind="stable")][: int(len(members) * keep)]
        chosen.append(first[np.isfinite(distances[first])])
    return np.concatenate(chosen) if chosen else np.empty(0, dtype=np.intp)


@shared
def farthest_and_nearest(candidates: TextList, class_texts: np.ndarray, *, rank: int, each: int) -> np.ndarray:
    """CLIPScope's mining: the candidates that lie farthest from the classes, and those that lie nearest.

    A candidate is as near as its rank-th largest cosine with the classes (Fu et al. 2025;
    github.com/fu1001hao/CLIPScope, `mining.py`). Of fewer than 2 `each` candidates, none is taken twice.

    Args:
        candidates: M texts.
        class_texts: Shape (K, D), normalised.
        rank: Which cosine; with fewer classes, the smallest.
        each: How many of either end.

    Returns:
        Indices of candidates, in the order of their nearness.
    """
    kth = max(len(class_texts) - rank, 0)
    nearness = _of_cosines(lambda cosines: np.partition(cosines, kth, axis=1)[:, kth], candidates, class_texts)
    order = np.argsort(nearness, kind="stable")
    return np.concatenate([order[:each], order[each:][-each:]])


@shared
def inter_modal(candidates: TextList, class_texts: np.ndarray, bank: Bank, *, count: int) -> np.ndarray:
    """InterNeg's mining: the candidates that lie farther from the images of every class than its own text does.

    With mu_c the normalised mean of the shots of class c and t_c its text, a candidate w survives where cos(w, mu_c) <
    cos(t_c, mu_c) for every c. Of the survivors those are taken whose mean over c of cos(t_c, mu_c) - cos(w, mu_c) is
    largest, of every kind in proportion to its survivors (Xu et al. 2026; github.com/ZhikangXu0112/InterNeg,
    `clip_fixed_ood_prompt.py`). Of equals, the earlier one. Where fewer survive than are wanted, all are taken, and a
    line on stderr says how many these are, of a list once.

    Args:
        candidates: M texts.
        class_texts: Shape (K, D), normalised.
        bank: The labelled shots.
        count: How many are wanted.

    Returns:
        Indices of candidates, kind after kind (adjectives before nouns), the farthest first.

    Raises:
        Skip: A class has no shot, or no candidate survives.
    """
    centres = class_directions(bank, len(class_texts))
    own = np.einsum("kd,kd->k", class_texts, centres)
    gaps = _of_cosines(
        lambda cosines: np.where((cosines < own).all(axis=1), (own - cosines).mean(axis=1), -np.inf),
        candidates,
        centres,
    )
    survivors = np.flatnonzero(np.isfinite(gaps))
    if not len(survivors):
        raise Skip(
            f"of {counted(len(candidates.names), 'candidate')} none lies farther from the shots of every class than "
            "the text of that class does"
        )
    if len(survivors) < count:
        _say_fewer(candidates, len(survivors), count)
    return _in_proportion(survivors, gaps, np.array(candidates.kinds, dtype=str), min(count, len(survivors)))


def _say_fewer(candidates: TextList, survivors: int, count: int) -> None:
    """Say that fewer texts of a list survive than are wanted: once, for every fit would say it, with its own number."""
    said = _SAID.setdefault(candidates, set())
    if count not in said:
        said.add(count)
        print(
            f"oodgrid: of {counted(len(candidates.names), 'candidate')} {counted(survivors, 'text')} "
            f"{plural(survivors, 'lies', 'lie')} farther from the shots of every class than its own text does, "
            f"fewer than the {counted(count, 'text')} that are wanted (count): all of them are taken (said "
            "once of a list; each fit has its own number)",
            file=sys.stderr,
        )


def class_directions(bank: Bank, classes: int) -> np.ndarray:
    """Return the normalised means of the normalised samples of every class, shape (K, D).

    Raises:
        Skip: A class has no sample.
    """
    present = bank.classes[0]
    if len(absent := np.setdiff1d(np.arange(classes), present)):
        count = len(absent)
        have = f"{counted(count, 'class', 'classes')} {plural(count, 'has', 'have')}"
        raise Skip(f"it compares with the shots of every class, and {have} none")
    return normalise(of_directions(bank).means)


def _in_proportion(members: np.ndarray, ranks: np.ndarray, kinds: np.ndarray, count: int) -> np.ndarray:
    """Return `count` members, those of the highest rank of every kind, as many of each as its share of the members.

    The last kind by alphabet, of two the nouns, gets what rounding leaves, as in the code of record.
    """
    chosen, seen = [], 0
    for kind in sorted(set(kinds[members])):
        of_kind = members[kinds[members] == kind]
        wanted = count * (seen + len(of_kind)) // len(members) - count * seen // len(members)
        chosen.append(of_kind[np.argsort(-ranks[of_kind], kind="stable")][:wanted])
        seen += len(of_kind)
    return np.concatenate(chosen)


@shared
def in_groups(candidates: TextList, chosen: np.ndarray, *, groups: int, seed: int) -> tuple[np.ndarray, int]:
    """Return the embeddings of the chosen candidates, (groups n, D), group after group, and the number of groups.

    The last ones, which fill no group, are left out; the others are shuffled. NegLabel's code shuffles with a generator
    that only GPUs have; here it is numpy's. Fewer candidates than groups are a group each.

    Raises:
        Skip: None was chosen.
    """
    if not len(chosen):
        raise Skip(f"no negative text is left of {counted(len(candidates.names), 'candidate')}")
    groups = min(groups, len(chosen))
    order = np.random.default_rng(seed).permutation(len(chosen) // groups * groups)
    return candidates.features[chosen[order]], groups


def _of_cosines(
    function: Callable[[np.ndarray], np.ndarray], candidates: TextList, class_texts: np.ndarray, rows: int = 1024
) -> np.ndarray:
    return by_rows(lambda block: function(block @ class_texts.T), candidates.features, rows=rows)
