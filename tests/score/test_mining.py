"""Mining of negative labels against loops, on random texts, on real CLIP features, and on NegLabel's own word lists."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oodgrid import registry
from oodgrid.score.contract import Skip, TextList, normalise
from oodgrid.score.mining import farthest_and_nearest, in_groups, most_unlike


def texts(count, seed, width=16):
    return normalise(np.random.default_rng(seed).normal(size=(count, width)))


def labels_of(features, kinds=None):
    return TextList(features, [f"label {i}" for i in range(len(features))], kinds or [""] * len(features))


def quantile_of(values, q):
    """Linear interpolation between order statistics, as numpy's and torch's default."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def naive_most_unlike(labels, class_texts, quantile, keep, closest=math.inf):
    cosines = [[math.fsum(a * b for a, b in zip(x, y, strict=True)) for y in class_texts.tolist()]
               for x in labels.features.tolist()]  # fmt: skip
    chosen = []
    for kind in sorted(set(labels.kinds), reverse=True):
        members = [i for i, each in enumerate(labels.kinds) if each == kind]
        ranks = {i: 1e9 if max(cosines[i]) > closest else quantile_of(cosines[i], quantile) for i in members}
        members.sort(key=lambda i: ranks[i])
        chosen += [i for i in members[: int(len(members) * keep)] if ranks[i] < 1e9]
    return chosen


# ---------------------------------------------------------------------------------------------------- random texts

CLASS_TEXTS = texts(13, 0)
MIXED = labels_of(texts(90, 1), [("noun", "adj", "verb")[i % 3 if i % 5 else 0] for i in range(90)])


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("keep", [0.15, 0.5, 1.0])
def test_most_unlike_against_the_recipe(quantile, keep):
    got = most_unlike(MIXED, CLASS_TEXTS, quantile=quantile, keep=keep)
    assert got.tolist() == naive_most_unlike(MIXED, CLASS_TEXTS, quantile, keep)


@pytest.mark.parametrize("closest", [0.3, 0.5, 0.95])
def test_excluding_what_is_nearly_a_class(closest):
    got = most_unlike(MIXED, CLASS_TEXTS, quantile=0.95, keep=0.6, closest=closest)
    assert got.tolist() == naive_most_unlike(MIXED, CLASS_TEXTS, 0.95, 0.6, closest)
    assert np.all((MIXED.features[got] @ CLASS_TEXTS.T).max(axis=1, initial=-1) <= closest)


def test_every_kind_keeps_its_share_and_nouns_come_first():
    got = most_unlike(MIXED, CLASS_TEXTS, quantile=0.95, keep=0.15)
    kinds = [MIXED.kinds[i] for i in got]
    expected = {kind: int(MIXED.kinds.count(kind) * 0.15) for kind in ("verb", "noun", "adj")}
    assert kinds == [kind for kind, count in expected.items() for _ in range(count)]
    assert expected["noun"] > expected["adj"] > 0


def test_of_one_kind_the_order_of_candidates_and_of_classes_does_not_matter():
    rng = np.random.default_rng(5)
    order, classes = rng.permutation(90), rng.permutation(13)
    plain = labels_of(MIXED.features)
    moved = labels_of(MIXED.features[order])
    got = most_unlike(moved, CLASS_TEXTS[classes], quantile=0.95, keep=0.4)
    assert order[got].tolist() == most_unlike(plain, CLASS_TEXTS, quantile=0.95, keep=0.4).tolist()


def test_ties_go_to_the_earlier_candidate():
    labels = labels_of(np.tile(texts(1, 2), (10, 1)))
    assert most_unlike(labels, CLASS_TEXTS, quantile=0.95, keep=0.5).tolist() == [0, 1, 2, 3, 4]
    assert farthest_and_nearest(labels, CLASS_TEXTS, rank=3, each=2).tolist() == [0, 1, 8, 9]


def test_one_class_and_one_candidate():
    one = labels_of(texts(1, 2))
    assert most_unlike(one, CLASS_TEXTS[:1], quantile=0.95, keep=1.0).tolist() == [0]
    assert most_unlike(one, CLASS_TEXTS[:1], quantile=0.95, keep=0.15).tolist() == []
    assert farthest_and_nearest(one, CLASS_TEXTS[:1], rank=50, each=5000).tolist() == [0]


def test_no_candidate():
    none = labels_of(np.empty((0, 16)))
    assert most_unlike(none, CLASS_TEXTS, quantile=0.95, keep=1.0).tolist() == []
    assert farthest_and_nearest(none, CLASS_TEXTS, rank=50, each=5000).tolist() == []
    with pytest.raises(Skip, match="no negative text is left of 0 candidates"):
        in_groups(none, np.empty(0, dtype=int), groups=3, seed=0)


