"""Angles between samples and centres: against loops over single pairs, and what must not change them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from oodgrid import manifests
from oodgrid.score import geometry as module
from oodgrid.score.geometry import geometry
from tests.score.test_run import run

SEEDS = range(6)


def angle(a, b):
    cosine = float(np.dot(a, b)) / (float(np.linalg.norm(a)) * float(np.linalg.norm(b)))
    return float(np.degrees(np.arccos(min(1.0, max(-1.0, cosine)))))


def naive(sets, labels, prototypes=None):
    """Dispersion, compactness, ID angle, and the angle of each OOD set, pair by pair in float64."""
    unit = {name: [row / np.linalg.norm(row) for row in values.astype(np.float64)] for name, values in sets.items()}
    id_name, *oods = sets
    if prototypes is None:
        classes = sorted(set(labels[labels >= 0].tolist()))
        centres = {k: sum(x for x, own in zip(unit[id_name], labels, strict=True) if own == k) for k in classes}
    else:
        centres = dict(enumerate(prototypes.astype(np.float64)))
    pairs = [angle(centres[a], centres[b]) for a, b in combinations(centres, 2)]
    own = {k: [angle(x, c) for x, of in zip(unit[id_name], labels, strict=True) if of == k] for k, c in centres.items()}
    nearest = {name: np.mean([min(angle(x, c) for c in centres.values()) for x in unit[name]]) for name in sets}
    compactness = np.mean([np.mean(angles) for angles in own.values() if angles])
    return np.mean(pairs), compactness, nearest[id_name], {name: nearest[name] for name in oods}


def world(seed, classes=4, width=7):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, classes, 40)
    labels[:classes] = range(classes)
    centres = rng.normal(size=(classes + 1, width))
    features = (centres[labels] + 0.6 * rng.normal(size=(40, width))) * rng.uniform(1, 9, (40, 1))
    sets = {"id": features, "near": centres[:1] + rng.normal(size=(11, width)), "far": rng.normal(size=(5, width))}
    prototypes = rng.normal(size=(classes, width)) * rng.uniform(0.5, 3, (classes, 1))
    return {name: values.astype(np.float32) for name, values in sets.items()}, labels, prototypes


def naive_mmd(sets):
    """The linear MMD of each OOD set, over all pairs of samples: mean k(x, x') + mean k(y, y') - 2 mean k(x, y)."""
    unit = {name: [row / np.linalg.norm(row) for row in values.astype(np.float64)] for name, values in sets.items()}
    kernel = {(a, b): np.mean([u @ v for u in unit[a] for v in unit[b]]) for a in unit for b in unit}
    first, *names = unit
    return {b: kernel[first, first] + kernel[b, b] - 2 * kernel[first, b] for b in names}


def numbers(angles):
    return [angles.dispersion, angles.compactness, angles.id_angle, *angles.ood_angles.values()]


@pytest.mark.parametrize("own_means", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_angles_are_those_of_single_pairs_in_blocks_of_any_size(seed, own_means, monkeypatch):
    sets, labels, prototypes = world(seed)
    centres = None if own_means else prototypes
    expected = naive(sets, labels, centres)
    for rows in (3, 4096):
        monkeypatch.setattr(module, "ROWS", rows)
        angles = geometry(sets, labels, centres)
        assert numbers(angles) == pytest.approx([*expected[:3], *expected[3].values()], abs=1e-5)
        assert list(angles.ood_angles) == ["near", "far"]
        assert angles.ood_mmd == pytest.approx(naive_mmd(sets), abs=1e-12)
        assert angles.classes == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_rotations_norms_orders_and_names_of_classes_change_nothing(seed):
    sets, labels, prototypes = world(seed)
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    order, names = rng.permutation(40), np.append(rng.permutation(4), -1)
    scaled = {name: values * rng.uniform(0.1, 50, (len(values), 1)) for name, values in sets.items()}
    others = [
        ({name: values @ rotation for name, values in sets.items()}, labels, prototypes @ rotation),
        (scaled, labels, prototypes * rng.uniform(0.1, 50, (4, 1))),
        (sets | {"id": sets["id"][order]}, labels[order], prototypes),
        (sets, names[labels], prototypes[np.argsort(names[:4])]),
        (sets | {"far": np.tile(sets["far"], (3, 1))}, labels, prototypes),
    ]
    for centres in (True, False):
        expected = numbers(geometry(sets, labels, prototypes if centres else None))
        for changed, own, weights in others:
            assert numbers(geometry(changed, own, weights if centres else None)) == pytest.approx(expected, abs=1e-4)


def test_known_angles():
    axes = np.eye(3, dtype=np.float32)
    angles = geometry({"id": axes[[0, 1]], "ood": axes[[2]]}, np.array([0, 1]))
    assert numbers(angles) == pytest.approx([90, 0, 0, 90], abs=1e-5)
    between = geometry({"id": axes[[0, 1]], "ood": axes[[2]]}, np.array([0, 1]), np.array([[1, 1, 0], [-1, 1, 0]]))
    assert numbers(between) == pytest.approx([90, 45, 45, 90], abs=1e-5)
    one = geometry({"id": axes[[0, 1]], "ood": axes[[2]]}, np.array([0, 0]))
    assert numbers(one) == [None, pytest.approx(45), pytest.approx(45), pytest.approx(90)]
    nothing = geometry({"id": axes, "ood": axes}, np.array([-1, -1, -1]))
    assert (nothing.classes, numbers(nothing)) == (0, [None, None, None])
    unlabelled = geometry({"id": axes, "ood": axes[:0]}, np.array([-1, -1, -1]), axes)
    assert numbers(unlabelled) == [pytest.approx(90), None, pytest.approx(0)]


# ------------------------------------------------------------------------------------------------- in the stage


def test_the_stage_leaves_the_angles_of_prototypes_and_of_cached_features_at_the_largest_shots(mini):
    fits = [mini.prototypes(shots=shots, seed=seed) for shots in (1, 2) for seed in (1, 2)]
    mini.applied("prototype", "prototypes", [fit.fit for fit in fits])
    _, about = run(mini, shots=[1, 2], seeds=[1, 2])
    sets = {name: mini.read(name).image_features for name in ("pets", "noise", "cars")}
    labels = mini.read("pets").labels
    expected = naive(sets, labels)
    assert numbers(about.cached) == pytest.approx([*expected[:3], *expected[3].values()], abs=1e-5)
    assert [bool(fit.geometry) for fit in about.fits] == [False, False, True, True]
    for fit, made in zip(about.fits[2:], fits[2:], strict=True):
        expected = naive(sets, labels, made.values)
        assert list(fit.geometry) == ["prototypes"]
        assert numbers(fit.geometry["prototypes"]) == pytest.approx([*expected[:3], *expected[3].values()], abs=1e-5)
        assert fit.no_geometry == {"means": module.UNCHANGED}


def test_changed_features_have_class_means_of_their_own_and_logits_have_no_prototypes(mini, monkeypatch):
    changed = {name: -2 * mini.read(name).image_features + 1 for name in ("pets", "noise", "cars")}
    fit = mini.prototypes()
    bank = {"features": mini.read("pets", "train").image_features[:6], "labels": np.repeat(np.arange(3), 2)}
    sets = {name: mini.kept(f"changed-{name}", features=values) for name, values in changed.items()}
    logits = {name: mini.kept(f"logits-{name}", logits=values[:, :3]) for name, values in changed.items()}
    of_features = fit.fit.model_copy(update={"sets": sets, "bank": mini.kept("bank", **bank)})
    mini.applied("clip_adapter", "features", [of_features])
    mini.applied("tip_adapter", "logits", [fit.fit.model_copy(update={"sets": logits})])
    methods, reads, of_fit = ("clip_adapter", "tip_adapter"), [], module.FitAngles._of_fit
    monkeypatch.setattr(module.FitAngles, "_of_fit", lambda self, fit: reads.append(fit) or of_fit(self, fit))
    adapter, cache = (run(mini, method, methods=methods, scores=["mcm"])[1] for method in methods)
    labels = mini.read("pets").labels
    for centres, values in (("means", None), ("prototypes", fit.values)):
        expected = naive(changed, labels, values)
        found = numbers(adapter.fits[0].geometry[centres])
        assert found == pytest.approx([*expected[:3], *expected[3].values()], abs=1e-5)
    assert len(reads) == 1  # for both centres
    assert not cache.fits[0].geometry
    assert set(cache.fits[0].no_geometry) == {"means", "prototypes"}
    assert cache.cached == adapter.cached


def test_angles_of_earlier_runs_are_found_again_and_follow_the_features(mini, monkeypatch):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    before = run(mini)[1]
    with monkeypatch.context() as patch:
        patch.setattr(module, "geometry", lambda *_: pytest.fail("it was kept"))
        assert run(mini, scores=["mcm"])[1].fits[0].geometry == before.fits[0].geometry
    mini.features("cars", "test", np.arange(7) % 2, seed=40)
    after = run(mini)[1]
    assert after.cached.dispersion == before.cached.dispersion
    assert after.cached.ood_angles["cars"] != before.cached.ood_angles["cars"]


def test_manifests_of_before_have_no_angles(mini):
    fit = {"shots": 2, "seed": 1, "status": "ok", "reason": None, "parts": {"pets": "a"}}
    about = manifests.ScoreTable.model_validate({"version": 2, "fits": [fit], "params": {}})
    assert about.cached is None and not about.fits[0].geometry
