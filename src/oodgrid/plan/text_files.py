"""Which text files an experiment adds up to: of classes and label lists, as far as fits and scores read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oodgrid import foreseen, registry
from oodgrid.config import Choice, Experiment, IdDataset, LabelList
from oodgrid.texts import CLASSES, SOURCES, TextSource


@dataclass(frozen=True)
class TextFile:
    """A text file, as the configuration means it.

    Attributes:
        path: Where it lies.
        source: Of what kind it is.
        entry: Whose texts it holds.
    """

    path: Path
    source: TextSource
    entry: IdDataset | LabelList

    @property
    def is_encoded(self) -> bool:
        """Whether encoding makes it, rather than an import."""
        return not self.entry.imported or self.source.of_backbone


def text_files(
    results: Path, experiment: Experiment, backbone: str, method: str | None = None, *,
    scores: bool = True, fits: bool = True,
) -> list[TextFile]:  # fmt: skip
    """Return the text files that fits read, and for which scores of a method (default: of any) may ask.

    Of the classes of an imported dataset there are those that the import brought, and no others. What no score asks for
    that may have a row is not among them.
    """
    used = {
        dataset.name: foreseen.used_anywhere(experiment, backbone, [dataset], method) if scores else []
        for dataset in experiment.id_datasets
    }
    files = [
        TextFile(source.path(results, backbone, entry.name), source, entry)
        for source in SOURCES
        for entry in _asked(source, experiment, backbone, used, fits)
        if source.imports or not entry.imported
    ]
    return [file for file in files if not (file.entry.imported and file.source is CLASSES) or file.path.exists()]


def _asked(
    source: TextSource, experiment: Experiment, backbone: str, used: Mapping[str, Sequence[Choice]], fits: bool
) -> Sequence[IdDataset | LabelList]:
    """Return the entries of whose texts of a kind there are readers, given the scores that are used by ID set."""
    if source.of == "label_list":
        names = {score.listed("score") for scores in used.values() for score in scores}
        return experiment.wanted_lists([score for score in experiment.scores if score.listed("score") in names])
    needs = {name: {need for score in scores for need in _needs(score)} for name, scores in used.items()}
    always = not source.need or (fits and source is CLASSES)
    return [each for each in _standing(source, experiment, backbone) if always or source.need in needs[each.name]]


def _needs(score: Choice) -> tuple[str, ...]:
    return registry.find("score", score.name).needs


def _entries(source: TextSource, experiment: Experiment, backbone: str) -> Sequence[IdDataset | LabelList]:
    """Return the entries of the configuration of which there may be texts of a kind."""
    return experiment.wanted_lists() if source.of == "label_list" else _standing(source, experiment, backbone)


def _standing(source: TextSource, experiment: Experiment, backbone: str) -> list[IdDataset]:
    """Return the ID datasets for whose classes texts of a kind, or a head, stand."""
    return [dataset for dataset in experiment.id_datasets if dataset.text_under(backbone) == source.stands]


def encoded_texts(experiment: Experiment, source: TextSource = CLASSES) -> list[str]:
    """Return the names of the ID datasets, or label lists, whose texts of a kind encoding can make."""
    names = (
        entry.name
        for backbone in experiment.backbones
        for entry in _entries(source, experiment, backbone.name)
        if not entry.imported or source.of_backbone
    )
    return list(dict.fromkeys(names))