def naive_farthest_and_nearest(labels, class_texts, rank, each):
    cosines = labels.features @ class_texts.T
    nearness = [sorted(row, reverse=True)[min(rank, len(class_texts)) - 1] for row in cosines.tolist()]
    order = sorted(range(len(nearness)), key=lambda i: nearness[i])
    return order[:each] + [i for i in order[-each:] if i not in order[:each]]


@pytest.mark.parametrize("rank", [1, 2, 13, 50])
@pytest.mark.parametrize("each", [1, 7, 45, 60, 5000])
def test_farthest_and_nearest_against_the_recipe(rank, each):
    got = farthest_and_nearest(MIXED, CLASS_TEXTS, rank=rank, each=each)
    assert got.tolist() == naive_farthest_and_nearest(MIXED, CLASS_TEXTS, rank, each)
    assert len(set(got.tolist())) == min(2 * each, 90)


@pytest.mark.parametrize(
    ("count", "groups", "found", "used"), [(11, 3, 3, 9), (12, 3, 3, 12), (2, 100, 2, 2), (5, 1, 1, 5)]
)
def test_groups_are_a_shuffle_of_the_first(count, groups, found, used):
    chosen = np.arange(90)[::-1][:count]
    for seed in (0, 1):
        negatives, number = in_groups(MIXED, chosen, groups=groups, seed=seed)
        assert number == found
        order = np.random.default_rng(seed).permutation(used)
        np.testing.assert_array_equal(negatives, MIXED.features[chosen[:used][order]])


def test_blocks_of_candidates_change_nothing():
    many = labels_of(texts(2100, 8))
    cosines = many.features @ CLASS_TEXTS.T
    assert most_unlike(many, CLASS_TEXTS, quantile=1.0, keep=1.0).tolist() == np.argsort(cosines.max(axis=1)).tolist()


# ------------------------------------------------------------------------------------------- real CLIP ViT-B/32 texts


@pytest.fixture(scope="module")
def real(shared):
    """The ImageNet classes, and as candidates the names of LVIS, OID, Objects365 and COCO, as one kind each."""
    import torch

    folder = shared / "data" / "clip_vitb32_features"
    path = folder / "imagenet_text" / "text_features2.pt"
    class_texts = normalise(torch.load(path, map_location="cpu", weights_only=True).numpy())
    files = sorted((folder / "detic_text").glob("*.npy"))
    parts = [normalise(np.load(file)) for file in files]
    kinds = [file.name.split("_")[0] for file, part in zip(files, parts, strict=True) for _ in part]
    return labels_of(np.vstack(parts), kinds), class_texts


def test_real_candidates_against_sorting(real):
    labels, class_texts = real
    cosines = np.sort(labels.features @ class_texts.T, axis=1)
    # 0.95 of 999 steps is 949.05: between the 950th and the 951st cosine, from the smallest
    values = cosines[:, 949] + 0.05 * (cosines[:, 950] - cosines[:, 949])
    kinds, expected = np.array(labels.kinds), []
    for kind, count in {"oid": 75, "o365": 54, "lvis": 180, "coco": 12}.items():
        members = np.flatnonzero(kinds == kind)
        assert int(0.15 * len(members)) == count
        expected += members[np.argsort(values[members], kind="stable")][:count].tolist()
    got = most_unlike(labels, class_texts, quantile=0.95, keep=0.15)
    # where two distances agree to the last digits, the sum's order may decide: the sets and all distances agree
    assert set(got.tolist()) == set(expected)
    np.testing.assert_allclose(values[got], values[expected], rtol=0, atol=1e-12)


def test_real_candidates_that_are_classes_are_excluded(real):
    labels, class_texts = real
    nearly = np.flatnonzero((labels.features @ class_texts.T).max(axis=1) > 0.95)
    assert len(nearly) > 50  # "a banana" is "a photo of a banana"
    got = most_unlike(labels, class_texts, quantile=0.95, keep=1.0, closest=0.95)
    assert set(got.tolist()) == set(range(len(labels.names))) - set(nearly.tolist())


