"""Every per-sample score at ImageNet's size: asked alone, all asked together, and the products that none can leave out.

Alone: each score with references that nobody has used before, through the functions of the stage, from float32 features
on. The first block pays for what is estimated of the shots (the fit); the rest give the cost of a sample, which is the
same for every block, so that the cost of the study follows. Together: the stage itself, from feature files to tables,
over all samples. Products: NumPy and torch on the same shapes, in float64 and the blocks of the stage.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made import Sizes, Study, study
from timing import forget_peak, in_turn, peak_mb, timed

from oodgrid import config, grid, manifests, paths, registry, store
from oodgrid.config import Choice
from oodgrid.score.compute import Column, fill, needs_of
from oodgrid.score.contract import Bank, Skip, TextList, normalise
from oodgrid.score.references import ROWS, References
from oodgrid.score.run import score
from oodgrid.score.sharing import frozen
from oodgrid.score.texts import Texts

HEADLESS = {"logits", "head", "negative_logits", "local_logits", "pair_logits", "val", "val|bank"}
DEAR = {"weiper": 512, "weiper_kld": 256, "gl_mcm": 128, "l_mcm": 128, "gl_fa": 128}  # samples on which they are timed
PATCHES, NEGATIVES, PAIRED, TEMPLATES, VARIANTS = 49, 3, 50, 5, 10
PARAMS = {"negrefine": {"labels": "paired", "pairs": "pairs", "keep": 1.0}, "cma": {"agents": "agents"}}
PARAMS |= {"clipn_atd": {"labels": "no"}, "clipn_ctw": {"labels": "no"}}
PARAMS |= {"laid_semantic": {"texts": "templates"}, "laid_covariate": {"texts": "templates"}}
STAGE = {"logits", "features", "head", "bank", "val", "val|bank"}  # what the files of the stage below give


def every() -> list[str]:
    """Return the scores that look at one sample at a time."""
    return [name for name, entry in sorted(registry.entries("score").items()) if not entry.transductive]


def chosen() -> list[str]:
    """Return those that need logits, features and labelled samples only; WeiPer's hundred heads are timed alone."""
    entries = {name: registry.find("score", name) for name in every() if not name.startswith("weiper")}
    return [name for name, entry in entries.items() if set(entry.needs) <= STAGE and not entry.label_lists]


# ---------------------------------------------------------------------------------------------------------- alone


