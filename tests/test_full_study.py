"""The full study is planned as it should be: every count has its formula, and docs/costs.md what is printed."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

from oodgrid import config, grid, paths, plan

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("full_study", ROOT / "benchmarks/full_study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def experiment(study):
    return config.parse(study.full_study())


def test_every_job_is_there_once_and_no_other(study, experiment):
    """Of what sets, backbones and methods share there is one job for all."""
    backbones, id_sets, ood_sets, methods, shots, seeds = 3, 5, 4, 23, 5, 3
    pairs = backbones * id_sets
    assert study.jobs(experiment) == {
        "encode images": backbones * (id_sets + ood_sets),  # whatever methods, shots, seeds, scores and pairs use them
        "encode drawn": backbones * 2,  # of ImageNet's and Food-101's training splits what the draws take
        "encode texts": pairs,  # prompts with class names
        "encode shuffled": pairs,  # of TAG
        "encode labels": backbones * 4,  # four lists, one of noise, whatever scores and ID sets use them
        "encode views": pairs * 2,  # two families, whatever methods learn from them
        "fit": pairs * methods,  # all shots and seeds of a method in one job
        "apply": pairs * methods,
        "score": pairs * (methods + 1),  # and `any`, the scores of image features that no method changes
        "evaluate": 1,
        "tables": 1,
        "figures": 1,
        "page": 1,
    }
    learned = shots * seeds
    assert study.fits(experiment) == pairs * ((methods - 1) * learned + 1)  # zero-shot is one
    assert len(experiment.scores) == 62
    # scores of image features: under `any`, and again under the three methods that change features
    of_pair = sum(len(grid.fits(experiment, m)) * len(grid.scores(experiment, m)) for m in grid.methods(experiment))
    assert grid.count_rows(experiment) == pairs * ood_sets * of_pair
    assert of_pair < ((methods - 1) * learned + 1) * len(grid.scores(experiment, "clip_adapter"))


def test_files_grow_with_pairs_and_methods_and_not_with_shots_seeds_or_scores(study, experiment):
    few = experiment.model_copy(update={"shots": [1], "seeds": [1], "scores": experiment.scores[:1]})
    of_few, of_all = (study.files(each) for each in (few, experiment))
    assert of_few["fit.json, apply.json"] == of_all["fit.json, apply.json"] == 2 * 15 * 23
    assert of_all["score tables"] == 15 * 24 * len(plan.score_tables(experiment))
    splits = sum(len(dataset.split_names) for dataset in {d.name: d for d in experiment.datasets()}.values())
    jobs = study.jobs(experiment)
    others = sum(jobs[f"encode {kind}"] for kind in ("texts", "shuffled", "labels", "views"))
    assert of_all["features, texts, views"] == 3 * splits + others
    assert of_all["metrics and comparisons"] == len(paths.EVALUATED)


def test_the_documentation_has_what_is_printed(study, capsys):
    study.main()
    runpy.run_path(str(ROOT / "benchmarks/study.py"), run_name="__main__")
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    page = (ROOT / "docs/costs.md").read_text(encoding="utf-8")
    assert len(lines) > 65
    assert [line for line in lines if line not in page] == []
