"""The detector: features or images in, for each a class, a score and whether it is out-of-distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodgrid import backbones, edge, manifests, registry, store, text_tower
from oodgrid.adapt.apply import applied
from oodgrid.adapt.contract import Classifier, Diverged, TextSide
from oodgrid.backbones import LoadedBackbone
from oodgrid.cache import of_images
from oodgrid.config import ANY, Backbone, Choice, build
from oodgrid.counts import counted
from oodgrid.detector import encoders, threshold
from oodgrid.edge import Shapes
from oodgrid.errors import OodgridError, lacking
from oodgrid.manifests import DetectorRecord
from oodgrid.score.compute import Column, fill, needed
from oodgrid.score.contract import Bank, Head, TextList
from oodgrid.score.references import References
from oodgrid.score.texts import Texts

if TYPE_CHECKING:
    import polars as pl

    from oodgrid.encode.sources import ImageSet


@contextmanager
def _naming_extras() -> Iterator[None]:
    """Say in one line which extra of the package is missing, where one is."""
    try:
        yield
    except ModuleNotFoundError as error:
        if line := lacking(error):
            raise OodgridError(line) from None
        raise


class Scored(NamedTuple):
    """What a detector says of N samples.

    Attributes:
        scores: Shape (N,), float64, higher = more in-distribution.
        predictions: Shape (N,), the class of the largest logit; None where the detector has no classes.
    """

    scores: np.ndarray
    predictions: np.ndarray | None


class Detector:
    """One fitted method with one score and a threshold.

    Attributes:
        record: What it is and where it comes from.
        arrays: What method and score need, by name: `head.weights`, `bank.features`, `learned.keys`, …, and
            `validation`, the scores of the images that chose the threshold.
    """

    def __init__(
        self,
        record: DetectorRecord,
        arrays: dict[str, np.ndarray],
        lacking: Callable[[str], str] = lambda need: "which the detector does not hold",
    ) -> None:
        """Put it together; `lacking` says of what a score needs why it is not there."""
        self.record, self.arrays, self._lacking = record, arrays, lacking

    # ------------------------------------------------------------------------------------------- taken away

    @classmethod
    def load(cls, path: str | PathLike[str], weights: str | PathLike[str] | None = None) -> Detector:
        """Read a detector that `save` or `oodgrid export detector` wrote.

        Args:
            path: The file.
            weights: The file of the backbone's weights, where it lies elsewhere than when the detector was made.

        Raises:
            OodgridError: The file is missing, damaged or no detector, or is of a method or score that is not here.
        """
        file = edge.path(path, "a detector")
        arrays, metadata = store.read_arrays(file)
        record = manifests.checked(file, metadata, DetectorRecord)
        registry.find("score", record.base_score)
        if record.base_method != ANY:
            registry.find("method", record.base_method)
        if weights is not None:
            record = record.model_copy(update={"backbone": {**record.backbone, "pretrained": str(weights)}})
        return cls(record, arrays)

    def save(self, path: str | PathLike[str], force: bool = False) -> Path:
        """Write it as one file: safetensors with JSON in it, nothing that could run; return the file.

        Raises:
            OodgridError: The name has another suffix, something stands there, or method or score are a plugin's, whose
                code no file holds.
        """
        file, record = edge.path(path, "a detector"), self.record
        entries = [("score", record.base_score), ("method", record.base_method)]
        for kind, name in entries:
            if name != ANY and registry.find(kind, name).plugin:
                raise OodgridError(
                    f"{kind} {name} is a plugin's, whose code an exported detector cannot hold: use detect"
                )
        if file.suffix != ".safetensors":
            raise OodgridError(f"{file} is no name of a detector: it is one file, NAME.safetensors")
        if file.is_dir() or (file.exists() and not force):
            raise OodgridError(f"{file} is there already: choose another name, or add --force (force=True)")
        manifests.write_arrays(file, self.arrays, record)
        return file

    def keeping(self, keep: float) -> Detector:
        """Return the same detector with the threshold that keeps another share of ID images.

        Raises:
            OodgridError: It is no share.
        """
        chosen = threshold.choose(self.arrays["validation"], keep, self.record.threshold.chosen_on)
        return Detector(self.record.model_copy(update={"threshold": chosen}), self.arrays, self._lacking)

    # ------------------------------------------------------------------------------------------------ answers

    @property
    def threshold(self) -> float:
        """Scores below it are out-of-distribution."""
        return self.record.threshold.value

    @property
    def classnames(self) -> list[str] | None:
        """Names of the classes, in the order of their labels; None where there are none."""
        return self.record.classnames

    @property
    def wants_local(self) -> bool:
        """Whether it looks at the patches of an image too."""
        of_score = (
            "local_logits" in needed([self._choice]) and self.record.leaves == "prototypes" and self.record.normalises
        )
        return of_score or self._method_looks_at_patches

    def score(self, features: Any, local_features: Any = None) -> np.ndarray:
        """Return the score of samples, shape (N,), float64, higher = more in-distribution.

        Args:
            features: Shape (N, D), as `oodgrid encode` caches them: not normalised; or a feature file, read or by its
                path.
            local_features: Shape (N, P, D), where the detector looks at patches; not needed beside the path of a file
                that has them.

        Raises:
            OodgridError: They are no such arrays, or the score cannot be computed; the line says why.
        """
        return self.scored(features, local_features).scores

    def scored(self, features: Any, local_features: Any = None) -> Scored:
        """Return score and predicted class of samples; see `score`."""
        shapes = Shapes(f"detector {self.record.method} + {self.record.score}")
        file = Path(features) if isinstance(features, str | PathLike) else None
        if file is not None:
            encoders.check_file(self.record, file)
        values = shapes.features("features", of_images(features), "ND")
        if values.shape[1] != self.record.width:
            raise OodgridError(
                f"{shapes.what}: features: shape {values.shape} where (N, {self.record.width}) is needed, as of "
                f"{self.record.id_dataset}: encode with the same backbone"
            )
        if not self.wants_local:
            return self._scored(values, None)
        if local_features is not None:
            return self._scored(values, [(0, shapes.features("local_features", local_features, "NpD"))])
        if file is None or "local_features" not in store.array_shapes(file):
            raise OodgridError(f"{shapes.what}: it looks at patches: give local_features, shape (N, P, D)")
        blocks = store.read_local_features(file)  # never all of them in memory
        return self._scored(values, ((row, Shapes(shapes.what).features("local_features", block, "NPD"))
                                     for row, block in blocks))  # fmt: skip

    def predict(self, images: Any) -> pl.DataFrame:
        """Return for each image its path, class, score and whether it is out-of-distribution.

        Args:
            images: Paths of image files, folders, archives or lists of images; or pictures: Pillow's, or pixels
                (H, W) or (H, W, 3), uint8.

        Returns:
            One row an image: `path`, `prediction` (label), `class` (its name), `score`, `is_ood`, `threshold`, and the
            `reason` where an image could not be read, whose other columns are null.

        Raises:
            OodgridError: A place is not there or holds no image, the backbone is another than was used, or torch is not
                installed.
        """
        from oodgrid.encode.sources.unseen import open_images

        return self.predict_set(open_images(images))

    def predict_set(self, images: ImageSet) -> pl.DataFrame:
        """Return the same of images that are open already."""
        import polars as pl

        scores = np.full(len(images), np.nan)
        predictions = np.full(len(images), -1, dtype=np.int32)
        reasons: list[str | None] = [None] * len(images)
        for rows, scored, broken in self._by_chunks(images):
            if scored is not None:
                scores[rows] = scored.scores
                predictions[rows] = -1 if scored.predictions is None else scored.predictions
            for row, reason in broken.items():
                reasons[row] = reason
        names = self.record.classnames or []
        label = pl.Series(predictions, dtype=pl.Int32)
        classes = [names[each] if 0 <= each < len(names) else None for each in predictions.tolist()]
        table = pl.DataFrame({"path": store.frames.texts(images.paths), "prediction": label, "class": classes,
                              "score": scores, "reason": reasons},
                             schema_overrides={"class": pl.String, "reason": pl.String})  # fmt: skip
        return table.select(
            "path",
            pl.when(pl.col("prediction") >= 0).then("prediction"),
            "class",
            pl.col("score").fill_nan(None),
            is_ood=pl.col("score").fill_nan(None) < self.threshold,
            threshold=pl.lit(self.threshold),
            reason="reason",
        )

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return what it is, for people: what was fitted, how the threshold was chosen, what must be known."""
        record, chosen, where = self.record, self.record.threshold, self.record.backbone["name"]
        fit = f", {counted(record.shots, 'shot')}, seed {record.seed}" if record.shots else ""
        low, high = (100 * share for share in chosen.expected)
        return [
            f"{record.method} + {record.score}{fit} ({record.id_dataset} on {where}; {record.chosen})",
            f"OOD below {chosen.value:.6g}, which keeps {100 * chosen.kept:.1f} % of {chosen.images} ID images "
            f"({chosen.chosen_on}; of all ID images {low:.1f} to {high:.1f} %)",
            *record.remarks,
        ]

    # --------------------------------------------------------------------------------------------------- parts

    def _scored(self, features: np.ndarray, patches: Iterable[tuple[int, np.ndarray]] | None) -> Scored:
        """Return score and class of samples, as the stages apply and score compute them, patches in blocks."""
        record, logits = self.record, None
        try:
            if record.leaves != "prototypes":
                left = applied(self._classifier, record.leaves, features, patches)
                features, logits = left.get("features", features), left.get("logits")
        except Diverged as error:
            raise OodgridError(f"method {record.method}: {error}") from None
        column = Column(self._choice, self._lacking, self._references.texts.lists)
        name = f"detector {record.method}"
        head = self._references.head
        if record.leaves == "prototypes" and patches is not None and head is not None:
            predictions = fill([column], self._references.local_blocks(name, features, patches, head, column.needs))
        else:
            predictions = fill([column], self._references.blocks(name, features, logits, column.needs))
        if column.skipped:
            raise OodgridError(f"score {record.score} under {record.method}: {column.skipped}")
        return Scored(column.values(), predictions)

    def _by_chunks(self, images: ImageSet) -> Iterator[tuple[np.ndarray, Scored | None, dict[int, str]]]:
        """Yield rows, what is said of them, and the reasons of the broken rows among the images of a chunk."""
        from oodgrid.encode.unseen import encode_unseen

        options = {"local": self.wants_local, "upright": self.record.exif_rotation}
        for start, chunk in encode_unseen(self._loaded, images, **options):
            rows = start + np.flatnonzero(chunk.usable)
            broken = start + np.flatnonzero(~chunk.usable)
            local = None if chunk.local_features is None else [(0, chunk.local_features[chunk.usable])]
            scored = self._scored(chunk.image_features[chunk.usable], local) if len(rows) else None
            yield rows, scored, {int(row): reason for row, (_, reason) in zip(broken, chunk.skipped, strict=True)}

    @cached_property
    def _choice(self) -> Choice:
        return Choice(name=self.record.base_score, **self.record.score_params)

    @cached_property
    def _method_looks_at_patches(self) -> bool:
        if self.record.leaves != "logits":
            return False
        return "local_features" in registry.find("method", self.record.base_method).needs

    @cached_property
    def _references(self) -> References:
        arrays, record, head = self.arrays, self.record, None
        if "head.weights" in arrays:
            head = Head(arrays["head.weights"], arrays["head.bias"], record.precision)
        banks = {
            need: Bank(arrays[f"{need}.features"], arrays[f"{need}.labels"], shots,
                       arrays.get(f"{need}.logits"), head, record.precision)
            for need, shots in record.bank_shots.items() if f"{need}.features" in arrays
        }  # fmt: skip
        by_need = {name.removeprefix("texts."): value for name, value in arrays.items() if name.startswith("texts.")}
        lists = {
            name: TextList(arrays[f"list.{name}"], words.names, words.kinds, arrays.get(f"templates.{name}"))
            for name, words in record.lists.items()
        }
        return References(head, arrays.get("negatives"), banks, Texts(by_need, lists, {}), record.text_cosines,
                          record.normalises)  # fmt: skip

    @cached_property
    def _classifier(self) -> Classifier:
        """What the method makes of features, where it leaves more than prototypes."""
        name = self.record.base_method
        params = registry.check_params("method", name, self.record.method_params)
        method = registry.find("method", name).make(**params)
        learned = {
            name.removeprefix("learned."): value for name, value in self.arrays.items() if name.startswith("learned.")
        }
        prototypes = self.arrays.get("text.prototypes", np.empty((0, 0), np.float32))
        text = TextSide(prototypes, self.record.classnames or (), lambda: self._tower)
        with _naming_extras():
            return method.classifier(learned, text)

    @cached_property
    def _tower(self) -> text_tower.TextTower:
        tower = text_tower.load(self._backbone)
        encoders.check_loaded(self.record, tower.loaded)
        return tower

    @property
    def _backbone(self) -> Backbone:
        return build(Backbone, **self.record.backbone)

    @cached_property
    def _loaded(self) -> LoadedBackbone:
        with _naming_extras():
            loaded = backbones.load(self._backbone)
        if self.wants_local:
            from oodgrid.encode.local_features import check_local_features

            check_local_features(loaded.name, loaded.model)
        encoders.check_loaded(self.record, loaded)
        return loaded
