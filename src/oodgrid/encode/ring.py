"""The memory in which images wait for the network: a few batches that decoding threads fill over and over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Ring:
    """Batches of network inputs, all of one shape.

    Of pixels (uint8) a batch lies in memory as decoders leave an image, channel beside channel, so that writing one is
    a plain copy; whoever scales them on the device changes the order there. Numbers (float32) lie as the network wants
    them.
    """

    def __init__(self, batch: int, shape: tuple[int, int, int], *, as_bytes: bool, pinned: bool) -> None:
        """Lay it out; memory is taken as it is needed.

        Args:
            batch: Images of a batch.
            shape: Channels, height and width of an image.
            as_bytes: uint8 instead of float32.
            pinned: In memory that the system never moves, from which a GPU copies while the host goes on.
        """
        self.batch, self.shape, self.as_bytes, self.pinned = batch, shape, as_bytes, pinned
        self.free: list[torch.Tensor] = []

    def take(self) -> torch.Tensor:
        """Return a batch that nobody uses, shape (batch, 3, H, W), with whatever an earlier one left in it."""
        import torch

        if self.free:
            return self.free.pop()
        channels, height, width = self.shape
        with torch.inference_mode(False):  # or decoding threads, which are in no such mode, could not write into it
            if not self.as_bytes:
                return torch.empty(self.batch, *self.shape, dtype=torch.float32, pin_memory=self.pinned)
            lines = torch.empty(self.batch, height, width, channels, dtype=torch.uint8, pin_memory=self.pinned)
            return lines.permute(0, 3, 1, 2)

    def give_back(self, batch: torch.Tensor) -> None:
        """Free a batch, of which nothing must be read any more."""
        self.free.append(batch)
