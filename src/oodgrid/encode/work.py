"""Images that are to go through a backbone: in which chunks of rows, and how each becomes network input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from oodgrid.backbones import LoadedBackbone
from oodgrid.encode.device_decoding import DeviceDecoder, nvjpeg
from oodgrid.encode.preprocessing import preparer
from oodgrid.encode.sources import ImageSet
from oodgrid.encode.sources.image_set import UNKNOWN_STAMP
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    import torch

ROWS = 2048  # of a chunk; a multiple of every batch size, so that chunks change nothing in the numbers
LOCAL_ROWS = 256  # of a chunk with local features, which take some hundred times the room


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1) of `of` parts of a split; 1 of 1 is the whole."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that is written as `2/8`."""
        number, _, of = text.partition("/")
        if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
            raise OodgridError(f"--shard {text} is not like 2/8: the second of eight parts")
        return cls(int(number), int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


WHOLE = Shard(1, 1)


class Work:
    """Images that are to go through a backbone, in chunks of rows."""

    measures_parity = False  # which costs a batch more, and is for a file that records it

    def __init__(
        self,
        loaded: LoadedBackbone,
        images: ImageSet,
        *,
        skip: bool = False,
        local: bool = False,
        upright: bool = False,
        prepare: Callable[[int, bytes | np.ndarray], torch.Tensor] | None = None,
        decoder: DeviceDecoder | None = None,
    ) -> None:
        """Lay it out.

        Args:
            loaded: The backbone.
            images: What is to be encoded.
            skip: Leave broken images out and record them; else no chunk may lack one.
            local: Make local features too.
            upright: Turn pictures as their EXIF data say.
            prepare: Row and source of an image to network input; default: decoding and preprocessing of the backbone.
            decoder: What decodes on the device; default: nvJPEG, where the backbone says so.

        Raises:
            OodgridError: The backbone says `decode: nvjpeg`, and that cannot be done here.
        """
        self.loaded, self.images, self.skip, self.local = loaded, images, skip, local
        self.kind = kind = loaded.identity["decode"] if prepare is None else "reference"
        if kind == "nvjpeg" and decoder is None:
            decoder = nvjpeg(loaded.name, loaded.identity["preprocessing"], loaded.device)
        self.decoder = None if upright else decoder
        # as uint8 where a device scales; where decoding threads have nothing better to do, they do it
        self.as_bytes = prepare is None and (loaded.device != "cpu" or decoder is not None)
        self.prepare = prepare or self.preprocessor(kind, upright)
        self.reference = None if kind == "reference" else self.preprocessor("reference", upright)

    def starts(self, shard: Shard) -> list[int]:
        """Return the first rows of the chunks of a shard."""
        rows = LOCAL_ROWS if self.local else ROWS
        every = list(range(0, len(self.images), rows))
        return every[len(every) * (shard.number - 1) // shard.of : len(every) * shard.number // shard.of]

    def rows(self, start: int) -> range:
        """Return the rows of the chunk that begins at `start`."""
        rows = LOCAL_ROWS if self.local else ROWS
        return range(start, min(start + rows, len(self.images)))

    def is_broken(self, row: int) -> bool:
        """Return whether an image cannot be read or decoded."""
        try:
            self.prepare(row, self.images.read(row))
        except OodgridError:
            return True
        return False

    def preprocessor(self, kind: str, upright: bool) -> Callable[[int, bytes | np.ndarray], torch.Tensor]:
        """Return what makes network input, uint8 or float32, of an image's row and source, decoding on the host."""
        preprocessing = self.loaded.identity["preprocessing"]
        one = preparer(self.loaded.preprocess, preprocessing, kind, upright, self.as_bytes)
        return lambda row, source: one(source, self.images.place(row))


def is_unchanged(images: ImageSet, row: int, stamp: np.ndarray, sha256: np.ndarray) -> bool:
    """Return whether an image is as it was: by size and time, or by its bytes where the source has none."""
    now = images.stamp(row)
    if tuple(stamp.tolist()) != now:
        return False
    # without a digest it was skipped
    return now != UNKNOWN_STAMP or not sha256.any() or images.sha256(row, images.read(row)) == sha256.tobytes()
