"""What a detector says of images, as a table or as a page with thumbnails."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from oodgrid import store
from oodgrid.counts import counted
from oodgrid.encode.decode import decode
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    from oodgrid.detector.core import Detector
    from oodgrid.encode.sources import ImageSet

FORMATS = (".csv", ".parquet", ".html")
SIDE = 96  # pixels of a thumbnail
PICTURES = 1000  # on a page: about 3 MB


def check_names(files: list[Path], force: bool) -> None:
    """Refuse files that cannot be written, before anything is computed.

    Raises:
        OodgridError: One is of another format, or is there already.
    """
    for file in files:
        if file.suffix.lower() not in FORMATS:
            raise OodgridError(f"{file} is none of {', '.join(FORMATS)}: the suffix says the format")
        store.refuse_to_replace(file, force)


def write(file: Path, table: pl.DataFrame, detector: Detector, images: ImageSet) -> Path:
    """Write what `Detector.predict` returned, by the suffix of the file, and return the file."""
    with store.atomic(file) as beside:
        if file.suffix.lower() == ".html":
            beside.write_text(page(table, detector, images), encoding="utf-8")
        elif file.suffix.lower() == ".csv":
            store.frames.write_csv(beside, table)
        else:
            store.frames.write_parquet(beside, table)
    return file


def summary(table: pl.DataFrame) -> str:
    """Return how many images there are, are OOD, and could not be read."""
    broken, ood = int(table["reason"].is_not_null().sum()), int(table["is_ood"].sum())
    images = counted(len(table), "image")
    if broken == len(table):
        return f"{images}, and {'it' if broken == 1 else 'none of them'} could {'not ' * (broken == 1)}be read"
    return f"{images}, {ood:,} of them OOD{f'; {broken:,} could not be read' if broken else ''}"


def page(table: pl.DataFrame, detector: Detector, images: ImageSet) -> str:
    """Return a page with the images sorted by score, the least in-distribution first, unreadable ones last.

    It needs no other file. Of many images, only the first and last of the order are shown.
    """
    order = table.with_row_index("row").sort("score", nulls_last=True, maintain_order=True)
    half = PICTURES // 2
    shown = order if len(order) <= PICTURES else pl.concat([order.head(half), order.tail(half)])
    environment = Environment(
        loader=PackageLoader("oodgrid.detector"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    entries = [{**row, "picture": _thumbnail(images, row)} for row in shown.iter_rows(named=True)]
    return environment.get_template("page.html.j2").render(
        entries=entries, lines=detector.lines(), summary=summary(table), hidden=len(order) - len(shown), half=half,
        threshold=detector.threshold, side=SIDE,
    )  # fmt: skip


def _thumbnail(images: ImageSet, row: dict[str, Any]) -> str | None:
    """Return a picture as a data URI; None where it cannot be read (any more)."""
    if row["reason"] is not None:
        return None
    try:
        picture = decode(images.read(row["row"]), row["path"])
    except OodgridError:
        return None
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
