"""Finished work on one split: chunks of rows while it is encoded, then the whole file.

Both lie in results/kept/encode under the digest of what decides their content. Snakemake deletes a job's outputs before
it runs the job again, but not those. The feature file is a second name (hard link) of the whole file there.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodgrid import store
from oodgrid.backbones import LoadedBackbone
from oodgrid.counts import counted
from oodgrid.encode.sources import ImageSet
from oodgrid.encode.work import WHOLE, Shard, Work, is_unchanged
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.kept import JOINED, Kept, link

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Chunk:
    """Encoded rows `start` to `stop` of a split.

    Attributes:
        image_features: Shape (rows, D).
        sha256: Shape (rows, 32), uint8.
        stamps: Shape (rows, 2), int64.
        usable: Shape (rows,), bool: False where an image was broken and skipped.
        skipped: Path and reason of each of those.
        local_features: Shape (rows, P, D), or None.
        parity: How far features are from those in fp32 of pixels by the reference; of the first chunk only.
        on_host: How many images the host decoded because the device could not.
        text_features: Shape (rows, D), of the text of each pair; None where the samples are no pairs.
        layer_features: Shape (rows, 1 + layers, D), or None.
    """

    image_features: np.ndarray
    sha256: np.ndarray
    stamps: np.ndarray
    usable: np.ndarray
    skipped: list[list[str]]
    local_features: np.ndarray | None = None
    parity: dict[str, float] | None = None
    on_host: int = 0
    text_features: np.ndarray | None = None
    layer_features: np.ndarray | None = None


class Chunks(Work):
    """The finished chunks of one split."""

    measures_parity = True

    def __init__(
        self,
        results: Path,
        provenance: dict[str, Any],
        loaded: LoadedBackbone,
        images: ImageSet,
        *,
        skip: bool = False,
        local: bool = False,
        prepare: Callable[[int, bytes | np.ndarray], torch.Tensor] | None = None,
    ) -> None:
        """Look up the finished chunks of a split.

        Args:
            results: The results folder.
            provenance: What decides the numbers.
            loaded: The backbone.
            images: What is to be encoded.
            skip: Leave broken images out and record them; else no chunk may lack one.
            local: Keep local features too.
            prepare: Row and source of an image to network input; default: decoding and preprocessing of the backbone.
        """
        upright = bool(provenance["dataset"].get("exif_rotation")) if prepare is None else False
        super().__init__(loaded, images, skip=skip, local=local, upright=upright, prepare=prepare)
        self.provenance = provenance
        place = Kept(results, "encode").place(provenance)
        self.whole, self.folder = place / JOINED, pieces(place, loaded)

    def pending(self, shard: Shard) -> list[int]:
        """Return the first rows of the chunks that are missing, damaged, or made of images that have changed since."""
        if self._whole_is_current():
            return []
        return [start for start in self.starts(shard) if not self._current(start)]

    def write(self, start: int, chunk: Chunk) -> None:
        """Keep a finished chunk."""
        if chunk.local_features is not None:  # first, so that the other file vouches for both
            store.write_arrays(self._path(start, ".local"), {"local_features": chunk.local_features})
        arrays = {name: getattr(chunk, name) for name in ("image_features", "sha256", "stamps")}
        arrays |= {
            name: values for name in ("text_features", "layer_features") if (values := getattr(chunk, name)) is not None
        }
        arrays["usable"] = chunk.usable.astype(np.uint8)
        account = {"skipped": chunk.skipped, "parity": chunk.parity, "on_host": chunk.on_host}
        store.write_arrays(self._path(start), arrays, account)

    def finish(self, path: Path, encode: Callable[[], None]) -> None:
        """Put the whole feature file at `path`, encoding what is not finished yet."""
        link(self.joined(encode), path)

    def joined(self, encode: Callable[[], None], may_be_empty: bool = False) -> Path:
        """Return the whole feature file where it is kept, encoding what is not finished yet.

        Args:
            encode: Leaves all chunks.
            may_be_empty: Whether all images may be broken and skipped.
        """
        if not self._whole_is_current():
            try:
                encode()
                self._join(may_be_empty)
            except (OodgridError, FileNotFoundError):
                if not self._whole_is_current():  # else another process joined the same chunks and took them away
                    raise
            shutil.rmtree(self.folder, ignore_errors=True)
        return self.whole

    @property
    def sha256(self) -> np.ndarray:
        """Shape (n, 32): the digests of the sources of all images, once every chunk is finished."""
        return self._columns[1]

    def features(self) -> store.Blocks:
        """Return the features of all images that are not skipped, shape (n, D), once every chunk is finished."""
        return self._blocks("image_features")

    def local_features(self) -> store.Blocks | None:
        """Return their local features, shape (n, P, D), if there are any."""
        return self._blocks("local_features", ".local") if self.local else None

    def remove(self) -> None:
        """Remove the chunks, and their file: what they held is kept elsewhere."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)

    # --------------------------------------------------------------------------------------------------- parts

    def _path(self, start: int, kind: str = "") -> Path:
        return self.folder / f"{start:09}{kind}.safetensors"

    def _read(self, start: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return store.read_arrays(self._path(start))

    def _current(self, start: int) -> bool:
        try:
            arrays, info = self._read(start)
            if self.local:
                store.check(self._path(start, ".local"))
        except OodgridError:  # missing or damaged
            return False
        allowed = self.skip or not info["skipped"]
        return allowed and self._unchanged(self.rows(start), arrays["stamps"], arrays["sha256"])

    def _unchanged(self, rows: Sequence[int], stamps: np.ndarray, sha256: np.ndarray) -> bool:
        """Return whether images are as they were: by size and time, or by their bytes where the source has none."""
        return all(is_unchanged(self.images, *each) for each in zip(rows, stamps, sha256, strict=True))

    def _whole_is_current(self) -> bool:
        """Return whether the whole file is there, undamaged, and its sources are as they were."""
        try:
            store.check(self.whole)
            sources = store.read_sources(self.whole)
        except OodgridError:
            return False
        skipped = {path for path, _ in sources.provenance.get("skipped", [])}
        if skipped and not self.skip:
            return False
        rows = [row for row, path in enumerate(self.images.paths) if path not in skipped]
        left_out = [row for row, path in enumerate(self.images.paths) if path in skipped]
        return (
            len(rows) == len(sources.labels)
            and sources.stamps is not None
            and self._unchanged(rows, sources.stamps, sources.sha256)
            and all(map(self.is_broken, left_out))
        )

    def _join(self, may_be_empty: bool) -> None:
        """Write the whole file, never holding more than one chunk of features."""
        usable, sha256, stamps, skipped, on_host = self._columns
        rows = np.flatnonzero(usable)
        if not len(rows) and not may_be_empty:
            raise OodgridError(f"no image of {self.provenance['dataset']['name']} could be read: {skipped[0][1]}")
        # what was read and skipped is recorded where there is any, but does not identify the file
        parity = self._read(0)[1]["parity"]
        account = {"skipped": skipped, "parity": parity, "decoded_on_host": on_host, **self.images.account}
        if on_host:
            self._report_host(on_host, len(rows))

        def of_rows(column: Sequence[str] | None) -> list[str] | None:
            return None if column is None else [column[row] for row in rows.tolist()]

        features = store.NewFeatures(
            self.features(),
            self.images.labels[rows],
            [self.images.paths[row] for row in rows],
            sha256[rows],
            self.provenance | {name: value for name, value in account.items() if value},
            stamps=stamps[rows],
            local_features=self.local_features(),
            texts=of_rows(self.images.words),
            text_features=None if self.images.captions is None else self._blocks("text_features"),
            pair_kinds=of_rows(self.images.kinds),
            layer_features=self._blocks("layer_features") if "layer_features" in self.provenance else None,
        )
        store.write_features(self.whole, features)

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[list[str]], int]:
        """What stands beside the features, of all chunks: usable, sha256, stamps, skipped, and how many on the host."""
        names, columns, skipped, on_host = ("usable", "sha256", "stamps"), [], [], 0
        for start in self.starts(WHOLE):
            arrays, info = self._read(start)
            columns.append([arrays[name] for name in names])  # and not the features: of all chunks they are too many
            skipped += info["skipped"]
            on_host += info.get("on_host", 0)  # earlier releases did not count
        usable, sha256, stamps = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        return usable, sha256, stamps, skipped, on_host

    def _report_host(self, on_host: int, total: int) -> None:
        dataset, split = self.provenance["dataset"]["name"], self.provenance["split"]
        print(
            f"oodgrid: {dataset}/{split}: the CPU decoded {on_host:,} of {counted(total, 'image')}: "
            "nvJPEG takes whole JPEG files in grey or YCbCr that are not to be turned",
            file=sys.stderr,
        )

    def _blocks(self, name: str, kind: str = "") -> store.Blocks:
        usable = self._columns[0].astype(bool)
        first = store.read_arrays(self._path(0, kind))[0][name]

        def blocks() -> Iterator[np.ndarray]:
            for start in self.starts(WHOLE):
                values = store.read_arrays(self._path(start, kind))[0][name]
                yield values[usable[start : start + len(values)]]

        return store.Blocks((int(usable.sum()), *first.shape[1:]), first.dtype, blocks())


def pieces(place: Path, loaded: LoadedBackbone) -> Path:
    """Return the folder of pieces of one file: those of another device or build would differ in their last bits."""
    import torch

    return place / digest([loaded.device.split(":")[0], torch.__version__])[:16]
