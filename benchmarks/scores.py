"""All scores in one pass over 50,000 ID and 40,000 OOD samples, and each beside pytorch-ood's way on the same arrays.

512 dimensions, 1000 classes, 16 shots a class; generated unit features around class centres. Four figures:

* the stage itself (`oodgrid score`), from feature files to the table of scores: time, share of each score, peak memory;
* the matrix products that cannot be avoided, in the same precision (float64) and blocks, and the ratio to them;
* WeiPer's scores, whose hundred perturbed heads cost a hundred times the logits, on 2,048 of the samples by themselves;
* each score, fitted and computed on 10,000 of the samples, beside pytorch-ood 0.4, in float64 where it allows (some of
  its detectors cast to float32); both sides in one process, on the same threads.

Prints tables; writes benchmarks/scores.json. Takes about ten minutes on two cores.

    python benchmarks/scores.py [--samples 90000] [--peers 10000]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from pytorch_ood import detector

from oodgrid import config, grid, manifests, paths, registry, store
from oodgrid.config import Choice
from oodgrid.score import compute as computing
from oodgrid.score.contract import Bank, Head, normalise
from oodgrid.score.references import ROWS
from oodgrid.score.run import score
from oodgrid.score.sharing import frozen
from oodgrid.score.threads import on_threads

ROOT = Path(__file__).parents[1]
WIDTH, CLASSES, SHOTS, VAL = 512, 1000, 16, 4
FAMILIES = ("logits", "features", "activations")
KEPT_APART = ("weiper", "weiper_kld")
CAST = {"vim", "nnguide", "nci", "dice"}  # pytorch-ood computes these in float32, whatever it is given


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=90_000)
    parser.add_argument("--peers", type=int, default=10_000)
    options = parser.parse_args()
    data = made(options.samples)
    result = {"machine": describe(), "threads": torch.get_num_threads(), "samples": options.samples, "width": WIDTH}
    result |= {"classes": CLASSES, "bank": SHOTS * CLASSES, "stage": stage(data), "products": products(data["test"])}
    result["stage_float32"] = stage(data, "float32")
    result["weiper"] = {"samples": 2 * ROWS, **weiper({**data, "test": data["test"][: 2 * ROWS]})}
    few = {**data, "test": data["test"][:: len(data["test"]) // options.peers][: options.peers]}
    result |= {"peer_samples": len(few["test"]), "peers": peers(few, result["stage"]["scores"], options.samples)}
    show(result)
    (ROOT / "benchmarks" / "scores.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def made(samples: int) -> dict[str, np.ndarray]:
    """Return float32 features around class centres (ID), wider ones (OOD), text prototypes and a head's labels."""
    rng = np.random.default_rng(0)
    centres = normalise(rng.normal(size=(CLASSES, WIDTH)))

    def around(labels: np.ndarray, noise: float) -> np.ndarray:
        scattered = centres[labels] + noise / WIDTH**0.5 * rng.normal(size=(len(labels), WIDTH))
        return scattered.astype(np.float32)

    own = samples * 5 // 9
    labels = np.arange(own) % CLASSES
    return {
        "test": np.concatenate([around(labels, 1.5), around(rng.integers(CLASSES, size=samples - own), 4.0)]),
        "labels": labels.astype(np.int32),
        "train": around(np.repeat(np.arange(CLASSES), SHOTS), 1.5),
        "train_labels": np.repeat(np.arange(CLASSES), SHOTS).astype(np.int32),
        "val": around(np.repeat(np.arange(CLASSES), VAL), 1.5),
        "val_labels": np.repeat(np.arange(CLASSES), VAL).astype(np.int32),
        "prototypes": normalise(centres + 0.5 / WIDTH**0.5 * rng.normal(size=centres.shape)).astype(np.float32),
    }


def chosen() -> list[str]:
    """Return the scores that need logits, features and labelled samples only."""
    given = {"logits", "features", "head", "bank", "val", "val|bank"}
    every = registry.entries("score").values()
    fit = [e.name for e in every if set(e.needs) <= given and not e.transductive and not e.label_lists]
    return [name for name in fit if name not in KEPT_APART]


# ------------------------------------------------------------------------------------------------- the stage


