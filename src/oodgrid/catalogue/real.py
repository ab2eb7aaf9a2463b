"""Datasets that lie on a user's disk, as the field knows them: how they lie there, their splits, classes and prompts.

Each is a file of `real_sets/sets`, a class list of `real_sets/classes`, and maybe a list of file names in
`real_sets/names`. Where each list is from stands in its first lines.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from oodgrid.errors import unknown

FOLDER = Path(__file__).parent / "real_sets"
Split = Literal["train", "val", "test"]
Reader = Literal["folders", "flat", "tree", "coop", "lines", "cub", "cifar", "svhn", "idx", "torchvision", "texts"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Layout(_Part):
    """One way in which a dataset lies on disk.

    Attributes:
        name: In words, for messages.
        reader: The function of `oodgrid.encode.real` that reads it.
        at: Folders below the root where it may lie, "" for the root itself.
        splits: Where each split lies, in a form that belongs to the reader.
        needs: Paths that are there where it lies so, beside those of the splits.
        file: CoOp's file of splits.
        images: Where images lie that a file names, one of several.
        labels: Files of labels, of which one is there.
        keys: "numbers" where class folders are called by the number of the class.
        dataset: The class of torchvision.
        table: Of texts, what `texts:` of a configuration would say beside their files.
    """

    name: str
    reader: Reader
    at: list[str] = Field(min_length=1)
    splits: dict[Split, str | dict[str, str]] = {}
    needs: list[str] = []
    file: str = ""
    images: list[str] = [""]
    labels: list[str] = []
    keys: Literal["names", "numbers"] = "names"
    dataset: str = ""
    table: dict[str, Any] = {}


class Archive(_Part):
    """An archive that a user may have downloaded; MD5, and bytes where they are known."""

    file: str
    md5: str
    bytes: int


class Download(_Part):
    """A file that can be fetched without asking anybody, below a folder of the root.

    Attributes:
        url: Where it is.
        to: The folder below the root.
        unpack: Whether it is an archive to unpack there.
        inner: An archive within it, to unpack too.
        gives: Folders of images below the root, of which one is there once it was unpacked, and which the set's own
            layout reads beside its other files: where one is there, the archive need not be fetched.
        md5: Of the file; or
        git_blob: the id that git gives to the file; or neither, where no checksum was published.
        bytes: Its size, where it is known.
    """

    url: str
    to: str = ""
    unpack: bool = False
    inner: str = ""
    gives: list[str] = []
    md5: str = ""
    git_blob: str = ""
    bytes: int | None = None

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.url.rpartition("/")[2]


class Refused(_Part):
    """What lies on some disks in place of the dataset and is not read, and why."""

    path: str
    why: str


class PartOfSplit(_Part):
    """A split that is a part of one of the parent's, by a list of file names."""

    of: Split
    only: str = ""
    without: str = ""


class RealSet(_Part):
    """A dataset that lies on a user's disk.

    Attributes:
        title: As tables would write it.
        paper: Who made it.
        home: Where it is described.
        use: What it is usually for.
        licence: In short; "nothing is said" where its home says nothing.
        splits: Images, or texts, of each split; None where the number is not known.
        names_sha256: Digest of a split's sorted file names, joined by line ends.
        classes: Its class list, none for sets that are OOD only.
        templates: Whose prompts it has.
        parent: The dataset of which it is a part, whose layouts it has beside its own.
        names: Splits that are parts of the parent's.
        get: What to do by hand, step by step.
        fetch: What can be fetched.
        archives: Archives that come by hand.
        refuses: What is not read.
        traps: What has gone wrong for others.
        layouts: How it may lie on disk.
    """

    title: str
    paper: str
    home: str
    use: Literal["id", "ood", "covariate"]
    licence: str
    splits: dict[Split, int | None]
    names_sha256: dict[Split, str] = {}
    classes: str | None = None
    templates: str | None = None
    parent: str | None = None
    names: dict[Split, PartOfSplit] = {}
    get: list[str] = []
    fetch: list[Download] = []
    archives: list[Archive] = []
    refuses: list[Refused] = []
    traps: list[str] = Field(min_length=1)
    layouts: list[Layout] = []


@cache
def names() -> tuple[str, ...]:
    """Return the names of all real datasets, sorted."""
    return tuple(sorted(file.stem for file in (FOLDER / "sets").glob("*.yaml")))


@cache
def real_set(name: str) -> RealSet:
    """Return the real dataset of that name.

    Raises:
        OodgridError: There is none.
    """
    if name not in names():
        raise unknown("real dataset", name, names())
    return RealSet.model_validate(_yaml(FOLDER / "sets" / f"{name}.yaml"))


@cache
def layouts(name: str) -> tuple[Layout, ...]:
    """Return how a dataset may lie on disk: its own layouts, and those of the dataset of which it is a part."""
    entry = real_set(name)
    return (*entry.layouts, *(layouts(entry.parent) if entry.parent else ()))


def holds_texts(name: str) -> bool:
    """Return whether the samples of a dataset are texts."""
    return any(layout.reader == "texts" for layout in layouts(name))


@cache
def class_keys(name: str) -> dict[str, str]:
    """Return the class names of a dataset in the order of its labels, by the folder or word that stands for them."""
    rows = _rows(real_set(name).classes)
    return {row[0]: row[1] for row in rows}


@cache
def devkit_numbers() -> dict[int, str]:
    """Return ImageNet's class folders by their numbers in the devkit of ILSVRC2012, which begin at 1."""
    return {int(row[2]): row[0] for row in _rows("imagenet")}


@cache
def prompts(name: str) -> dict[str, list[str]]:
    """Return the lists of templates that a dataset has, by who published them."""
    owner = real_set(name).templates
    return _yaml(FOLDER / "templates.yaml")[owner] if owner else {}


@cache
def file_names(file: str) -> frozenset[str]:
    """Return the names of a list of files."""
    return frozenset(_lines(FOLDER / "names" / file))


@cache
def _yaml(file: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where it is there, takes a tenth of the time
    return yaml.load(file.read_text(encoding="utf-8"), loader)


def _rows(classes: str | None) -> list[list[str]]:
    return [line.split("\t") for line in _lines(FOLDER / "classes" / f"{classes}.tsv")] if classes else []


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
