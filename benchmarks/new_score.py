"""What one more score costs an experiment that has many: CPU seconds of the stages score and evaluate.

10,000 samples (5,000 ID, 2 x 2,500 OOD) of 512 dimensions, 100 classes, 16 shots a class, one fit of one method;
generated unit features around class centres; all scores that need logits, features and labelled samples. Some scores
are added one after the other to all others, then one is taken out again. At the end values are compared, bit by bit,
with those of all scores computed at once.

Prints a table; writes benchmarks/new_score.json. `--of before` does so for an older checkout, whose code is found
first (PYTHONPATH=OLD/src), and leaves the other half of the file as it is.

    python benchmarks/new_score.py [--of after] [--samples 10000] [--added energy knn]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from machine import describe

from oodgrid import config, grid, manifests, paths, registry, store
from oodgrid.evaluate.run import evaluate
from oodgrid.score.run import score
from oodgrid.vectors import normalise

FILE = Path(__file__).parent / "new_score.json"
WIDTH, CLASSES, SHOTS, SEEDS, VAL = 512, 100, 16, (1,), 4
GIVEN = {"logits", "features", "head", "bank", "val", "val|bank"}
ADDED = ("energy", "knn", "mahalanobis", "weiper_kld")  # from cheap to dear


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--of", choices=("before", "after"), default="after")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--added", nargs="+", choices=ADDED, default=ADDED)
    parser.add_argument("--load", default="none", help="what else the machine does meanwhile, for the file")
    options = parser.parse_args()
    every = listed()
    with tempfile.TemporaryDirectory() as folder:
        whole, at_once = run(Path(folder), options.samples, {"all at once": every})
    known = [name for name in every if name not in options.added]
    steps = {"all others": list(known)}
    for name in options.added:
        steps[f"+ {name}"] = known = [*known, name]
    steps |= {"the same again": known, f"- {options.added[0]}": [name for name in known if name != options.added[0]]}
    with tempfile.TemporaryDirectory() as folder:
        added, values = run(Path(folder), options.samples, steps)
    same = equal(values, at_once)
    result = {"machine": describe(), "load": options.load, "scores": len(every), "same_bits": same, **whole, **added}
    show({**whole, **added}, len(every), same)
    before = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    shape = {"samples": options.samples, "width": WIDTH, "classes": CLASSES, "shots": SHOTS, "fits": len(SEEDS)}
    FILE.write_text(json.dumps({**before, **shape, options.of: result}, indent=1) + "\n", encoding="utf-8")


def listed() -> list[str]:
    """Return the scores that need logits, features and labelled samples only."""
    every = registry.entries("score").values()
    return [e.name for e in every if set(e.needs) <= GIVEN and not e.transductive and not e.label_lists]


def run(
    results: Path, samples: int, steps: dict[str, list[str]]
) -> tuple[dict[str, dict[str, float]], dict[str, pl.DataFrame]]:
    """Run both stages with one list of scores after the other; return CPU seconds by step, and the last tables."""
    write(results, samples)
    return {step: measured(results, names) for step, names in steps.items()}, tables_of(results)


def measured(results: Path, names: list[str]) -> dict[str, float]:
    """Run both stages, and return their CPU seconds."""
    experiment = experiment_of(names)
    start = time.process_time()
    for method in grid.methods(experiment):
        paths.scores(results, "made", "made", "id", method).unlink(missing_ok=True)  # as Snakemake does
        score(results, experiment, "made", "id", method)
    scored = time.process_time()
    evaluate(results, experiment)
    return {"score": scored - start, "evaluate": time.process_time() - scored}


def tables_of(results: Path) -> dict[str, pl.DataFrame]:
    """Return the tables of both methods."""
    return {m: store.read_table(paths.scores(results, "made", "made", "id", m))[0] for m in ("prototype", "any")}


def equal(tables: dict[str, pl.DataFrame], at_once: dict[str, pl.DataFrame]) -> bool:
    """Return whether all columns of tables are those of others, to the bit."""
    return all(table.equals(at_once[method].select(table.columns)) for method, table in tables.items())


def write(results: Path, samples: int) -> None:
    """Write the files that encode and adapt leave."""
    rng = np.random.default_rng(0)
    centres = normalise(rng.normal(size=(CLASSES, WIDTH)))

    def around(labels: np.ndarray, noise: float) -> np.ndarray:
        return (centres[labels] + noise / WIDTH**0.5 * rng.normal(size=(len(labels), WIDTH))).astype(np.float32)

    own, other = np.arange(samples // 2) % CLASSES, rng.integers(CLASSES, size=samples // 4)
    splits = {("id", "test"): (own, 1.5), ("near", "test"): (other, 3.0), ("far", "test"): (other, 5.0)}
    splits |= {("id", "train"): (np.repeat(np.arange(CLASSES), 4 * SHOTS), 1.5)}
    splits |= {("id", "val"): (np.repeat(np.arange(CLASSES), VAL), 1.5)}
    for (name, split), (classes, noise) in splits.items():
        labels = (classes if name == "id" else np.full(len(classes), -1)).astype(np.int32)
        names = [f"{name}/{split}/{row}.jpg" for row in range(len(labels))]
        digests = np.zeros((len(labels), 32), np.uint8)
        features = store.Features(around(classes, noise), labels, names, digests, {})
        store.write_features(paths.features(results, "made", name, split), features)
    fits = []
    for seed in SEEDS:
        prototypes = normalise(centres + 0.5 / WIDTH**0.5 * rng.normal(size=centres.shape)).astype(np.float32)
        classifier = f"kept/apply/{seed}.safetensors"
        store.write_arrays(results / classifier, {"prototypes": prototypes})
        fits.append(manifests.AppliedFit(shots=SHOTS, seed=seed, status="ok", reason=None, classifier=classifier))
    path = paths.applied(results, "made", "made", "id", "prototype")
    manifests.write(path, manifests.Applied(method="prototype", leaves="prototypes", fits=fits))


def experiment_of(scores: list[str]) -> config.Experiment:
    """Return the experiment with these scores."""
    ood = {kind: [{"name": kind, "imported": {}}] for kind in ("near", "far")}
    return config.parse(
        {
            "experiment": "made",
            "backbones": [{"name": "made", "model": "none", "pretrained": "none"}],
            "id_datasets": [{"name": "id", "imported": {}, "ood": ood}],
            "methods": ["prototype"],
            "shots": [SHOTS],
            "seeds": list(SEEDS),
            "scores": scores,
        }
    )


def show(steps: dict[str, dict[str, float]], scores: int, same: bool) -> None:
    """Print the table."""
    print(f"{scores} scores; CPU seconds; values added one after the other are those of all at once: {same}")
    print(f"{'':16} {'score':>8} {'evaluate':>9}")
    for step, seconds in steps.items():
        print(f"{step:16} {seconds['score']:8.2f} {seconds['evaluate']:9.2f}")


if __name__ == "__main__":
    main()