def stage(data: dict[str, np.ndarray], precision: str = "float64") -> dict[str, Any]:
    """Run the stage from files to tables, and return its seconds by score, on the clock and of the CPU."""
    seconds: dict[str, float] = {}
    call = computing._call

    def timed(entry: registry.Entry, given: list[Any], params: dict[str, Any]) -> np.ndarray:
        start = time.perf_counter()
        try:
            return call(entry, given, params)
        finally:
            seconds[entry.name] = seconds.get(entry.name, 0.0) + time.perf_counter() - start

    computing._call = timed
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        experiment = written(results, data).model_copy(update={"score_precision": precision})
        start, cpu = time.perf_counter(), time.process_time()
        for method in grid.methods(experiment):
            score(results, experiment, "made", "id", method)
        total, cpu = time.perf_counter() - start, time.process_time() - cpu
    computing._call = call
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    families = {name: registry.find("score", name).family for name in seconds}
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count())
    seconds = {name: found / threads for name, found in seconds.items()}  # blocks run on all of them at once
    return {"total": total, "cpu": cpu, "scores": seconds, "families": families, "peak_mb": peak}


def written(results: Path, data: dict[str, np.ndarray]) -> config.Experiment:
    """Write the files that encode and adapt leave, and return the experiment of which they are."""
    own = len(data["labels"])
    splits = {
        ("id", "test"): (data["test"][:own], data["labels"]),
        ("ood", "test"): (data["test"][own:], np.full(len(data["test"]) - own, -1, np.int32)),
        ("id", "train"): (data["train"], data["train_labels"]),
        ("id", "val"): (data["val"], data["val_labels"]),
    }
    for (name, split), (values, labels) in splits.items():
        names = [f"{name}/{split}/{row}.jpg" for row in range(len(labels))]
        features = store.Features(values, labels, names, np.zeros((len(labels), 32), np.uint8), {})
        store.write_features(paths.features(results, "made", name, split), features)
    store.write_arrays(results / "kept" / "apply" / "classifier.safetensors", {"prototypes": data["prototypes"]})
    fit = manifests.AppliedFit(
        shots=SHOTS, seed=1, status="ok", reason=None, classifier="kept/apply/classifier.safetensors"
    )
    path = paths.applied(results, "made", "made", "id", "prototype")
    manifests.write(path, manifests.Applied(method="prototype", leaves="prototypes", fits=[fit]))
    ood = {"far": [{"name": "ood", "imported": {}}]}
    return config.parse(
        {
            "experiment": "made",
            "backbones": [{"name": "made", "model": "none", "pretrained": "none"}],
            "id_datasets": [{"name": "id", "imported": {}, "ood": ood}],
            "methods": ["prototype"],
            "shots": [SHOTS],
            "seeds": [1],
            "scores": chosen(),
        }
    )


def products(features: np.ndarray) -> dict[str, float]:
    """Return seconds of the matrix products that no way around can save, in float64 and blocks of the stage.

    The products with the bank are made by two jobs: of what no method changes, and of the method.
    """
    bank = SHOTS * CLASSES
    shapes = {
        "features x classes: logits": (WIDTH, CLASSES),
        "features x bank: knn": (WIDTH, bank),
        "features x bank: nnguide, relation": (WIDTH, bank),
        "probabilities x those of the bank: relation": (CLASSES, bank),
        "probabilities x mean predictions: kl_matching": (CLASSES, CLASSES),
        "features x dimensions: whitening, principal space": (WIDTH, WIDTH),
        "whitened features x class means: mahalanobis": (WIDTH, CLASSES),
    }
    seconds = {}
    rng = np.random.default_rng(1)
    blocks = {WIDTH: [normalise(features[start : start + ROWS]) for start in range(0, len(features), ROWS)]}
    blocks[CLASSES] = [rng.random((len(block), CLASSES)) for block in blocks[WIDTH]]
    for name, (width, columns) in shapes.items():
        other = rng.normal(size=(columns, width))
        start = time.perf_counter()
        for block in blocks[width]:
            block @ other.T
        seconds[name] = time.perf_counter() - start
    return seconds


# ------------------------------------------------------------------------------------------------- the peers


