"""Pseudo-OOD texts of the few-shot draws of an experiment, through a backbone, into one file for each recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import backbones, store
from oodgrid.backbones import LoadedBackbone
from oodgrid.backbones.tokens import cut_rows, places_of
from oodgrid.config import Backbone, Experiment, IdDataset, PseudoOod
from oodgrid.counts import counted
from oodgrid.encode.chunks import WHOLE, Chunks
from oodgrid.encode.decode import source_sha256
from oodgrid.encode.images import identify
from oodgrid.encode.pseudo_texts import Draw, Passed
from oodgrid.encode.sources import ImageSet, open_split
from oodgrid.encode.text_samples import encode_text_rows, tokens_of
from oodgrid.errors import OodgridError
from oodgrid.fewshot import FewShot, NoDraw
from oodgrid.identity import digest
from oodgrid.kept import Kept
from oodgrid.plan import ENCODE_VERSION, pseudo_ood_file


@dataclass
class _Made:
    """What was made of the shots of one draw: a text each, with the row of the split that it was made of."""

    shots: int
    seed: int
    rows: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def unique(self) -> list[str]:
        """Its texts, each once, in an order that is the same whatever the order of the shots."""
        return sorted(set(self.texts))


def encode_pseudo_ood(
    results: Path, experiment: Experiment, backbone: Backbone, dataset: IdDataset, recipe: PseudoOod
) -> Path:
    """Make and encode the pseudo-OOD texts of every draw of an experiment, and return the file.

    A draw gives texts of its own shots alone. What an earlier run encoded is taken from there.

    Raises:
        OodgridError: The training split is not encoded yet or has changed since, or no text could be made.
    """
    few_shot = FewShot(results, backbone.name, dataset)
    images = open_split(dataset, "train")
    draws = _made(few_shot, images, experiment, dataset, recipe)
    if not any(draw.texts for draw in draws):
        raise OodgridError(
            f"dataset {dataset.name}, pseudo_ood {recipe.name}: nothing could be made of any text: take it out, with "
            "the methods that name it"
        )
    loaded = backbones.load(backbone)
    about = {**identify(loaded, dataset, "train", images), "pseudo_ood": recipe.recipe}
    del about["texts_sha256"]  # of the whole split: a draw sees its own texts alone
    features: dict[str, np.ndarray] = {}
    parts = []
    for draw in (draw for draw in draws if draw.texts):
        part, values = _encoded(results, loaded, dataset, draw)
        parts.append(part)
        features |= {text: row for text, row in zip(draw.unique, values, strict=True) if text not in features}
    path = pseudo_ood_file(results, experiment, backbone.name, dataset.name, recipe)
    _write(path, draws, features, {**about, "parts": sorted(set(parts))})
    _say_cut(loaded, dataset, recipe, [*features])
    return path


def _made(
    few_shot: FewShot, images: ImageSet, experiment: Experiment, dataset: IdDataset, recipe: PseudoOod
) -> list[_Made]:
    """Return what is made of each draw of the experiment, in the order of shots and seeds."""
    texts = _texts_of_split(few_shot, images, dataset)
    draws = []
    for shots in sorted(set(experiment.shots)):
        for seed in sorted(set(experiment.seeds)):
            try:
                bank = few_shot.draw(shots, seed).bank
            except NoDraw:  # the fit of these shots and seed reports it
                continue
            rows = few_shot.split_rows(bank.rows)
            order = np.argsort(rows)
            of_draw = [texts[row] for row in bank.rows[order].tolist()]
            draw = Draw(of_draw, bank.labels[order].tolist(), recipe)
            draws.append(_of_draw(draw, rows[order].tolist(), _Made(shots, seed), dataset, recipe))
    return draws


def _of_draw(draw: Draw, rows: Sequence[int], made: _Made, dataset: IdDataset, recipe: PseudoOod) -> _Made:
    """Fill in what is made of one draw, and say of how many texts nothing could be, with the reasons."""
    passed: Counter[str] = Counter()
    for place, row in enumerate(rows):
        outcomes = [draw.made(place, view) for view in range(recipe.count)]
        texts = [outcome for outcome in outcomes if isinstance(outcome, str)]
        made.rows += [row] * len(texts)
        made.texts += texts
        passed.update(outcome.reason for outcome in outcomes[:1] if isinstance(outcome, Passed) and not texts)
    if passed.total():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(passed.items()))
        print(
            f"oodgrid: {dataset.name}, pseudo_ood {recipe.name}, {counted(made.shots, 'shot')}, seed {made.seed}: of "
            f"{passed.total():,} of {counted(len(rows), 'text')} none is made: {reasons}"
        )
    return made


def _texts_of_split(few_shot: FewShot, images: ImageSet, dataset: IdDataset) -> list[str]:
    """Return the texts behind the rows of the file of training features, as they were when these were encoded.

    Raises:
        OodgridError: There is no training split, or a text is another one now.
    """
    train = few_shot.train
    if train is None or images.texts is None:
        raise OodgridError(f"dataset {dataset.name} has no training split of texts: take pseudo_ood out")
    place = {path: row for row, path in enumerate(images.paths)}
    texts = []
    for path, sha256 in zip(train.paths, train.sha256, strict=True):
        text = images.texts[place[path]] if path in place else None
        if text is None or source_sha256(text.encode()) != sha256.tobytes():
            raise OodgridError(
                f"dataset {dataset.name}: {path} is not what it was when the training split was encoded: restore it, "
                "or delete the features of the training split to encode them again"
            )
        texts.append(text)
    return texts


def _encoded(results: Path, loaded: LoadedBackbone, dataset: IdDataset, draw: _Made) -> tuple[str, np.ndarray]:
    """Return the features (U, D) of the texts of a draw, and where they are kept, by what they are and nothing else."""
    texts, kept = draw.unique, Kept(results, "pseudo_ood")
    about: dict[str, Any] = {
        "encode_version": ENCODE_VERSION,
        "backbone": loaded.identity,
        "dataset": {"name": f"{dataset.name}, pseudo-OOD"},
        "split": "train",
        "texts_sha256": digest(texts),
    }

    def make(path: Path) -> None:
        samples = ImageSet(
            [f"pseudo-OOD {place}" for place in range(len(texts))], np.full(len(texts), -1, np.int32), None,
            lambda row: texts[row].encode(), lambda row: (len(texts[row].encode()), -1), texts=texts,
        )  # fmt: skip
        chunks = Chunks(results, about, loaded, samples, prepare=tokens_of(loaded))
        title = f"encode pseudo-OOD texts of {dataset.name} ({counted(draw.shots, 'shot')}, seed {draw.seed})"
        encode_text_rows(chunks, WHOLE, title)
        features = np.concatenate(list(chunks.features().blocks))
        store.write_arrays(path, {"text_features": features}, about)
        chunks.remove()

    path = kept.get(about, ".safetensors", make)
    return kept.name(path), store.read_arrays(path)[0]["text_features"]


def _write(path: Path, draws: Sequence[_Made], features: Mapping[str, np.ndarray], about: dict[str, Any]) -> None:
    texts = sorted(features)
    place = {text: number for number, text in enumerate(texts)}
    columns = (
        [draw.shots for draw in draws for _ in draw.rows],
        [draw.seed for draw in draws for _ in draw.rows],
        [row for draw in draws for row in draw.rows],
        [place[text] for draw in draws for text in draw.texts],
    )
    shots, seed, index, at = (np.asarray(values, dtype=np.int64) for values in columns)
    made = store.PseudoOodTexts(shots, seed, index, at, texts, np.stack([features[text] for text in texts]), about)
    store.write_pseudo_ood(path, made)


def _say_cut(loaded: LoadedBackbone, dataset: IdDataset, recipe: PseudoOod, texts: list[str]) -> None:
    """Say how many texts are longer than the backbone takes."""
    if rows := cut_rows(loaded, texts):
        are = counted(len(rows), "text is", "texts are")
        print(
            f"oodgrid: {dataset.name}, pseudo_ood {recipe.name}: {are} cut, being longer than the {places_of(loaded)} "
            f"tokens of {loaded.name}"
        )
