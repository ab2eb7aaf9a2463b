"""What runs again: all that decides it, rule by rule.

A job runs again when a file that it reads has changed, or one of the `TRIGGERS` of its rule: what the configuration
says of its result, or the code behind it. They are params of the job, whose values Snakemake stores and compares.
docs/architecture.md has the rest: finished work is found again, and what does not fit is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oodgrid import catalogue, grid, registry
from oodgrid.config import ANY, Choice, Experiment
from oodgrid.identity import code_fingerprint, computing_fingerprint, digest

Trigger = Callable[..., str | int]  # of an experiment and the names in a job: its wildcards
PUBLISHED = f"{catalogue.PACKAGE}published.yaml"  # what others published, beside which tables and page show results
ENCODE_VERSION = 3  # raise by hand when encoding itself changes its numbers: every feature file is then made again


def spec(experiment: Experiment, fields: tuple[str, ...], **names: str) -> str:
    """Return, as one JSON text, the parts of the experiment on which a job's results depend."""
    return json.dumps({field: PARTS[field](experiment, names) for field in fields}, sort_keys=True)


def _encoded_identities(experiment: Experiment, names: Mapping[str, str]) -> list[Any]:
    """Return what the config says of all that encoding makes for one ID dataset; nothing of what is imported."""
    backbone, dataset = experiment.backbone(names["backbone"]), experiment.id_dataset(names["id_dataset"])
    sets = {d.name: d for d in (dataset, *(ood for _, ood in dataset.pairs())) if not d.imported}
    lists = [each.model_dump(mode="json", by_alias=True) for each in experiment.wanted_lists() if not each.imported]
    texts = [*([] if dataset.imported else [dataset.text_identity]), *lists]
    return [backbone.identity, {name: d.identity for name, d in sets.items()}, texts] if sets else []


def _of(*fields: str) -> Trigger:
    return lambda experiment, **names: spec(experiment, fields, **names)


def _of_method(code: Callable[[str], str]) -> Trigger:
    return lambda experiment, **names: code(experiment.method(names["method"]).name)


def apply_code(method_name: str) -> str:
    """Return the fingerprint of the code that applies a method."""
    return registry.fit_code(method_name) + code_fingerprint("oodgrid.adapt.apply")


def score_code(experiment: Experiment) -> str:
    """Return the fingerprint of the code behind the tables of scores of an experiment: of the stage, and of its scores.

    The code of other scores is not in it. That of the stage alone, as of angles, has jobs run that compute no score.
    """
    of_scores = sorted({registry.score_code(score.name) for score in experiment.scores})
    return digest([computing_fingerprint("oodgrid.score.run"), *of_scores])[:16]


def report_code(part: str, experiment: Experiment) -> str:
    """Return the fingerprint of what makes one part of the report: code, templates, and titles and looks."""
    room = Path(__file__).parents[1] / "report"
    data = sorted(file for file in room.rglob("*") if file.suffix in (".j2", ".mplstyle", ".js", ".css"))
    texts = [file.read_text(encoding="utf-8") for file in data]
    kinds = {"method": experiment.methods, "score": experiment.scores}
    entries = [registry.find(kind, choice.name) for kind, choices in kinds.items() for choice in choices]
    texts += sorted({f"{entry.kind} {entry.name} {entry.title} {entry.look}" for entry in entries})
    shared = (
        ["oodgrid.look"] if part == "figures" else ["oodgrid.look", "oodgrid.published", "oodgrid.report.published"]
    )
    return code_fingerprint(f"oodgrid.report.{part}", *shared) + digest(texts)[:16]


def _settings(experiment: Experiment) -> list[Any]:
    """Return what the config says of the settings that tables and page name."""
    of_sets = [
        [each.name, each.templates, each.text, each.classnames, each.leaky_selection_on_test, bool(each.imported)]
        for each in experiment.id_datasets
    ]
    lists = [[each.name, each.templates] for each in experiment.wanted_lists()]
    backbones = [
        [each.name, each.precision, each.preprocessing, each.conse and each.conse.template]
        for each in experiment.backbones
    ]
    return [of_sets, lists, backbones, experiment.score_precision]


def _choice(choice: Choice) -> list[Any]:
    return [choice.name, choice.params]


def _method(experiment: Experiment, names: Mapping[str, str]) -> str | list[Any]:
    return ANY if names["method"] == ANY else _choice(experiment.method(names["method"]))


# What a trigger may take of an experiment, given the names in a job.
PARTS: dict[str, Callable[[Experiment, Mapping[str, str]], Any]] = {
    "method": _method,
    "fits": lambda experiment, names: [[fit.shots, fit.seed] for fit in grid.fits(experiment, names["method"])],
    "sets": lambda experiment, names: [ood.name for _, ood in experiment.id_dataset(names["id_dataset"]).pairs()],
    "scores": lambda experiment, names: [_choice(score) for score in experiment.scores],
    "temperatures": lambda experiment, names: experiment.temperatures,
    "grades": lambda experiment, names: experiment.grades and experiment.grades.model_dump(),
    "estimate": lambda experiment, names: experiment.estimate,
    "precision": lambda experiment, names: experiment.score_precision,
    "encoded": _encoded_identities,
    "pairs": lambda experiment, names: [
        [dataset.name, kind, ood.name] for dataset in experiment.id_datasets for kind, ood in dataset.pairs()
    ],
    "overlaps": lambda experiment, names: experiment.overlaps(),
    "spread": lambda experiment, names: experiment.report.spread,
    "curves": lambda experiment, names: experiment.report.model_dump()["curves"],
    "settings": lambda experiment, names: _settings(experiment),
    "published": lambda experiment, names: catalogue.file_sha256(PUBLISHED),
    "recalls": lambda experiment, names: [*map(str, experiment.recalls), *(f"first@{n}" for n in experiment.firsts)],
}

# By rule: what is compared, by the name of the param. Encoding goes by its version alone, never by its code, for it
# takes hours; the config's own changes to it are refused (`plan.checks`), and its results are shared by experiments.
TRIGGERS: dict[str, dict[str, Trigger]] = {
    "encode": {"version": lambda experiment, **names: ENCODE_VERSION},
    "fit": {"spec": _of("method", "fits"), "code": _of_method(registry.fit_code)},
    "apply": {"spec": _of("method", "sets"), "code": _of_method(apply_code)},
    "score": {
        "spec": _of("method", "sets", "fits", "scores", "temperatures", "precision", "encoded"),
        "code": lambda experiment, **names: score_code(experiment),
    },
    "evaluate": {
        "spec": _of("pairs", "overlaps", "scores", "temperatures", "recalls", "grades", "estimate"),
        "code": lambda experiment, **names: computing_fingerprint("oodgrid.evaluate"),
    },
    "tables": {
        "spec": _of("spread", "published", "settings"),
        "code": lambda experiment, **names: report_code("tables", experiment),
    },
    "draw": {
        "spec": _of("curves", "temperatures", "grades", "estimate"),
        "code": lambda experiment, **names: report_code("figures", experiment),
    },
    "page": {
        "spec": _of("spread", "published", "settings"),
        "code": lambda experiment, **names: report_code("page", experiment),
    },
}