def peers(data: dict[str, np.ndarray], in_the_pass: dict[str, float], samples: int) -> list[dict[str, Any]]:
    """Return the seconds of each score that pytorch-ood has too, ours and theirs, fit and prediction together.

    Ours twice: by itself, from the features on, and what it adds to the stage, where others have done part of it.
    """
    torch.set_default_dtype(torch.float64)
    x, train, val, head = arrays(data)
    rows = []
    for name, way in ways(data).items():
        torch.set_default_dtype(torch.float32 if name in CAST else torch.float64)
        theirs = quickest(lambda way=way: way(torch.from_numpy(x.copy())))
        ours = quickest(lambda name=name: here(name, x, train, val, data, head))
        own = {"score": name, "ours": ours, "pytorch_ood": theirs, "ratio": theirs / ours, "float32": name in CAST}
        rows.append(own | {"in_the_pass": in_the_pass[name] * len(x) / samples})
    torch.set_default_dtype(torch.float32)
    return rows


def weiper(data: dict[str, np.ndarray]) -> dict[str, float]:
    """Return seconds of both scores, and of the products of a hundred heads."""
    x, train, val, head = arrays(data)
    seconds = {name: quickest(lambda name=name: here(name, x, train, val, data, head), 1) for name in KEPT_APART}
    heads = np.random.default_rng(2).normal(size=(10, CLASSES, WIDTH))
    blocks = [x[start : start + ROWS] for start in range(0, len(x), ROWS)]
    return {**seconds, "products": 10 * quickest(lambda: [block @ each.T for block in blocks for each in heads])}


def arrays(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, Head]:
    """Return normalised samples, shots and validation samples, and the head."""
    x, train, val = (frozen(normalise(data[name])) for name in ("test", "train", "val"))
    return x, train, val, Head(frozen(data["prototypes"].astype(np.float64)), frozen(np.zeros(CLASSES)))


def here(name: str, x: np.ndarray, train: np.ndarray, val: np.ndarray, data: dict, head: Head) -> np.ndarray:
    """Compute one score by itself, in the blocks of the stage, with a bank that nobody has used before."""
    given: dict[str, Any] = {"head": head}
    for need, values in {"bank": train, "val": val}.items():
        labels = data["train_labels" if need == "bank" else "val_labels"]
        given[need] = Bank(values, labels, SHOTS, head=head)
    choice, needs = Choice(name=name), registry.find("score", name).needs

    def of_block(block: np.ndarray) -> np.ndarray:
        logits = {"logits": frozen(head.logits(block))} if "logits" in needs else {}
        return computing.compute(choice, {**given, "features": block, **logits})

    found = list(on_threads(of_block, (frozen(x[start : start + ROWS].copy()) for start in range(0, len(x), ROWS))))
    return np.concatenate(found)


