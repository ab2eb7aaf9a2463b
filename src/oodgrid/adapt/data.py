"""What a fit may see, read from files: the few-shot set, its views and local features, and the text side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from oodgrid import paths, store, text_tower
from oodgrid.adapt.contract import Arrays, FitData, Outliers, PseudoTexts, Skip, TextSide, class_means, text_prototypes
from oodgrid.config import Backbone, IdDataset
from oodgrid.errors import OodgridError
from oodgrid.fewshot import Drawn, FewShot, NoDraw, Rows
from oodgrid.grid import Fit
from oodgrid.identity import digest
from oodgrid.texts import HEAD


@dataclass(frozen=True)
class FitFiles:
    """The files from which one method of one (backbone, ID dataset) learns: train, val and text, never test.

    Attributes:
        results: The results folder.
        backbone: The backbone.
        dataset: The ID dataset.
        family: The family of augmented views that the method takes, or None.
        views_file: The file of these views, or None.
        local: Whether the method takes local features.
        pseudo_ood_file: The file of pseudo-OOD texts that the method learns from, or None.
        outlier_files: The training splits of OOD sets that the method learns from; none where it needs no outliers.
    """

    results: Path
    backbone: Backbone
    dataset: IdDataset
    family: str | None = None
    views_file: Path | None = None
    local: bool = False
    outlier_files: tuple[Path, ...] = ()
    pseudo_ood_file: Path | None = None

    @cached_property
    def few_shot(self) -> FewShot:
        """The splits with labels, and the draws of them."""
        return FewShot(self.results, self.backbone.name, self.dataset)

    @cached_property
    def texts(self) -> store.Texts | None:
        """The texts of the classes, or None where visual prototypes replace them or an import brought none."""
        path = paths.texts(self.results, self.backbone.name, self.dataset.name)
        if self.dataset.text_under(self.backbone.name) != "classnames" or (self.dataset.imported and not path.exists()):
            return None
        return store.read_texts(path)

    @cached_property
    def head(self) -> store.Texts | None:
        """The outputs of the backbone's own head for the classes, or None where something else stands for them."""
        if self.dataset.text_under(self.backbone.name) != HEAD.stands:
            return None
        return store.read_texts(HEAD.path(self.results, self.backbone.name, self.dataset.name))

    @cached_property
    def views(self) -> store.Views | None:
        """The augmented views of the training images, in their file; None where the method takes none."""
        return None if self.views_file is None else store.read_views(self.views_file, self.local)

    def identity(self, fit: Fit) -> dict[str, str | None]:
        """Return digests of what a fit learns from: splits and texts; its views are apart."""
        parts = {"texts": self.texts, "head": self.head, "test": self.few_shot.leaked}
        return {
            **self.few_shot.digests(fit.shots, fit.seed),
            **{name: part.digest for name, part in parts.items() if part},
        }

    @cached_property
    def outliers(self) -> dict[str, store.Features]:
        """The training splits of OOD sets of pairs, by name.

        Raises:
            OodgridError: One is missing, or its features are of another width.
        """
        files = sorted(self.outlier_files, key=lambda file: file.parent.name)  # their order in the config says nothing
        read = {file.parent.name: store.read_features(file) for file in files}
        return {name: features for name, features in read.items() if features.text_features is not None}

    def outliers_identity(self) -> dict[str, str]:
        """Return digests of the labelled OOD pairs that a fit learns from, by set; none for methods without them."""
        return {name: features.digest for name, features in self.outliers.items()}

    def views_identity(self, fit: Fit) -> list[str]:
        """Return digests of the views that a fit learns from; none for methods without views."""
        if self.views is None:
            return []
        rows = self.draw(fit.shots, fit.seed).bank.rows
        views, places = self._drawn_views(rows)
        parts = [views.image_features.of(places), *([self._local(rows)] if self.local else [])]
        return [part.checksum() for part in parts]

    def draw(self, shots: int, seed: int) -> Drawn:
        """Return the shots and the validation images of a fit.

        Raises:
            Skip: There is no training split, or an import holds no such draw.
        """
        try:
            return self.few_shot.draw(shots, seed)
        except NoDraw as none:
            raise Skip(str(none)) from None

    def data(self, fit: Fit) -> FitData:
        """Return all that one fit may see.

        Raises:
            Skip: As `draw`, or a class without a shot where class means stand in for texts.
            OodgridError: Labels or dimensions do not fit each other.
        """
        self._check_widths()
        drawn = self.draw(fit.shots, fit.seed)
        train, val = drawn.bank, self.few_shot.selection(drawn)
        normalised = bool(train.of and train.of.normalised)
        return FitData(
            self.text_side(train), self._classes(), train.features, train.labels, val.features,
            val.labels, fit.shots, fit.seed, normalised, self._of_views(train.rows),
            self._local(train.rows) if self.local else None, self._head(), train.text_features, self._outliers(),
            pseudo_ood=self._pseudo_ood(fit, train.rows),
        )  # fmt: skip

    @cached_property
    def pseudo_ood(self) -> store.PseudoOodTexts | None:
        """The pseudo-OOD texts of all draws, in their file; None where the method takes none."""
        return None if self.pseudo_ood_file is None else store.read_pseudo_ood(self.pseudo_ood_file)

    def pseudo_ood_identity(self, fit: Fit) -> str:
        """Return a digest of the pseudo-OOD texts that a fit learns from."""
        made = self.pseudo_ood and self.pseudo_ood.of(fit.shots, fit.seed)
        return digest([store.checksum(array) for array in made or ()])

    def _pseudo_ood(self, fit: Fit, rows: np.ndarray) -> PseudoTexts | None:
        """Return what was made of the shots, which are some rows of the feature file.

        Raises:
            Skip: Of none of them anything was.
            OodgridError: It was made of other samples.
        """
        if self.pseudo_ood is None:
            return None
        index, features = self.pseudo_ood.of(fit.shots, fit.seed)
        of_split = self.few_shot.split_rows(rows)
        if not len(index):
            raise Skip(f"of no training text of {self.dataset.name} a pseudo-OOD text could be made")
        order = np.argsort(of_split)
        place = np.searchsorted(of_split[order], index).clip(max=len(order) - 1)
        if not np.array_equal(of_split[order][place], index):
            raise OodgridError(
                f"{self.pseudo_ood_file} is made of other texts than are drawn: delete it, and the next run makes "
                "it again"
            )
        return PseudoTexts(order[place], features)

    def _outliers(self) -> tuple[Outliers, ...]:
        return tuple(
            Outliers(name, pairs.image_features, pairs.text_features)
            for name, pairs in self.outliers.items()
            if pairs.text_features is not None
        )

    def _local(self, rows: np.ndarray) -> store.StoredRows:
        """Return the local features of some training rows, (n, V, P, D), unread; V = 1 where the method takes no views.

        Raises:
            Skip: There are none.
            OodgridError: As `_drawn_views`.
        """
        if self.family is not None:
            views, places = self._drawn_views(rows)
            if views.local_features is None:
                raise Skip(
                    f"the {self.family} views of {self.dataset.name} have no local features: write local_features: "
                    "true under views and for the backbone"
                )
            return views.local_features.of(places)
        local = store.open_local_rows(self.few_shot.file("train"), rows)
        if local is None:
            raise Skip(
                f"{self.backbone.name} gives no local features of {self.dataset.name}: write local_features: true for "
                "the backbone"
            )
        return local.as_one_view()

    def _head(self) -> Arrays | None:
        """Return weights (K, D) and bias (K,) of the backbone's own head, where it stands for the classes."""
        if self.head is None or self.head.bias is None:
            return None
        return {"weights": self.head.text_features[0], "bias": self.head.bias}

    def _of_views(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the views of some training rows, shape (n, V, D); None where the method takes none."""
        if self.family is None:
            return None
        views, places = self._drawn_views(rows)
        return views.image_features[places]

    def _drawn_views(self, rows: np.ndarray) -> tuple[store.Views, np.ndarray]:
        """Return the views, and the places in them of some training rows, shape (n,).

        Raises:
            Skip: The features are imported: there are no images to take views of.
            OodgridError: The file lacks some of them.
        """
        if self.views is None:
            raise Skip(f"the features of {self.dataset.name} are imported: there are no views of their images")
        rows = self.few_shot.split_rows(rows)
        if not np.isin(rows, self.views.index).all():
            raise OodgridError(
                f"the {self.family} views of {self.dataset.name} lack some of the images drawn: run snakemake, or "
                f"oodgrid encode views --dataset {self.dataset.name}"
            )
        return self.views, np.searchsorted(self.views.index, rows)  # the index rises

    def text_side(self, shots: Rows | None = None) -> TextSide:
        """Return the text side; where visual prototypes replace texts, they are the class means of the shots."""
        if self.texts:
            embeddings = self.texts.text_features
            return TextSide(text_prototypes(embeddings), self.texts.classnames, lambda: self._tower, embeddings)
        prototypes = np.empty((0, 0), np.float32)
        stand_in = self.dataset.text_under(self.backbone.name) == "visual_prototypes"
        if stand_in and shots and (classes := self._classes()):  # captions may be of none
            prototypes = class_means(shots.features, shots.labels, classes)
        return TextSide(prototypes, (), lambda: self._tower)

    @cached_property
    def _tower(self) -> text_tower.TextTower:
        """The text tower, loaded at most once for all fits.

        Raises:
            OodgridError: Its weights are not those that encoded the texts.
        """
        was = self.texts.provenance.get("backbone", {}) if self.texts else {}
        return text_tower.that_encoded(self.dataset.name, was.get("weights_sha256"), self.backbone)

    def _classes(self) -> int:
        return self.few_shot.classes or 0

    def _check_widths(self) -> None:
        splits = {"train": self.few_shot.train, "val": self.few_shot.val}
        splits |= self.outliers
        widths = {name: split.image_features.shape[1] for name, split in splits.items() if split}
        if self.pseudo_ood:
            widths["pseudo_ood"] = self.pseudo_ood.text_features.shape[1]
        if self.texts:
            widths["text"] = self.texts.text_features.shape[2]
        if self.head:
            widths["head"] = self.head.text_features.shape[2]
        if len(set(widths.values())) > 1:
            listed = ", ".join(f"{name} {width}" for name, width in widths.items())
            raise OodgridError(
                f"the features of {self.dataset.name} differ in dimensions ({listed}): "
                "they come from different backbones; import or encode them again under one"
            )
