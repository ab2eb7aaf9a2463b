"""What summary.parquet and comparisons.parquet cost beside the metrics: influence values, variances, statistics.

Score tables of M methods, S seeds and C scores on 50,000 ID and 4 x 10,000 OOD samples, as the stage score leaves them.
Prints a table of CPU seconds and the largest memory; writes benchmarks/comparisons.json.

    python benchmarks/comparisons.py --methods 20 --seeds 3 --scores 46
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from machine import describe

from oodgrid import manifests
from oodgrid.config import parse
from oodgrid.evaluate import compare
from oodgrid.evaluate.score_table import ScoreTable
from oodgrid.kept import Kept

ROOT = Path(__file__).parents[1]
WHOLE = {"methods": 20, "seeds": 3, "scores": 46}  # what issue 12 asks for
SIZES = {"id": 50_000, "near1": 10_000, "near2": 10_000, "far1": 10_000, "far2": 10_000}


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in WHOLE.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--load", default="none", help="what else the machine does meanwhile, for the file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables, metrics = _tables(Path(folder), options)
        start = time.process_time()
        about = manifests.Metrics(overlaps=[])
        summary, comparisons, _ = compare.compared(metrics, tables, about, Path(folder))
        seconds = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    columns = options.methods * options.seeds * options.scores
    print(f"{options.methods} methods x {options.seeds} seeds x {options.scores} scores = {columns} columns")
    print(f"CPU seconds {seconds:8.1f}   a column {1000 * seconds / columns:6.1f} ms   peak memory {memory:.0f} MiB")
    print(f"{len(summary)} means, {len(comparisons)} differences")
    result = {
        "machine": describe(), **vars(options), "whole": {name: vars(options)[name] for name in WHOLE} == WHOLE,
        "samples": SIZES, "cpu_seconds": seconds, "peak_mib": memory,
        "ms_a_column": 1000 * seconds / columns, "means": len(summary), "differences": len(comparisons),
    }  # fmt: skip
    (ROOT / "benchmarks" / "comparisons.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _tables(folder: Path, options: argparse.Namespace) -> tuple[list[ScoreTable], pl.DataFrame]:
    """Write score tables, and return them with metrics (of a few samples: means alone are read from them)."""
    sets = {kind: [{"name": n, "generated": {"kind": "noise"}} for n in SIZES if n.startswith(kind)]
            for kind in ("near", "far")}  # fmt: skip
    dataset = parse(
        {
            "experiment": "bench",
            "backbones": ["tiny"],
            "methods": ["zero_shot"],
            "scores": ["mcm"],
            "id_datasets": [{"name": "id", "generated": {"kind": "noise"}, "ood": sets}],
        }
    ).id_datasets[0]
    names = ["mcm", *(f"s{k}" for k in range(1, options.scores))]
    tables, rows = [], []
    for m in range(options.methods):
        method, shots, seeds = ("zero_shot", 0, [0]) if m == 0 else (f"m{m}", 16, range(1, options.seeds + 1))
        frames, fits = [], []
        for seed in seeds:
            rng = np.random.default_rng([m, seed])
            parts = {name: f"{m}-{seed}-{name}" for name in SIZES}
            fits.append(manifests.ScoredFit(shots=shots, seed=seed, status="ok", reason=None, parts=parts))
            for name, size in SIZES.items():
                values = {s: rng.normal(name == "id", 1, size) for s in names}
                keys = {"dataset": name, "shots": shots, "seed": seed}
                frame = pl.DataFrame({"label": np.zeros(size, int), "prediction": np.zeros(size, int), **values})
                frames.append(frame.with_columns(pl.lit(v).alias(k) for k, v in keys.items()))
            for s in names:
                rows += [_row(rng, method, shots, seed, s, ood) for ood in list(SIZES)[1:]]
        path = folder / f"{method}.parquet"
        about = manifests.ScoreTable(fits=fits, params={s: {} for s in names})
        manifests.write_table(path, pl.concat(frames), about)
        of = {"backbone": "b", "id_dataset": "id", "method": method, "base_method": method}
        tables.append(ScoreTable(path, of, dict.fromkeys(names, "mcm"), dataset, Kept(folder, "evaluate"), "code"))
    return tables, pl.DataFrame(rows)


def _row(rng: np.random.Generator, method: str, shots: int, seed: int, score: str, ood: str) -> dict:
    rates = {"auroc": 0.76, "fpr95_id_pos": 0.7, "fpr95_ood_pos": 0.7, "id_accuracy": 1.0}
    ends = {f"{name}_{end}": rate for name, rate in rates.items() for end in ("lo", "hi")}
    return {
        "experiment": "bench", "backbone": "b", "id_dataset": "id", "ood_dataset": ood, "ood_kind": ood[:-1],
        "method": method, "base_method": method, "shots": shots, "seed": seed, "score": score, "base_score": "mcm",
        "params": "{}", "status": "ok", "reason": None, "n_id": SIZES["id"], "n_ood": SIZES[ood], "tied": 0.0,
        **{name: rate + rng.normal(0, 0.01) for name, rate in rates.items()}, **ends,
    }  # fmt: skip


if __name__ == "__main__":
    main()