def quickest(way: Callable[[], Any], repeats: int = 2) -> float:
    """Return the fewest seconds of some runs; one run where it takes longer than a quarter of a minute."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
        if times[-1] > 15:
            break
    return min(times)


def ways(data: dict[str, np.ndarray]) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Return pytorch-ood's way to each score: from features, as ours, so that logits are part of both."""
    weight = torch.from_numpy(data["prototypes"].astype(np.float64)) * 100  # CLIP's scaled logits
    bias = torch.zeros(CLASSES)
    train, labels = torch.from_numpy(normalise(data["train"])), torch.from_numpy(data["train_labels"].astype(np.int64))
    val = torch.from_numpy(normalise(data["val"]))
    linear = torch.nn.Linear(WIDTH, CLASSES)
    linear.load_state_dict({"weight": weight, "bias": bias})
    linear.requires_grad_(False)
    single = copy.deepcopy(linear).float()  # for detectors that cast to float32 whatever they are given

    def on_logits(made: Any, fit: bool = False) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: (made().fit_logits(linear(val)) if fit else made()).predict_logits(linear(x))

    def on_features(made: Callable, cast: bool = False) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(x: torch.Tensor) -> torch.Tensor:
            given, bank = (x.float(), train.float()) if cast else (x, train)
            return made().fit_features(bank, labels).predict_features(given)

        return run

    def on_maps(made: Callable) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(x: torch.Tensor) -> torch.Tensor:
            detector_ = made()
            if detector_.requires_fit:
                detector_.fit_feature_maps(val, torch.zeros(len(val), dtype=torch.int64))
            return detector_.predict_feature_maps(x)

        return run

    def pooled(maps: torch.Tensor) -> torch.Tensor:
        return linear(maps.flatten(1))

    def as_maps(made: Callable) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: made().predict_feature_maps(x[:, :, None, None])

    d = detector
    found = {
        "msp": on_logits(lambda: d.MaxSoftmax(None)),
        "mcm": on_logits(lambda: d.MaxSoftmax(None, t=100.0)),
        "max_logit": on_logits(lambda: d.MaxLogit(None)),
        "energy": on_logits(lambda: d.EnergyBased(None)),
        "entropy": on_logits(lambda: d.Entropy(None)),
        "gen": on_logits(lambda: d.GEN(None, M=100)),
        "kl_matching": on_logits(lambda: d.KLMatching(None), fit=True),
        "mahalanobis": on_features(lambda: d.Mahalanobis(None)),
        "relative_mahalanobis": on_features(lambda: d.RMD(None)),
        "knn": on_features(lambda: d.KNN(None, k=10)),
        "vim": on_features(lambda: d.ViM(None, 256, weight.float(), bias.float()), cast=True),
        "she": on_features(lambda: d.SHE(None, linear)),
        "nnguide": on_features(lambda: d.NNGuide(None, single, k=10), cast=True),
        "nci": on_features(lambda: d.NCI(None, single, alpha=1e-4), cast=True),
        "dice": on_features(lambda: d.DICE(None, weight.float(), bias.float(), 0.9), cast=True),
        "react": on_maps(lambda: d.ReAct(None, linear)),
        "vra": on_maps(lambda: d.VRA(None, linear)),
        "ash_s": as_maps(lambda: d.ASH(None, pooled, "ash-s", 0.9)),
        "ash_b": as_maps(lambda: d.ASH(None, pooled, "ash-b", 0.9)),
        "ash_p": as_maps(lambda: d.ASH(None, pooled, "ash-p", 0.9)),
        "scale": as_maps(lambda: d.SCALE(None, pooled, 0.85)),
    }
    known = registry.entries("score")
    return {name: way for name, way in found.items() if name in known}


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    one = result["stage"]
    print(f"{'score':24}{'family':>14}{'seconds':>9}{'share':>8}")
    for name, seconds in sorted(one["scores"].items(), key=lambda item: -item[1]):
        print(f"{name:24}{one['families'][name]:>14}{seconds:9.2f}{100 * seconds / one['total']:7.1f}%")
    print(f"{'the stage, files to tables':38}{one['total']:9.2f}   peak {one['peak_mb']:.0f} MB")
    for name, seconds in result["products"].items():
        print(f"{name:62}{seconds:7.2f}")
    unavoidable = sum(result["products"].values())
    both = sum(s for name, s in one["scores"].items() if one["families"][name] in ("logits", "features"))
    print(f"logit and feature families {both:.1f} s, products {unavoidable:.1f} s: ratio {both / unavoidable:.2f}")
    apart = result["weiper"]
    print(f"{apart['samples']} samples: " + ", ".join(f"{n} {apart[n]:.1f} s" for n in (*KEPT_APART, "products")))
    print(f"\n{'score':24}{'alone':>9}{'in the pass':>13}{'pytorch-ood':>13}{'ratios':>15}   "
          f"{result['peer_samples']} samples")  # fmt: skip
    for row in sorted(result["peers"], key=lambda row: row["ratio"]):
        note = "  theirs in float32" if row["float32"] else ""
        theirs, added = row["pytorch_ood"], row["in_the_pass"]
        ratios = f"{row['ratio']:8.1f}{theirs / added:7.1f}{note}"
        print(f"{row['score']:24}{row['ours']:9.3f}{added:13.3f}{theirs:13.3f}{ratios}")
    alone = np.median([row["ratio"] for row in result["peers"]])
    added = np.median([row["pytorch_ood"] / row["in_the_pass"] for row in result["peers"]])
    print(f"median ratio {alone:.1f} alone, {added:.1f} in the pass")


if __name__ == "__main__":
    main()
