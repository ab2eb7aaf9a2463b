"""What does not fit together in pseudo-OOD texts and the methods that learn from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from oodgrid.config.pseudo_ood import pseudo_ood_name

if TYPE_CHECKING:
    from oodgrid.config.experiment import Experiment, IdDataset


def of_recipes(dataset: IdDataset) -> Iterator[str]:
    """Yield why no pseudo-OOD texts can be made of a dataset that asks for some."""
    if not dataset.pseudo_ood:
        return
    if dataset.imported:
        yield f"ID dataset {dataset.name}: pseudo_ood changes texts, and its features are imported alone: take it out"
    elif dataset.thing != "text":
        yield f"ID dataset {dataset.name}: pseudo_ood is for texts, and its samples are {dataset.thing}s: take it out"
    elif "train" not in dataset.split_names:
        yield f"ID dataset {dataset.name} has no training split to make pseudo_ood of: take it out"


def of_methods(experiment: Experiment) -> Iterator[str]:
    """Yield the methods that want texts made of the training texts where there are none, or not of that recipe."""
    for dataset in experiment.id_datasets:
        names = [recipe.name for recipe in dataset.pseudo_ood]
        for method in experiment.methods:
            wanted = pseudo_ood_name(method)
            if wanted is None or (wanted in names and dataset.thing == "text"):
                continue
            listed = f"method {method.listed('method')} learns from pseudo-OOD texts"
            if dataset.imported:
                yield (
                    f"{listed}, and the features of {dataset.name} are imported, without texts: give it texts: in "
                    "place of imported:, or list mlp_head, its head, in its place"
                )
            elif dataset.thing != "text":
                things = f"{dataset.thing}s"
                yield f"{listed}, and the samples of {dataset.name} are {things}: list mlp_head, its head, in its place"
            else:
                yield (
                    f"{listed} that ID dataset {dataset.name} does not have: write pseudo_ood: [{{name: {wanted}}}] "
                    "under it"
                )