def test_real_nearness_is_the_50th_largest_cosine(real):
    labels, class_texts = real
    nearness = np.sort(labels.features @ class_texts.T, axis=1)[:, -50]
    got = farthest_and_nearest(labels, class_texts, rank=50, each=300)
    expected = np.sort(nearness)
    np.testing.assert_allclose(nearness[got], np.concatenate([expected[:300], expected[-300:]]), rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------ NegLabel's own word lists

READ_FIRST = ["phenomenon", "shape", "feeling", "relation", "time", "event", "cognition", "possession", "process"]


@pytest.fixture(scope="module")
def published(shared):
    """NegLabel's candidates by kind, and its selection by kind.

    Its code reads the files in the order of the disk; a word of several files belongs to the first. No order is
    published: this one gives every selected word its published kind.
    """
    folder = shared / "data" / "labels" / "neglabel"
    order = [*(f"noun.{name}" for name in READ_FIRST), "adj.all", "adj.pert", "adj.ppl"]
    order += sorted({file.stem for file in (folder / "txtfiles").glob("noun.*")} - set(order))
    candidates = {}
    for name in order:
        for line in (folder / "txtfiles" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
            candidates.setdefault(line.strip(), name.split(".")[0])
    lines = (folder / "selected_neg_labels" / "selected_neg_labels_in1k_10k.txt").read_text(encoding="utf-8")
    selected = {"noun": [], "adj": []}
    for line in lines.splitlines():
        if line.startswith("the nice "):
            selected["noun"].append(line.removeprefix("the nice "))
        else:
            selected["adj"].append(line.removeprefix("This is a ").removesuffix(" photo"))
    return candidates, selected


def test_the_published_selection_is_of_these_candidates_and_kinds(published):
    candidates, selected = published
    for kind, words in selected.items():
        assert len(set(words)) == len(words)
        assert {candidates.get(word) for word in words} == {kind}


def test_mining_keeps_as_many_of_each_kind_as_were_published(published):
    candidates, selected = published
    kinds = list(candidates.values())
    assert (kinds.count("noun"), kinds.count("adj")) == (57187, 12813)
    labels = TextList(texts(70000, 3, width=3), list(candidates), kinds)
    got = most_unlike(labels, texts(2, 4, width=3), quantile=0.95, keep=0.15)
    counts = {kind: len(words) for kind, words in selected.items()}
    assert counts == {"noun": 8578, "adj": 1921}
    assert [kinds[i] for i in got] == [kind for kind, count in counts.items() for _ in range(count)]
    negatives, groups = in_groups(labels, got, groups=100, seed=0)
    assert (groups, len(negatives)) == (100, 10400)  # 99 of 10,499 labels fill no group


# --------------------------------------------------------------------------------------------- real images and labels


@pytest.mark.parametrize("ood", ["imagenet", "dtd", "sun397", "fgvc"])
def test_real_shares_against_softmaxes_in_torch(shared, real, ood):
    """As the published code does it: class and group cosines side by side, one softmax a group."""
    import torch

    file = {"imagenet": "keys_4shots.pt", "sun397": "val_f.pt"}.get(ood, "test_f.pt")
    path = shared / "data" / "clip_vitb32_features" / "tip_adapter_caches" / ood / file
    images = torch.load(path, map_location="cpu", weights_only=True).double()
    images = torch.nn.functional.normalize(images.T if ood == "imagenet" else images, dim=1)[::20]
    labels, class_texts = (real[0], torch.from_numpy(real[1]))
    chosen = most_unlike(labels, real[1], quantile=0.95, keep=0.3)
    order = np.random.default_rng(0).permutation(len(chosen) // 10 * 10)
    positive, shares = 100 * images @ class_texts.T, []
    for group in torch.from_numpy(labels.features[chosen[order]]).reshape(10, -1, 512):
        together = torch.cat([positive, 100 * images @ group.T], dim=1).softmax(dim=1)
        shares.append(together[:, :1000].sum(dim=1))
    got = registry.find("score", "neglabel").make(
        images.numpy(), (positive / 100).numpy(), real[1], labels=labels, keep=0.3, groups=10
    )
    np.testing.assert_allclose(got, torch.stack(shares).mean(dim=0).numpy(), rtol=1e-10)


def test_real_negatives_tell_dogs_from_the_rest_far_better_than_mcm(shared, real):
    """Labels of everyday things are what the rest of ImageNet shows: negative for 118 breeds of dogs."""
    import torch
    from sklearn.metrics import roc_auc_score

    path = shared / "data" / "clip_vitb32_features" / "tip_adapter_caches" / "imagenet" / "keys_4shots.pt"
    images = normalise(torch.load(path, map_location="cpu", weights_only=True).float().numpy().T)
    dogs = np.arange(151, 269)
    truth = np.isin(np.repeat(np.arange(1000), 4), dogs)
    labels, class_texts = real[0], real[1][dogs]
    logits = images @ class_texts.T
    mcm = registry.find("score", "mcm").make(logits)
    neglabel = registry.find("score", "neglabel").make(images, logits, class_texts, labels=labels)
    assert roc_auc_score(truth, mcm) < 0.85
    assert roc_auc_score(truth, neglabel) > 0.98
