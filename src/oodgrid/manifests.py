"""Manifests: the one place that defines their fields, reads and writes them.

A manifest is a JSON file, the metadata of a table, or a small record that is kept. In all of them one method at one
number of shots and seed is a fit, and `fits` lists them by shots and seed, rising.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from oodgrid import paths, store
from oodgrid.errors import OodgridError, printable

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

VERSION: Final = 2  # of all manifests: raise it when a field changes, and let `_brought_up` mend what older ones say
MOST_NAMED = 3  # mistakes of one manifest in a line

KeptName = Annotated[str, Field(pattern=rf"^{paths.KEPT}(/[^/.][^/]*)+$")]  # below the results folder, which may move
Count = Annotated[int, Field(ge=0)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Fit(_Fields):
    """One method at one number of shots and seed, and how it went.

    Attributes:
        shots, seed: Both 0 for methods without shots.
        status, reason: As in metrics.parquet.
    """

    shots: Count
    seed: int
    status: Literal["ok", "skipped", "failed"]
    reason: str | None


class LearnedFit(_Fit):
    """What `adapt fit` left of one fit.

    Attributes:
        file: With what was learned; None where nothing was.
        info: For people: chosen hyper-parameters, losses, remarks.
    """

    file: KeptName | None = None
    info: dict[str, Any] = {}


class AppliedFit(_Fit):
    """What `adapt apply` left of one fit; without any file, as of `any`, features are as cached.

    Attributes:
        classifier: File with prototypes and bias.
        text_cosines: Whether the logits are cosines with texts of the backbone's own tower.
        sets: Files with changed features or logits, by dataset.
        bank: File with the changed shots.
        val: File with changed features or logits of the validation images.
    """

    classifier: KeptName | None = None
    text_cosines: bool = False
    sets: dict[str, KeptName] = {}
    bank: KeptName | None = None
    val: KeptName | None = None

    @property
    def files(self) -> list[str]:
        """The kept files that it names."""
        return [name for name in (self.classifier, self.bank, self.val, *self.sets.values()) if name is not None]


class Geometry(_Fields):
    """Mean angles between samples and the centres of classes, in degrees; None where there is nothing to average.

    Attributes:
        key: What decides them, as a digest.
        classes: Centres.
        dispersion: Between two centres.
        compactness: Of an ID sample to the centre of its class, by class first.
        id_angle: Of an ID sample to the nearest centre.
        ood_angles: Of a sample of each OOD set to the nearest centre.
    """

    key: str
    classes: Count
    dispersion: float | None = None
    compactness: float | None = None
    id_angle: float | None = None
    ood_angles: dict[str, float] = {}


class ScoredFit(_Fit):
    """One fit in a table of scores.

    Attributes:
        geometry: Of the fits of the largest shots, by the centres: "means" of the features that the method changed, and
            its "prototypes". Those of features as cached are the table's.
        no_geometry: By the same names, why there are none.
        parts: By the name of each set, or of the OOD set of each stream, what decides its scores, as a digest.
        skipped: The reasons of scores that were skipped on some set, by score.
        skipped_in: The same by set and score.
    """

    parts: dict[str, str] = {}
    skipped: dict[str, str] = {}
    skipped_in: dict[str, dict[str, str]] = {}
    geometry: dict[str, Geometry] = {}
    no_geometry: dict[str, str] = {}


class Manifest(_Fields):
    """What all manifests share.

    Attributes:
        version: Of their fields.
    """

    what: ClassVar[str] = "manifest"
    version: Literal[2] = VERSION


class Shard(Manifest):
    """One shard of some datasets is encoded."""

    what = "manifest of a shard"
    shard: str
    datasets: list[str]


class Fitted(Manifest):
    """fit.json: what a method learned, fit by fit."""

    what = "manifest of fits"
    method: str
    params: dict[str, Any]
    fits: list[LearnedFit]


class Applied(Manifest):
    """apply.json: what a method makes of every set, fit by fit.

    Attributes:
        leaves: Whether that is prototypes (nothing more), changed features or logits.
    """

    what = "manifest of applied fits"
    method: str
    leaves: Literal["prototypes", "features", "logits"]
    fits: list[AppliedFit]


class ScorePart(Manifest):
    """A kept part of a table of scores: one fit on one set or one stream."""

    what = "part of a table of scores"
    skipped: dict[str, str]


class ScoreTable(Manifest):
    """A table of scores: one method of one (backbone, ID set), with all its fits.

    Attributes:
        params: The parameters of every score, defaults too, by its variant.
        broken_images: How many a set lacks.
        precision: Of the large matrix products behind the scores.
        cached: The angles of features as cached to their class means; None in tables of streams and of sweeps.
    """

    what = "table of scores"
    fits: list[ScoredFit]
    params: dict[str, dict[str, Any]]
    broken_images: dict[str, Count] = {}
    precision: Literal["float64", "float32"] = "float64"
    cached: Geometry | None = None

    @property
    def parts(self) -> set[str]:
        """The parts of all fits."""
        return {part for fit in self.fits for part in fit.parts.values()}


class PairMetrics(Manifest):
    """The kept metrics of one fit on one pair of sets.

    Attributes:
        parts: Of what scores; names as in `ScoredFit`.
        code: The fingerprint of the code that computed them.
        metrics: Numbers by score and column.
    """

    what = "record of metrics"
    parts: list[str]
    code: str
    metrics: dict[str, dict[str, float | None]]


class Spreads(Manifest):
    """The kept sampling variances of all rows of one (backbone, ID set).

    Attributes:
        parts: Of what scores; names as in `ScoredFit`.
        code: The fingerprint of the code that computed them.
    """

    what = "table of variances"
    parts: list[str]
    code: str


class Metrics(Manifest):
    """The metadata of metrics.parquet.

    Attributes:
        overlaps: Pairs of an ID and an OOD set with classes in common.
        broken_images: Backbone, set, and how many images it lacks.
        generated: The ID sets whose images are drawn by a program.
        transductive: The variants of scores whose values depend on other samples.
    """

    what = "table of metrics"
    overlaps: list[Annotated[tuple[str, str], Strict(False)]]
    broken_images: list[Annotated[tuple[str, str, Count], Strict(False)]] = []
    transductive: list[str] = []
    generated: list[str] = []


class Summary(Metrics):
    """What summary.parquet says beside its rows: the same."""

    what = "table of means"


class Ranks(_Fields):
    """How rows rank over the ID sets, and which of them a rank test tells apart.

    Attributes:
        backbone, scope, metric: The column.
        score: Only rows of this score; None for all.
        id_datasets: How many there are.
        names: Method and score, from the best rank to the worst.
        mean_ranks: Their ranks, 1 the best, ties in the middle.
        friedman_p: Of the test that all rank alike.
        critical_difference: Of two mean ranks, by Nemenyi at 5 %.
        groups: First and last of those that lie within it of one another, as positions.
    """

    backbone: str
    scope: str
    metric: str
    score: str | None
    id_datasets: Count
    names: list[Annotated[tuple[str, str], Strict(False)]]
    mean_ranks: list[float]
    friedman_p: float
    critical_difference: float
    groups: list[Annotated[tuple[Count, Count], Strict(False)]]


class Comparisons(Manifest):
    """What comparisons.parquet says beside its rows.

    Attributes:
        ranks: Rank tests; none below ten ID sets.
    """

    what = "table of comparisons"
    ranks: list[Ranks] = []


class GeometryTable(Manifest):
    """What geometry.parquet says beside its rows: nothing but the version."""

    what = "table of angles"


class Temperatures(Manifest):
    """What temperatures.parquet says beside its rows: nothing but the version."""

    what = "table of temperatures"


class Curves(Manifest):
    """The metadata of curves.parquet: none but the version."""

    what = "table of curves"


class Digests(Manifest):
    """The SHA-256 of every file of one part of the report, and of those from which it was made."""

    what = "manifest of a report"
    files: dict[str, str]
    sources: dict[str, str]


class Answer(Manifest):
    """What a language model answered to one conversation."""

    what = "answer of a language model"
    endpoint: str
    model: str
    messages: list[dict[str, str]]
    temperature: int
    answer: str


class Threshold(_Fields):
    """Where a detector draws the line: below it, a sample is out-of-distribution.

    Attributes:
        value: Scores below it are OOD.
        keep: The share of ID images that was asked for.
        kept: The share of those that chose it which are at or above it.
        expected: The 95 % interval of that share among all ID images.
        images: How many chose it.
        chosen_on: Which they were.
    """

    value: float
    keep: float
    kept: float
    expected: Annotated[tuple[float, float], Strict(False)]
    images: Count
    chosen_on: str


class Texts(_Fields):
    """The words of a list of labels, beside their features."""

    names: list[str]
    kinds: list[str]


class DetectorRecord(Manifest):
    """What a detector says beside its arrays.

    Attributes:
        experiment, id_dataset, shots, seed: Where it comes from.
        backbone: Its entry, as a configuration has it.
        encoder: What decided the features of the experiment; None where they were imported.
        exif_rotation: Whether photographs are turned upright.
        classnames: In the order of the labels.
        method, base_method, method_params: Of the method; the first as tables list it.
        leaves: What the method makes of features: prototypes (nothing more), changed features or logits.
        text_cosines: Whether the logits are cosines with texts of the backbone's own tower.
        precision: Of the products of features with weights and with the shots.
        score, base_score, score_params: Of the score, likewise; parameters as given.
        lists: Of labels, by the names in these parameters.
        bank_shots: Images a class of the labelled samples, by need.
        width: Dimensions of the features.
        threshold: Where it draws the line.
        chosen: Who chose method and score, and by what.
        remarks: What a user must know.
        run: When and with what versions it was made.
    """

    what = "detector"
    experiment: str
    id_dataset: str
    shots: Count
    seed: int
    backbone: dict[str, Any]
    encoder: dict[str, Any] | None
    exif_rotation: bool
    classnames: list[str] | None
    method: str
    base_method: str
    method_params: dict[str, Any]
    leaves: Literal["prototypes", "features", "logits"]
    text_cosines: bool
    precision: Literal["float64", "float32"]
    score: str
    base_score: str
    score_params: dict[str, Any]
    lists: dict[str, Texts]
    bank_shots: dict[str, Count]
    width: Count
    threshold: Threshold
    chosen: str
    remarks: list[str]
    run: dict[str, str]


M = TypeVar("M", bound=Manifest)


def write(path: Path, manifest: Manifest) -> None:
    """Write a manifest as JSON."""
    store.write_json(path, _dumped(manifest))


def read(path: Path, model: type[M]) -> M:
    """Return a manifest: of a JSON file, or of a table, whose rows are not read.

    Raises:
        OodgridError: The file is missing or damaged, or says something else than `model`, naming the fields.
    """
    return checked(path, store.read_metadata(path) if path.suffix == ".parquet" else store.read_json(path), model)


def write_table(path: Path, table: pl.DataFrame, manifest: Manifest) -> None:
    """Write a table with its manifest as metadata."""
    store.write_table(path, table, _dumped(manifest))


def write_arrays(path: Path, arrays: dict[str, np.ndarray], manifest: Manifest) -> None:
    """Write arrays with their manifest as metadata."""
    store.write_arrays(path, arrays, _dumped(manifest))


def read_table(path: Path, model: type[M]) -> tuple[pl.DataFrame, M]:
    """Return a table and its manifest.

    Raises:
        OodgridError: As of `read`.
    """
    table, metadata = store.read_table(path)
    return table, checked(path, metadata, model)


@contextmanager
def open_table(path: Path, model: type[M]) -> Iterator[tuple[store.OpenTable, M]]:
    """Yield an open table, for reading parts of it, and its manifest.

    Raises:
        OodgridError: As of `read`.
    """
    with store.OpenTable(path) as table:
        yield table, checked(path, table.metadata, model)


def checked(path: Path, fields: dict[str, Any], model: type[M]) -> M:
    """Return the fields of a file as a manifest.

    Raises:
        OodgridError: It is none, or of a later version; the line names the file, the fields and the mend.
    """
    try:
        return model.model_validate(_brought_up(fields))
    except ValidationError as error:
        why = _described(error)
    if isinstance(version := fields.get("version"), int) and version > VERSION:
        why = f"it is of version {version}, which a later oodgrid wrote: update oodgrid, or let this one make it again"
    raise OodgridError(f"{path} is no {model.what}: {why}. {store.mend(path)}")


def _brought_up(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a manifest of an older version under their names of today."""
    if "version" in fields:
        return fields
    return {"fits" if name == "units" else name: value for name, value in fields.items()}  # version 1


def _dumped(manifest: Manifest) -> dict[str, Any]:
    return {"version": manifest.version, **manifest.model_dump(exclude_defaults=True)}


def _described(error: ValidationError) -> str:
    """Return the mistakes in a manifest as part of a line."""
    mistakes, lacking = [], []
    for detail in error.errors(include_url=False, include_input=False):
        name = printable(".".join(map(str, detail["loc"])), 100)
        if detail["type"] == "missing":
            lacking.append(name)
        elif detail["type"] == "extra_forbidden":
            mistakes.append(f"{name} is no field of it")
        else:
            mistakes.append(f"{name}: {detail['msg'][:1].lower()}{detail['msg'][1:]}")
    if lacking:
        mistakes.insert(0, f"it lacks {', '.join(lacking[:MOST_NAMED])}")
    return "; ".join(mistakes[:MOST_NAMED])
