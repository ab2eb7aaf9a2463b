"""The images, texts or pairs of both of one split, whatever they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from oodgrid.counts import counted
from oodgrid.encode.decode import source_sha256
from oodgrid.encode.sources.layout import Layout, in_order, twins
from oodgrid.encode.sources.passing_over import printable
from oodgrid.encode.sources.reading import open_regular
from oodgrid.errors import OodgridError

UNKNOWN_STAMP = (-1, -1)
LONGEST = 1000  # characters of a label


@dataclass(frozen=True)
class ImageSet:
    """The images of one split, or its texts, or its pairs.

    Attributes:
        paths: N stable names.
        labels: Shape (N,), int32; -1 where an image has no class.
        classnames: K names, or None where classes have no names.
        read: Row number to what is to be decoded: the bytes of an image file, or pixels (H, W) or (H, W, 3), uint8.
            Any number of threads may call it.
        stamp: Row number to size in bytes and time of change in nanoseconds of what holds the image; -1 where unknown.
        where: The folder or archive in which the paths lie, for messages.
        splits: The split of each image, where the source names it; None: all images are of the split asked for.
        passed_over: How many files of each kind the source holds that are not among them.
        remarks: What else is to be said of how the source was read, a line each.
        texts: N texts where the samples are texts, of which `read` gives UTF-8; None where they are images.
        captions: Of pairs: the text of each image; None elsewhere.
        kinds: Of pairs: N words as "aligned" and "misaligned", "" where the kind is unknown; or None.
    """

    paths: list[str]
    labels: np.ndarray
    classnames: list[str] | None
    read: Callable[[int], bytes | np.ndarray]
    stamp: Callable[[int], tuple[int, int]] = lambda row: UNKNOWN_STAMP
    where: str = ""
    splits: Sequence[str] | None = None
    passed_over: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    texts: Sequence[str] | None = None
    captions: Sequence[str] | None = None
    kinds: Sequence[str] | None = None

    @property
    def thing(self) -> str:
        """What one of the samples is called in messages."""
        if self.captions is not None:
            return "pair"
        return "image" if self.texts is None else "text"

    @property
    def words(self) -> Sequence[str] | None:
        """The texts of all samples, where they are texts or have one; None where they are images."""
        return self.texts if self.captions is None else self.captions

    def sha256(self, row: int, source: bytes | np.ndarray) -> bytes:
        """Return the digest, 32 bytes, of a sample with this source; of a pair, of its text too."""
        of_source = source_sha256(source)
        if self.captions is None:
            return of_source
        return source_sha256(of_source + self.captions[row].encode())

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def account(self) -> dict[str, Any]:
        """The remarks and counts that a feature file of these images records."""
        return {"passed_over": dict(sorted(self.passed_over.items())), "remarks": list(self.remarks)}

    def place(self, row: int) -> str:
        """Return where an image lies, for messages."""
        name = printable(self.paths[row])
        return f"{self.where}: {name}" if self.where else name

    def subset(self, rows: np.ndarray) -> ImageSet:
        """Return the images of these rows."""

        def of_rows(column: Sequence[str] | None) -> list[str] | None:
            return None if column is None else [column[row] for row in rows]

        return replace(
            self,
            paths=[self.paths[row] for row in rows],
            labels=self.labels[rows],
            splits=None if self.splits is None else [self.splits[row] for row in rows],
            texts=of_rows(self.texts),
            captions=of_rows(self.captions),
            kinds=of_rows(self.kinds),
            read=lambda row: self.read(int(rows[row])),
            stamp=lambda row: self.stamp(int(rows[row])),
        )


def of_layout(
    layout: Layout, read: Callable[[int], bytes], stamp: Callable[[int], tuple[int, int]], where: str
) -> ImageSet:
    """Return the images of a tree of folders, with what was passed over in it."""
    account = layout.splits, layout.passed_over, layout.remarks
    return ImageSet(layout.paths, layout.labels, layout.classnames, read, stamp, where, *account)


def classes_by_folder(paths: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return labels (N,) and class names: the class of an image is the folder in which it lies.

    A class is named by the last part of its folder, or by the whole of it where two folders end alike.
    """
    folders = [str(PurePosixPath(path).parent) for path in paths]
    classes = in_order(set(folders))
    index = {name: label for label, name in enumerate(classes)}
    short = [PurePosixPath(name).name for name in classes]
    names = short if len(set(short)) == len(short) else classes
    return np.asarray([index[folder] for folder in folders], dtype=np.int32), names


