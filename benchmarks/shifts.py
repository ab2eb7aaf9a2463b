"""Do LAID's axes rank the shifts of Concept World, which are known by construction? Spearman's correlations.

    snakemake --cores 8 scores --configfile experiments/is-ood.yaml
    python benchmarks/shifts.py

Semantic: of the sets whose looks are as they were, the distance of their group from the ID classes (ID 0, new pairs of
colour and shape 1, new shapes 2, both new 3, textures 4). Covariate: of the sets changed by one kind of change and of
those as they were, its severity. Intervals: 2,000 bootstrap samples of the images within each set. Prints JSON and a
table.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import rankdata

from oodgrid import paths, store

RESULTS, EXPERIMENT = Path("results"), "is-ood"
AXES = {"semantic": "laid_semantic@texts=concept-prompts", "covariate": "laid_covariate@texts=concept-prompts"}
DISTANCE = {"concepts": 0, "combinations": 1, "shapes": 2, "both": 3, "concepts-textures": 4}
DRAWS = 2000


def known(name: str) -> tuple[int, str, int]:
    """Return the semantic distance of a set, and the kind and severity of its change in looks."""
    match = re.fullmatch(r"(.+?)(?:-(noise|contrast|blur)-(\d))?", name)
    assert match
    return DISTANCE[match[1]], match[2] or "", int(match[3] or 0)


def spearman(shift: np.ndarray, truth: np.ndarray) -> float:
    """Return Spearman's correlation; ties have their mean rank."""
    return float(np.corrcoef(rankdata(shift), rankdata(truth))[0, 1])


def interval(groups: list[np.ndarray], truths: list[int], rng: np.random.Generator) -> dict[str, float | int]:
    """Return the correlation and its 95 % bootstrap interval, drawn within the sets."""
    truth = np.repeat(truths, [len(group) for group in groups])
    drawn = [spearman(np.concatenate([rng.choice(group, len(group)) for group in groups]), truth) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"spearman": spearman(np.concatenate(groups), truth), "low": low, "high": high, "images": len(truth)}


def main() -> None:
    """Print the correlations."""
    table, _ = store.read_table(paths.scores(RESULTS, EXPERIMENT, "tiny", "concepts", "any"))
    sets = {str(key[0]): rows for key, rows in table.partition_by("dataset", as_dict=True).items()}
    shifts = {axis: {name: -rows[column].to_numpy() for name, rows in sets.items()} for axis, column in AXES.items()}
    rng = np.random.default_rng(0)
    plain = [name for name in sets if not known(name)[1]]
    objects = [name for name in plain if known(name)[0] < DISTANCE["concepts-textures"]]
    asked = {"semantic, ID to both new": (objects, 0), "semantic, ID to textures": (plain, 0)}
    for kind in ("contrast", "noise", "blur"):
        changed = [name for name in sets if known(name)[0] in (1, 2, 3) and known(name)[1] in ("", kind)]
        asked[f"covariate, {kind}"] = (changed, 2)
    results = {}
    for what, (names, place) in asked.items():
        truths = [int(known(name)[place]) for name in names]
        for axis in AXES:
            results[f"{what}: {axis} axis"] = interval([shifts[axis][name] for name in names], truths, rng)
    print(json.dumps(results, indent=1))
    rows = [
        {"known shift: measured": what, **{k: round(v, 2) for k, v in row.items()}} for what, row in results.items()
    ]
    with pl.Config(tbl_rows=-1, fmt_str_lengths=60, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(pl.DataFrame(rows))


if __name__ == "__main__":
    main()
