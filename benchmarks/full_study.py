"""The full study on paper: its jobs, files, bytes and hours, each from a formula, and what dominates.

Five ID sets, three backbones, all methods, five numbers of shots, three seeds, all scores. Jobs and files are counted
by the functions that the workflow plans with; tests/test_full_study.py holds each against a formula of its own. Bytes
and hours are arithmetic on rates that were measured (benchmarks/*.json, see benchmarks/study.py). Nothing here was run
at this size; prints tables of docs/costs.md.

    python benchmarks/full_study.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from study import CORES, EPOCHS, GMACS, H100, OOD, SEEDS, SETS, SHOTS, TEXT, WIDTH, Rates, encoded, hours, rates

from oodgrid import catalogue, config, grid, plan, registry
from oodgrid.config import Experiment
from oodgrid.texts import SOURCES

ROOT = Path(__file__).parents[1]
RESULTS = Path("results")
PATCHES = {"B/32": 49, "B/16": 196, "L/14": 256}
FLOAT, SCORE = 4, 8  # bytes of a feature or logit, and of a score
# epochs, batch and texts for each class of a step; what a class's step costs beside its texts is not counted
PROMPTS = {
    "coop": [(EPOCHS, 32, 1)],
    "kgcoop": [(100, 128, 1)],
    "fa": [(50, 160, 1)],
    "prograd": [(EPOCHS, 32, 1)],
    "prompt_src": [(50, 4, 1)],
    "locoop": [(50, 32, 1)],
    "sct": [(25, 32, 1)],
    "gallop": [(50, 128, 8)],
    "neg_prompt": [(100, 64, 1), (100, 64, 2)],
    "lsn": [(50, 8, 1), (100, 8, 3)],
}


def full_study() -> dict[str, Any]:
    """Return the experiment: sets and backbones of ming-li-2023.yaml, every method and every score once."""
    study, methods, scores = (
        yaml.safe_load((ROOT / f"experiments/{name}.yaml").read_text(encoding="utf-8"))
        for name in ("ming-li-2023", "all-methods", "all-scores")
    )
    choices = {each if isinstance(each, str) else each["name"]: each for each in reversed(methods["methods"])}
    views = [{"family": "rrc08", "count": 10, "local_features": True}, {"family": "rrc50", "count": 10}]
    backbones = [{**catalogue.entry("backbone", name), "name": name} for name in study["backbones"]]
    return {
        **study,
        "experiment": "full",
        "root": "/data",
        "backbones": [{**backbone, "local_features": True} for backbone in backbones],
        "id_datasets": [{**each, "views": views} for each in study["id_datasets"]],
        "methods": [{"name": name, **_views(choices[name])} for name in sorted(choices)],
        "scores": [_score(name, scores["scores"]) for name in sorted(_scores())],
    }


def _scores() -> Iterator[str]:
    """Yield the names of oodgrid's scores of images, whatever others this process has registered."""
    for entry in registry.entries("score").values():
        # nor CoVer's, which encode every test image again for each corruption
        of_others = {"pair_texts", "pair_logits", "layer_features", "corrupted_logits"} & set(entry.needs)
        if entry.make.__module__.startswith("oodgrid.") and not of_others:
            yield entry.name


def _score(name: str, choices: list[Any]) -> dict[str, Any]:
    """Return a score with the list of labels that it has in all-scores.yaml, or one of these where it wants one."""
    choice = next((each for each in choices if isinstance(each, dict) and each["name"] == name), {})
    lists = {key: choice[key] for key in ("labels", "agents", "texts") if key in choice}
    if (
        name.startswith(("clipn", "reneg")) or name == "negrefine"
    ):  # which all-scores.yaml has not, or with lists of its own
        of_images = [each for each in registry.find("score", name).label_lists if each != "noise"]
        lists = dict.fromkeys(of_images, "concept-words")
    return {"name": name, **lists}


def _views(choice: Any) -> dict[str, str]:
    return {"views": choice["views"]} if isinstance(choice, dict) and "views" in choice else {}