def classes_by_value(values: Sequence[int | float | str | None], where: str) -> tuple[np.ndarray, list[str] | None]:
    """Return labels (N,) and class names of whole numbers, which are labels, or of names, which are sorted.

    None, NaN, the empty text and negative numbers stand for no class; texts that are all whole numbers are numbers.

    Raises:
        OodgridError: A label is neither, or too large, or a few names stand among numbers.
    """
    texts = [label_text(value, where) for value in values]
    if long := next((text for text in texts if len(text) > LONGEST), None):
        raise OodgridError(
            f"{where}: a label has {counted(len(long), 'character')}, as {long[:20]!r}…: give numbers or names"
        )
    if all(text.removeprefix("-").isdecimal() for text in texts if text):
        return whole_labels([int(text) if text else -1 for text in texts], where), None
    texts = ["" if re.fullmatch(r"-\d+", text) else text for text in texts]  # beside names too, -1 is no class
    names = in_order(set(texts) - {""})
    words = [name for name in names if not name.removeprefix("-").isdecimal()]
    if 2 * len(words) < len(names):  # a damaged number, or "unknown", would make names of all the others
        raise OodgridError(
            f"{where}: the label {words[0][:40]!r} is no whole number, as most are: label all samples by numbers, with "
            "-1 for no class, or all by names"
        )
    twins(names, where)
    index = {"": -1, **{name: label for label, name in enumerate(names)}}
    return np.asarray([index[text] for text in texts], dtype=np.int32), names


def whole_labels(values: Sequence[int], where: str) -> np.ndarray:
    """Return labels as int32, shape (N,), -1 for every negative one.

    Raises:
        OodgridError: One is too large.
    """
    labels = np.maximum(np.asarray(values, dtype=object), -1)
    if len(labels) and max(labels) > np.iinfo(np.int32).max:
        raise OodgridError(f"{where}: label {max(labels)} is too large: labels are the numbers of classes, from 0")
    return labels.astype(np.int32)


def label_text(value: int | float | str | None, where: str) -> str:
    """Return a label as text, a whole number without the `.0` behind it that tools write; "" stands for no class.

    Raises:
        OodgridError: It is neither a whole number nor a text.
    """
    if value is None or (isinstance(value, float | np.floating) and value != value):  # NaN: tables of floats say so
        return ""
    if isinstance(value, str):
        text = value.strip()
        return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0*", text) else text  # so tools write labels with gaps
    if isinstance(value, int | np.integer) or (isinstance(value, float | np.floating) and value.is_integer()):
        return str(int(value))
    raise OodgridError(f"{where}: label {value!r} is neither a whole number nor a name")


def file_stamp(path: Path) -> tuple[int, int]:
    """Return size and time of change of a file, unknown where it is gone: reading it then says so."""
    try:
        status = path.stat()
    except OSError:
        return UNKNOWN_STAMP
    return status.st_size, status.st_mtime_ns


def existing(path: Path, what: str) -> Path:
    """Return the path of a file that is there; reading a pipe or a device would never end.

    Raises:
        OodgridError: It is not, or it is no file.
    """
    if not path.exists():
        raise OodgridError(f"{what} {path} does not exist: mend the path in the config")
    with open_regular(path, f"{what} {path}"):
        return path