def alone(sizes: Sizes, without: Sequence[str], say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Return for each score CPU seconds of its fit and of the whole study, µs a sample, and MB that it took at most.

    A score that needs what is not made up here is said, and left out.
    """
    made = study(sizes, sizes.alone * 5 // 9, sizes.alone - sizes.alone * 5 // 9)
    features, lists, rows = made.features.astype(np.float32), lists_of(sizes, made), {}
    for name in (name for name in every() if name not in without):
        try:
            rows[name] = one(name, made, features, lists, sizes)
        except Skip as skip:
            say(f"{name}: not measured, {skip}")
        else:
            say(f"{name}: {rows[name]['us_a_sample']:.1f} µs a sample, {rows[name]['fit_s']:.2f} s for its fit")
    return rows


def one(name: str, made: Study, features: np.ndarray, lists: dict[str, TextList], sizes: Sizes) -> dict[str, float]:
    """Return the figures of one score."""
    choice = Choice(name=name, **(PARAMS.get(name) or dict.fromkeys(lists_asked(name), "candidates")))
    needs = set(needs_of(choice))
    samples = min(DEAR.get(name, len(features)), len(features))
    first = samples // 2 if name in DEAR else min(ROWS, samples // 2)
    references, of_score = references_of(made, needs), (choice, lists, needs)
    forget_peak()
    before = peak_mb()
    fitted, _ = timed(lambda: asked(references, features[:first], *of_score))
    rest, _ = timed(lambda: asked(references, features[first:samples], *of_score))
    of_call = min(timed(lambda: fill([], []))[0] for _ in range(5))  # whatever the samples are
    each = (rest - of_call) / (samples - first)
    fit = max(fitted - each * first, 0.0)
    total = fit + each * (sizes.own + sizes.ood)
    return {"samples": samples, "us_a_sample": 1e6 * each, "fit_s": fit, "study_s": total, "mb": peak_mb() - before}


def asked(
    references: References, features: np.ndarray, choice: Choice, lists: dict[str, TextList], needs: set[str]
) -> np.ndarray:
    """Return one score of samples, as the stage computes it."""
    column = Column(choice, lambda need: f"{need} is not made up here", lists)
    rng = np.random.default_rng(2)
    if "local_logits" in needs:
        patches = rng.normal(size=(len(features), PATCHES, features.shape[1])).astype(np.float32)
        blocks = references.local_blocks("made", features, [(0, patches)], references.head, needs)
    else:
        pairs = {"pair_texts": features, "pair_logits": features[:, 0]} if any("pair" in need for need in needs) else {}
        blocks = references.blocks("made", features, None, needs, pairs)
    fill([column], blocks)
    if column.skipped:
        raise Skip(column.skipped)
    return column.values()


def references_of(made: Study, needs: set[str]) -> References:
    """Return what a score of these needs is compared with, used by nobody before."""
    head = made.head if needs & HEADLESS else None
    banks = {
        need: Bank(values.view(), labels, made.shots, head=head)
        for need, values, labels in (("bank", made.bank, made.bank_labels), ("val", made.val, made.val_labels))
        if any(need in each.split("|") for each in needs)
    }
    rng, weights = np.random.default_rng(1), made.head.weights
    noise = 0.3 / weights.shape[1] ** 0.5
    around = [normalise(weights + noise * rng.normal(size=weights.shape)) for _ in range(VARIANTS)]
    by_need = {"class_texts": weights.view(), "prompt_variants": frozen(np.stack(around))}
    negatives = np.stack(around[:NEGATIVES], axis=1) if "negative_logits" in needs else None
    return References(head, negatives, banks, Texts(by_need, {}, {}), text_cosines=True)


def lists_asked(name: str) -> tuple[str, ...]:
    """Return the names of the parameters of a score that name a list of texts."""
    return tuple(registry.find("score", name).label_lists)


def lists_of(sizes: Sizes, made: Study) -> dict[str, TextList]:
    """Return lists of texts: candidates of two kinds; one "no" text a class; agents; a small one joined to classes."""
    rng, width = np.random.default_rng(3), sizes.width

    def texts(count: int, templates: int = 1) -> TextList:
        each = rng.normal(size=(1, count, width)) + 0.5 * rng.normal(size=(templates, 1, width))
        each = each + 0.2 * rng.normal(size=(templates, count, width))
        kinds = ["noun" if place % 2 else "adjective" for place in range(count)]
        return TextList(normalise(each.mean(axis=0)), [""] * count, kinds, each if templates > 1 else None)

    paired = min(PAIRED, sizes.texts)
    lists = {"candidates": texts(sizes.texts), "no": texts(sizes.classes), "agents": texts(5), "paired": texts(paired)}
    return lists | {"pairs": texts(paired * sizes.classes), "templates": texts(min(200, sizes.texts), TEMPLATES)}


# ------------------------------------------------------------------------------------------------------- together


def together(sizes: Sizes) -> dict[str, Any]:
    """Run the stage from files to tables; return its CPU seconds, the scores and the peak of memory."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        experiment = written(results, sizes)
        forget_peak()

        def stage() -> None:
            for method in grid.methods(experiment):
                score(results, experiment, "made", "id", method)

        seconds, _ = timed(stage)
    return {"cpu_s": seconds, "samples": sizes.own + sizes.ood, "scores": chosen(), "peak_mb": peak_mb()}


def written(results: Path, sizes: Sizes) -> config.Experiment:
    """Write the files that encode and adapt leave, and return the experiment of which they are."""
    made = study(sizes, sizes.own, sizes.ood)
    splits = {
        ("id", "test"): (made.features[: sizes.own], made.labels),
        ("ood", "test"): (made.features[sizes.own :], np.full(sizes.ood, -1, np.int32)),
        ("id", "train"): (made.bank, made.bank_labels),
        ("id", "val"): (made.val, made.val_labels),
    }
    for (name, split), (values, labels) in splits.items():
        names = [f"{name}/{split}/{row}.jpg" for row in range(len(labels))]
        digests = np.zeros((len(labels), 32), np.uint8)
        features = store.Features(values.astype(np.float32), labels, names, digests, {})
        store.write_features(paths.features(results, "made", name, split), features)
    classifier = "kept/apply/classifier.safetensors"
    store.write_arrays(results / classifier, {"prototypes": made.head.weights.astype(np.float32)})
    fit = manifests.AppliedFit(shots=sizes.shots, seed=1, status="ok", reason=None, classifier=classifier)
    path = paths.applied(results, "made", "made", "id", "prototype")
    manifests.write(path, manifests.Applied(method="prototype", leaves="prototypes", fits=[fit]))
    return config.parse(
        {
            "experiment": "made",
            "backbones": [{"name": "made", "model": "none", "pretrained": "none"}],
            "id_datasets": [{"name": "id", "imported": {}, "ood": {"far": [{"name": "ood", "imported": {}}]}}],
            "methods": ["prototype"],
            "shots": [sizes.shots],
            "seeds": [1],
            "scores": chosen(),
        }
    )


# ------------------------------------------------------------------------------------------------------- products


def products(sizes: Sizes) -> list[dict[str, Any]]:
    """Return CPU µs a sample of the matrix products that the scores of `chosen` need together.

    The products with the bank are made by two jobs: of what no method changes, and of the method.
    """
    classes, bank, width = sizes.classes, sizes.classes * sizes.shots, sizes.width
    shapes = {
        "features x classes: logits": (width, classes),
        "features x bank: knn": (width, bank),
        "features x bank: nnguide, relation": (width, bank),
        "probabilities x those of the bank: relation": (classes, bank),
        "probabilities x mean predictions: kl_matching": (classes, classes),
        "probabilities x patterns: dpm": (classes, classes),
        "features x dimensions: whitening, principal space": (width, width),
        "whitened features x class means: mahalanobis": (width, classes),
    }
    rng, rows, found = np.random.default_rng(1), min(ROWS, sizes.own), []
    for name, (depth, columns) in shapes.items():
        left, right = rng.normal(size=(rows, depth)), rng.normal(size=(columns, depth))
        tensors = torch.from_numpy(left), torch.from_numpy(right)
        both = {
            "numpy_us_a_sample": lambda left=left, right=right: left @ right.T,
            "torch_us_a_sample": lambda tensors=tensors: tensors[0] @ tensors[1].T,
        }
        found.append({"product": name, **{way: 1e6 * seconds / rows for way, seconds in in_turn(both, 5, 6).items()}})
    return found