def jobs(experiment: Experiment) -> dict[str, int]:
    """Return the jobs of each rule of a run from nothing, as the workflow plans them."""
    backbones, pairs = len(experiment.backbones), len(experiment.backbones) * len(experiment.id_datasets)
    count = {"encode images": backbones * sum(map(len, plan.encoded(experiment).values()))}
    count["encode drawn"] = backbones * len(plan.drawn(experiment))
    for source in SOURCES:
        count[f"encode {source.kind}"] = backbones * len(plan.encoded_texts(experiment, source))
    count["encode views"] = len(
        {
            file
            for backbone in experiment.backbones
            for dataset in experiment.id_datasets
            for method in grid.methods(experiment)
            for file in plan.view_files(RESULTS, experiment, backbone.name, dataset.name, method)
        }
    )
    own = [method for method in grid.methods(experiment) if method != registry.ANY]
    count |= {"fit": pairs * len(own), "apply": pairs * len(own), "score": pairs * len(grid.methods(experiment))}
    count |= dict.fromkeys(("evaluate", *plan.report_parts(RESULTS, experiment)), 1)
    return {rule: number for rule, number in count.items() if number}


def fits(experiment: Experiment) -> int:
    """Return how many fits the jobs of `fit` make."""
    own = [method for method in grid.methods(experiment) if method != registry.ANY]
    return sum(len(grid.fits(experiment, method)) for method in own) * _pairs(experiment)


def files(experiment: Experiment) -> dict[str, int]:
    """Return how many files jobs leave under names of their own, beside what lies in results/kept."""
    pairs = _pairs(experiment)
    own = len([method for method in grid.methods(experiment) if method != registry.ANY])
    return {
        "features, texts, views": len(plan.encoded_files(RESULTS, experiment)),
        "fit.json, apply.json": 2 * pairs * own,
        "score tables": len(plan.score_files(RESULTS, experiment)),
        "metrics and comparisons": len(plan.files.evaluated_files(RESULTS, experiment)),
        "report": len(plan.report_files(RESULTS, experiment)),
    }


def _pairs(experiment: Experiment) -> int:
    return len(experiment.backbones) * len(experiment.id_datasets)


def disk(experiment: Experiment, backbone: str) -> dict[str, float]:
    """Return GB of one backbone by what they are; of scores and logits without compression."""
    images = encoded()
    tests = sum(test for _, _, test in SETS.values()) + OOD
    width, learned = WIDTH[backbone], len(SHOTS) * SEEDS
    views = 2 * 10 * sum(sum(SHOTS) * SEEDS * classes for classes, _, _ in SETS.values())
    applied = {"logits": 0, "features": 0}
    for method in experiment.methods:
        leaves = registry.find("method", method.name).leaves
        if leaves in applied:
            per_sample = sum(
                (test + OOD) * (classes if leaves == "logits" else width) for classes, _, test in SETS.values()
            )
            applied[leaves] += learned * per_sample
    scores = sum(
        len(grid.fits(experiment, method)) * len(grid.scores(experiment, method)) for method in grid.methods(experiment)
    ) * sum(test + OOD for _, _, test in SETS.values())
    patches = PATCHES[backbone] * width * FLOAT
    return {
        "features": images * (width * FLOAT + 60) / 1e9,
        "patches of test images": tests * patches / 1e9,
        "patches of training images": (images - tests) * patches / 1e9,
        "views, at most": views * width * FLOAT / 1e9,
        "patches of views, at most": views / 2 * patches / 1e9,
        "logits that methods leave": applied["logits"] * FLOAT / 1e9,
        "features that methods leave": applied["features"] * FLOAT / 1e9,
        "scores": scores * SCORE / 1e9,
    }


