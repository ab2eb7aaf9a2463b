"""JPEG files decoded, resized and cut on the device: nvJPEG through torchvision.

nvJPEG rounds and enlarges colours in its own way, so its pixels differ from Pillow's by some levels: `decode: nvjpeg`
is part of a feature file's identity, and how far features are from those of the reference is recorded in it. The device
that decodes is a parameter: with "cpu" the same steps run on libjpeg-turbo, which is how tests run them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image

from oodgrid.encode.jpeg import END, read_header
from oodgrid.encode.preprocessing import finisher, resizes_plainly
from oodgrid.errors import OodgridError, first_line

if TYPE_CHECKING:
    import torch

GROUP = 64 * 2**20  # pixels that are decoded at once: 192 MB, whatever the size of the images


class DeviceDecoder:
    """Decodes what it can, and says what it cannot."""

    def __init__(self, preprocessing: dict[str, Any], device: str) -> None:
        """Make it for a backbone's preprocessing.

        Args:
            preprocessing: Size, resize, interpolation, resize_mode.
            device: Where to decode: a GPU as "cuda:0", or "cpu".
        """
        self.device, self.plain = device, resizes_plainly(preprocessing)
        self.finish = finisher(preprocessing, as_bytes=True)

    def takes(self, source: Any) -> bool:
        """Return whether the device is to have an image: a whole JPEG file in grey or YCbCr, of no unusual kind."""
        header = read_header(source) if self.plain and isinstance(source, bytes) else None
        return (
            header is not None
            and header.components in (1, 3)
            and header.usual_colours
            and header.width * header.height <= GROUP
            and source.endswith(END)  # of a file that is cut off nvJPEG returns what there is, and Pillow refuses it
        )

    def pixels(self, sources: Sequence[bytes]) -> Iterator[torch.Tensor | None]:
        """Yield the pixels, shape (3, H, W), uint8, on the device, of files that it takes; None where it fails."""
        for group in _groups(sources):
            for picture in self._decoded(group):
                yield None if picture is None else self.finish(picture)

    def _decoded(self, sources: list[bytes]) -> list[torch.Tensor | None]:
        try:
            return list(self._decode(sources))
        except RuntimeError:  # one of them is beyond the decoder, and it does not say which
            if len(sources) == 1:
                return [None]
            return [picture for source in sources for picture in self._decoded([source])]

    def _decode(self, sources: list[bytes]) -> list[torch.Tensor]:
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        files = [torch.frombuffer(bytearray(source), dtype=torch.uint8) for source in sources]
        # torchvision has the current device wait for its decoder, which of several GPUs need not be the decoding one
        with torch.cuda.device(self.device) if self.device != "cpu" else nullcontext():
            return decode_jpeg(files, ImageReadMode.RGB, device=self.device)

    def check(self, backbone_name: str) -> None:
        """Refuse to begin where nothing can be decoded.

        Raises:
            OodgridError: torchvision was built without nvJPEG, or it does not run here.
        """
        try:
            self._decode([_smallest()])
        except (RuntimeError, AssertionError, AttributeError) as error:
            raise OodgridError(
                f"backbone {backbone_name}: decode: nvjpeg does not work with this torchvision "
                f"({first_line(error)}): write decode: fast or reference"
            ) from error


def nvjpeg(backbone_name: str, preprocessing: dict[str, Any], device: str) -> DeviceDecoder:
    """Return the decoder of a GPU.

    Raises:
        OodgridError: There is no GPU, or torchvision cannot decode on it.
    """
    if not device.startswith("cuda"):
        raise OodgridError(f"backbone {backbone_name}: decode: nvjpeg needs a GPU: write decode: fast or reference")
    decoder = DeviceDecoder(preprocessing, device)
    decoder.check(backbone_name)
    return decoder


def _groups(sources: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Yield the files in turn, as many together as may be decoded at once."""
    group: list[bytes] = []
    total = 0
    for source in sources:
        header = read_header(source)
        size = header.width * header.height if header else GROUP
        if group and total + size > GROUP:
            yield group
            group, total = [], 0
        group.append(source)
        total += size
    if group:
        yield group


@cache
def _smallest() -> bytes:
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    return file.getvalue()
