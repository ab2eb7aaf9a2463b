"""What makes a file anew: the parts of the configuration on which it depends, and fingerprints of code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oodgrid import grid, registry
from oodgrid.config import ANY, Backbone, Choice, Experiment, IdDataset
from oodgrid.identity import code_fingerprint, digest

ENCODE_VERSION = 3  # raise by hand when encoding itself changes its numbers: every feature file is then made again


def spec(experiment: Experiment, fields: tuple[str, ...], **names: str) -> str:
    """Return, as one JSON text, the parts of the experiment on which a job's results depend."""
    dataset = experiment.id_dataset(names["id_dataset"]) if "id_dataset" in names else None
    method = names.get("method")
    parts = {
        "method": lambda: method if method == ANY else _choice(experiment.method(method)),
        "units": lambda: [[unit.shots, unit.seed] for unit in grid.units(experiment, method)],
        "sets": lambda: [ood.name for _, ood in dataset.pairs()],
        "scores": lambda: [_choice(score) for score in experiment.scores],
        "encoded": lambda: _encoded_identities(experiment, experiment.backbone(names["backbone"]), dataset),
        "pairs": lambda: [[d.name, kind, ood.name] for d in experiment.id_datasets for kind, ood in d.pairs()],
    }
    return json.dumps({field: parts[field]() for field in fields}, sort_keys=True)


def _encoded_identities(experiment: Experiment, backbone: Backbone, dataset: IdDataset) -> list[Any]:
    """Return what the config says of all that encoding makes for one ID dataset; nothing of what is imported."""
    sets = {d.name: d for d in (dataset, *(ood for _, ood in dataset.pairs())) if not d.imported}
    lists = [each.model_dump(mode="json", by_alias=True) for each in experiment.wanted_lists() if not each.imported]
    texts = [*([] if dataset.imported else [dataset.text_identity]), *lists]
    return [backbone.identity, {name: d.identity for name, d in sets.items()}, texts] if sets else []


def apply_code(method: str) -> str:
    """Return the fingerprint of the code that applies a method."""
    return registry.fit_code(method) + code_fingerprint("oodgrid.adapt.apply")


def score_code(experiment: Experiment) -> str:
    """Return the fingerprint of the code that decides the scores of an experiment; of other scores it knows nothing."""
    return digest(sorted({registry.score_code(score.name) for score in experiment.scores}))[:16]


def report_code(part: str) -> str:
    """Return the fingerprint of the code and the templates behind one part of the report."""
    room = Path(__file__).parents[1] / "report"
    data = sorted(file for file in room.rglob("*") if file.suffix in (".j2", ".mplstyle"))
    return code_fingerprint(f"oodgrid.report.{part}") + digest([file.read_text(encoding="utf-8") for file in data])[:16]


def _choice(choice: Choice) -> list[Any]:
    return [choice.name, choice.params]
