"""Reading what a fit may see, and drawing its shots."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from oodgrid import paths, store
from oodgrid.adapt import text_tower
from oodgrid.adapt.contract import FitData, Skip, TextSide, class_means, text_prototypes
from oodgrid.config import Backbone, IdDataset
from oodgrid.errors import OodgridError
from oodgrid.fewshot import Drawn, FewShot, NoDraw
from oodgrid.grid import Fit


@dataclass(frozen=True)
class FitFiles:
    """The files from which one method of one (backbone, ID dataset) learns: train, val and text, never test.

    Attributes:
        results: The results folder.
        backbone: The backbone.
        dataset: The ID dataset.
        family: Of the augmented views that the method takes, or None.
        views_file: Where these views lie, or None.
        local: Whether the method takes local features.
    """

    results: Path
    backbone: Backbone
    dataset: IdDataset
    family: str | None = None
    views_file: Path | None = None
    local: bool = False

    @cached_property
    def few_shot(self) -> FewShot:
        """The splits with labels, and the draws of them."""
        return FewShot(self.results, self.backbone.name, self.dataset)

    @cached_property
    def texts(self) -> store.Texts | None:
        """The text side, or None where visual prototypes stand in or an import brought none."""
        path = paths.texts(self.results, self.backbone.name, self.dataset.name)
        wanted = self.dataset.text == "classnames"
        return store.read_texts(path) if wanted and (path.exists() or not self.dataset.imported) else None

    @cached_property
    def views(self) -> store.Views | None:
        """The augmented views of the training images, or None where the method takes none."""
        return None if self.views_file is None else store.read_views(self.views_file)

    @property
    def identity(self) -> dict[str, str | None]:
        """Digests of all that these files hold, but for the views: a file of these is of all draws."""
        parts = {"texts": self.texts, "test": self.few_shot.leaked}
        return {**self.few_shot.digests, **{name: part.digest for name, part in parts.items() if part}}

    def views_identity(self, fit: Fit) -> list[str]:
        """Return digests of the views that a fit learns from; none where it learns from none."""
        if self.views is None:
            return []
        rows = self.draw(fit.shots, fit.seed).bank.rows
        local = self._local(rows) if self.local else None
        return [store.checksum(part) for part in (self._of_views(rows), local) if part is not None]

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
            self.text_side(train.features, train.labels), self._classes(), train.features, train.labels, val.features,
            val.labels, fit.shots, fit.seed, normalised, self._of_views(train.rows),
            self._local(train.rows) if self.local else None,
        )  # fmt: skip

    def _local(self, rows: np.ndarray) -> np.ndarray:
        """Return the local features of some training rows, shape (n, V, P, D); V = 1 where the method takes no views.

        Raises:
            Skip: There are none.
        """
        if self.family is not None:
            self._of_views(rows)  # its refusals come first
            if self.views.local_features is None:
                raise Skip(
                    f"the {self.family} views of {self.dataset.name} have no local features: write local_features: "
                    "true under views and for the backbone"
                )
            return self.views.local_features[np.searchsorted(self.views.index, rows)]
        path = paths.features(self.results, self.backbone.name, self.dataset.name, "train")
        found = store.read_local_rows(path, rows)
        if found is None:
            raise Skip(
                f"{self.backbone.name} gives no local features of {self.dataset.name}: write local_features: true for "
                "the backbone"
            )
        return found[:, None]

    def _of_views(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the views of some training rows, shape (n, V, D).

        Raises:
            Skip: The features are imported: no image stands behind them.
            OodgridError: The file lacks some of them.
        """
        if self.family is None:
            return None
        if self.views is None:
            raise Skip(f"the features of {self.dataset.name} are imported: there are no views of their images")
        place = np.searchsorted(self.views.index, rows)
        if not np.isin(rows, self.views.index).all():
            raise OodgridError(
                f"the {self.family} views of {self.dataset.name} lack some of the images drawn: run snakemake, or "
                f"oodgrid encode views --dataset {self.dataset.name}"
            )
        return self.views.image_features[place]

    def text_side(self, train: np.ndarray | None = None, train_labels: np.ndarray | None = None) -> TextSide:
        """Return the text side; where visual prototypes stand in, they are made of the shots."""
        names = self.texts.classnames if self.texts else None
        embeddings = self.texts.text_features if self.texts else None
        if embeddings is not None:
            prototypes = text_prototypes(embeddings)
        elif self.dataset.text == "visual_prototypes" and train is not None and len(train):
            prototypes = class_means(train, train_labels, self._classes())
        else:
            prototypes = None
        return TextSide(prototypes, names, lambda: self._tower, embeddings)

    @cached_property
    def _tower(self) -> text_tower.TextTower:
        """The text tower, loaded at most once for all fits.

        Raises:
            OodgridError: Its weights are not those that encoded the texts.
        """
        tower = text_tower.load(self.backbone)
        was = self.texts and self.texts.provenance.get("backbone", {}).get("weights_sha256")
        is_now = tower.loaded.identity["weights_sha256"]
        if was and was != is_now:
            raise OodgridError(
                f"backbone {self.backbone.name} has weights {is_now} now but had {was} when {self.dataset.name} was "
                "encoded: restore them, or give the new ones a backbone name of their own"
            )
        return tower

    def _classes(self) -> int:
        count = self.few_shot.classes or 0
        if count == 1:
            raise OodgridError(
                f"ID dataset {self.dataset.name} has one class only: scores over classes need two or more"
            )
        return count

    def _check_widths(self) -> None:
        files = {
            "train": self.few_shot.train and self.few_shot.train.image_features,
            "val": self.few_shot.val and self.few_shot.val.image_features,
            "text": self.texts and self.texts.text_features,
        }
        widths = {name: values.shape[-1] for name, values in files.items() if values is not None}
        if len(set(widths.values())) > 1:
            found = ", ".join(f"{name} {width}" for name, width in widths.items())
            raise OodgridError(
                f"the features of {self.dataset.name} differ in dimensions ({found}): "
                "they come from different backbones; import or encode them again under one"
            )