def prompt_hours(backbone: str, rate: Rates) -> dict[str, tuple[float, float]]:
    """Return core hours and GPU hours of all fits of the methods that learn prompts, by measured steps of CoOp."""
    table = {}
    for method, stages in PROMPTS.items():
        seconds = TEXT[backbone] * sum(
            SEEDS * (epochs[shots] if isinstance(epochs, dict) else epochs) * max(1, shots * classes // batch)
            * (rate.coop[0] + rate.coop[1] * classes * texts)
            for epochs, batch, texts in stages
            for classes, _, _ in SETS.values()
            for shots in SHOTS
        )  # fmt: skip
        table[method] = (seconds / 3600, seconds * rate.operations / H100 / 3600)
    of_study = hours(backbone, rate)
    for part in ("fits", "prompts of all test images"):
        table[f"cocoop: {part}"] = of_study[f"CoCoOp: {part}"]
    return table


def other_hours(experiment: Experiment, backbone: str, rate: Rates) -> dict[str, tuple[float, float]]:
    """Return core hours and GPU hours of encoding, and core hours of scoring."""
    of_study = hours(backbone, rate)
    parts = {part: of_study[part] for part in ("encode images", "encode views of the draws, at most")}
    fits_of_pair = sum(len(grid.fits(experiment, method)) for method in grid.methods(experiment))
    scored = fits_of_pair * sum((test + OOD) * classes for classes, _, test in SETS.values())
    parts["33 scores of every fit, on CPUs"] = (scored * rate.scored / 3600, 0.0)
    return parts


def memory() -> dict[str, float]:
    """Return the largest memory in MB that was measured of one job of each kind, at ImageNet's size or near it."""
    read = {
        name: json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("memory", "prompt_learning", "scale", "comparisons")
    }
    adapters = [row["ours_mb"] for row in read["scale"]["adapters"]["rows"]]
    return {
        "encode 1.3 million images, without a model": read["memory"]["megabytes"]["peak"],
        "fit prompts, 1,000 classes": max(step["peak_mb"] for step in read["prompt_learning"]["steps"]),
        "fit a probe or an adapter, 1,000 classes; beside the libraries": max(adapters),
        "score 85,640 samples, 33 scores": read["scale"]["together"]["rows"]["peak_mb"],
        "compare 20 methods, 3 seeds, 46 scores": read["comparisons"]["peak_mib"] * 1.048576,
    }


def main() -> None:
    """Print the tables."""
    experiment, rate = config.parse(full_study()), rates()
    count = jobs(experiment)
    _print_table(("rule", "jobs"), [(rule, f"{number:,}") for rule, number in count.items()])
    rows, all_fits = grid.count_rows(experiment), fits(experiment)
    print(f"\nTogether {sum(count.values()):,} jobs, {all_fits:,} fits, {rows:,} rows of metrics.\n")
    _print_table(("files", "number"), [(what, f"{number:,}") for what, number in files(experiment).items()])
    print()
    sizes = {name: disk(experiment, name) for name in GMACS}
    sizes = {name: of | {"together": sum(of.values())} for name, of in sizes.items()}
    _print_table(("GB", *GMACS), [(part, *(f"{sizes[name][part]:,.0f}" for name in GMACS)) for part in sizes["B/32"]])
    print()
    times = {name: other_hours(experiment, name, rate) | prompt_hours(name, rate) for name in GMACS}
    sums = {name: tuple(sum(part[k] for part in of.values()) for k in (0, 1)) for name, of in times.items()}
    rows = [(part, *(_hours(times[name][part]) for name in GMACS)) for part in times["B/32"]]
    _print_table(("core h, GPU h", *GMACS), [*rows, ("together", *(_hours(sums[name]) for name in GMACS))])
    print()
    _print_table(("one job", "MB, measured"), [(job, f"{size:,.0f}") for job, size in memory().items()])
    print()
    _print_machines(times, sizes)


def _print_machines(times: dict[str, dict[str, tuple[float, float]]], sizes: dict[str, dict[str, float]]) -> None:
    """Print what one run of all backbones takes on three machines."""
    core = sum(part[0] for of in times.values() for part in of.values())
    gpu = sum(part[1] for of in times.values() for part in of.values())
    on_cpus = sum(of["33 scores of every fit, on CPUs"][0] for of in times.values())
    terabytes = sum(of["together"] for of in sizes.values()) / 1000
    machines = (("laptop, 8 cores", 8, 0), ("one H100, 16 cores", CORES, 1), ("eight H100s, 128 cores", 8 * CORES, 8))
    rows = []
    for machine, cores, gpus in machines:
        days = (gpu / gpus + on_cpus / cores if gpus else core / cores) / 24
        on_core, on_gpu = (on_cpus, gpu) if gpus else (core, 0)
        rows.append((machine, f"{on_core:,.0f}", f"{on_gpu:,.0f}", f"{days:,.1f}", f"{terabytes:.1f} TB"))
    _print_table(("machine", "core h", "GPU h", "days", "disk"), rows)


def _hours(pair: tuple[float, float]) -> str:
    return f"{pair[0]:,.0f}, {pair[1]:,.1f}"


def _print_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    head = list(head)
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
