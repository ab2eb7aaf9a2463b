"""The verb that fine-tunes an encoder."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodgrid.cli.common import experiment_of, say
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    from oodgrid.config import Backbone, Dataset

LONGEST = 60  # characters of the name that is proposed
EXAMPLE = """\
oodgrid finetune text encoders/minilm-clinc --config experiments/text-ood.yaml --dataset clinc150 --epochs 3 --shots 16
      (then as a backbone: {name: minilm-clinc, model: transformers, pretrained: encoders/minilm-clinc})"""
RECIPE = {
    "epochs": (int, "default: 10; 0 leaves the encoder as it is"),
    "lr": (float, "default: 1e-5, falling to 0"),
    "batch": (int, "texts a step; default: 4"),
    "weight-decay": (float, "default: 0.01"),
    "cross-entropy": (float, "its weight; default: 1"),
    "contrast": (float, "weight of the supervised contrastive loss; default: 2"),
    "tau": (float, "its temperature; default: 0.3"),
}


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add what `finetune text` takes."""
    verb.add_argument("out", type=Path, metavar="FOLDER", help="the new encoder; must not be there")
    verb.add_argument("--backbone", help="which encoder; default: that of the experiment, where it has one")
    verb.add_argument("--dataset", help="of whose training texts; default: the experiment's, where it has one")
    verb.add_argument("--shots", type=int, metavar="N", help="texts a class, as methods draw them; default: all")
    verb.add_argument("--seed", type=int, default=42, help="default: 42")
    for name, (kind, what) in RECIPE.items():
        verb.add_argument(f"--{name}", type=kind, metavar="N", help=what)


def run_finetune_text(options: argparse.Namespace) -> None:
    """Fine-tune an encoder of texts on the classes of a dataset; its folder is one more backbone."""
    if options.shots is not None and options.shots < 1:
        raise OodgridError(f"--shots {options.shots}: give a number from 1 on")
    if not 0 <= options.seed < 2**63:
        raise OodgridError(f"--seed {options.seed}: give a number from 0 on")
    experiment = experiment_of(options)
    backbone: Backbone = _one(options.backbone, experiment.backbones, experiment.backbone, "backbone")
    dataset: Dataset = _one(options.dataset, experiment.id_datasets, experiment.id_dataset, "dataset")
    from oodgrid.encode.text_finetuning import Recipe, finetune

    given = {field.name: value for field in fields(Recipe) if (value := getattr(options, field.name)) is not None}
    entry = finetune(backbone, dataset, Recipe(**given), options.out, options.shots, options.seed)
    say(options.out)
    import yaml

    words = {"name": _as_name(options.out), **entry}
    flow = yaml.safe_dump(words, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1_000_000)
    print(f"as a backbone: {flow.strip()}")


def _as_name(folder: Path) -> str:
    """Return the name of a folder as that of a backbone: what such a name may not have becomes a dash."""
    from oodgrid.config import wrong_name

    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._")[:LONGEST]
    return "finetuned" if wrong_name(name) else name


def _one(name: str | None, every: list[Any], find: Any, what: str) -> Any:
    """Return the thing of that name, or the only one."""
    if name is None and len(every) > 1:
        names = ", ".join(each.name for each in every)
        raise OodgridError(f"the experiment has several {what}s: choose one by --{what}, of {names}")
    return find(name) if name is not None else every[0]
