"""Images through the network, decoding ahead, chunk after chunk.

Every batch has the full shape: short ones and skipped images are padded with zeros. A batch of another shape changes
the last bits of its rows; so a chunk is the same whatever was done before it, and by whomever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from oodgrid import threads
from oodgrid.backbones import LoadedBackbone
from oodgrid.encode.chunks import Chunk, Chunks, Shard, Work
from oodgrid.encode.decode import OutOfMemoryError, source_sha256
from oodgrid.encode.local_features import encode_with_local
from oodgrid.encode.preprocessing import normalised
from oodgrid.encode.sources import ImageSet
from oodgrid.errors import OodgridError
from oodgrid.progress import progress
from oodgrid.store import check_finite

if TYPE_CHECKING:
    import torch

BATCH = {"cpu": 64, "cuda": 256}  # divisors of a chunk
BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Prepared:
    """One image on its way to the network: preprocessed, or the reason why it is skipped."""

    pixels: torch.Tensor | None
    sha256: bytes
    stamp: tuple[int, int]
    reason: str = ""


Values = TypeVar("Values")


@dataclass(frozen=True)
class Encoded(Generic[Values]):
    """An encoded batch, with features (n, D) and local features (n, P, D).

    They are tensors on the device, padded to the full shape, until `_fetched` makes them arrays.
    """

    prepared: list[Prepared]
    image_features: Values
    local_features: Values | None
    parity: dict[str, float] | None


def encode_rows(chunks: Chunks, shard: Shard, title: str) -> None:
    """Encode and keep every chunk of a shard that is not finished yet.

    Raises:
        OodgridError: An image is broken and the dataset does not say `on_error: skip`; finished chunks stay.
    """
    pending = chunks.pending(shard)
    done = sum(len(chunks.rows(start)) for start in set(chunks.starts(shard)) - set(pending))
    for start, chunk in encoded(chunks, pending, title, done):
        chunks.write(start, chunk)


def encoded(work: Work, starts: list[int], title: str, done: int = 0) -> Iterator[tuple[int, Chunk]]:
    """Yield the chunks that begin at some rows, each behind its first row.

    Args:
        work: The images, and the backbone.
        starts: First rows of chunks.
        title: Of the progress.
        done: How many images were finished before, for the progress.

    Raises:
        OodgridError: An image is broken and the work skips none.
    """
    total = done + sum(len(work.rows(start)) for start in starts)
    size = BATCH[work.loaded.device.split(":")[0]]
    batches = [(start, rows) for start in starts for rows in _cut(work.rows(start), size)]
    with progress(total=total, initial=done, desc=title, unit="img") as bar:
        prepared = _prepare(work, [rows for _, rows in batches])
        finished: list[Encoded[np.ndarray]] = []
        for (start, rows), batch in zip(batches, _embed(work, prepared, size), strict=True):
            finished.append(batch)
            bar.update(len(rows))
            if rows.stop == work.rows(start).stop:
                yield start, _chunk(work.images, work.rows(start), finished)
                finished = []


def _cut(rows: range, size: int) -> list[range]:
    return [range(first, min(first + size, rows.stop)) for first in range(rows.start, rows.stop, size)]


def _prepare(work: Work, batches: list[range]) -> Iterator[list[Prepared]]:
    """Yield preprocessed batches, decoding ahead in as many threads as the job may use."""
    one = _preparer(work)
    with ThreadPoolExecutor(threads.of_job(1), initializer=_one_thread_each) as pool:
        ahead: deque[list[Future[Prepared]]] = deque()
        try:
            for rows in batches:
                ahead.append([pool.submit(one, row) for row in rows])
                if len(ahead) > BATCHES_AHEAD:
                    yield [future.result() for future in ahead.popleft()]
            while ahead:
                yield [future.result() for future in ahead.popleft()]
        finally:  # after an error, do not decode on
            pool.shutdown(cancel_futures=True)


def _one_thread_each() -> None:
    """Keep the arithmetic of a decoding thread in that thread."""
    import torch

    torch.set_num_threads(1)


def _preparer(work: Work) -> Callable[[int], Prepared]:
    images = work.images

    def prepare(row: int) -> Prepared:
        stamp = images.stamp(row)  # before reading, so that a later change cannot hide
        try:
            source = images.read(row)
            return Prepared(work.prepare(row, source), source_sha256(source), stamp)
        except OutOfMemoryError:
            raise
        except OodgridError as error:
            if not work.skip:
                raise OodgridError(f"{error}, or write on_error: skip for this dataset") from error
            return Prepared(None, bytes(32), stamp, str(error))

    return prepare


def _embed(work: Work, batches: Iterator[list[Prepared]], size: int) -> Iterator[Encoded[np.ndarray]]:
    """Yield encoded batches, each one late, so that a GPU never waits for a copy; the first one with its parity."""
    import torch

    waiting: Encoded[torch.Tensor] | None = None
    parity = None
    with torch.inference_mode():
        for number, batch in enumerate(batches):
            pixels = _on_device(_stack(batch, size, work.loaded), work.loaded)
            if number == 0:
                parity = work.loaded.parity(pixels[: len(batch)])
            launched = Encoded(batch, *_forward(work, pixels), parity if number == 0 else None)
            if waiting:
                yield _fetched(waiting)
            waiting = launched
        if waiting:
            yield _fetched(waiting)


def _fetched(batch: Encoded[torch.Tensor]) -> Encoded[np.ndarray]:
    """Return a batch on the host, without its padding."""
    count, local = len(batch.prepared), batch.local_features
    on_host = None if local is None else local[:count].cpu().numpy()
    return Encoded(batch.prepared, batch.image_features[:count].cpu().numpy(), on_host, batch.parity)


def _stack(batch: list[Prepared], size: int, loaded: LoadedBackbone) -> torch.Tensor:
    """Return (size, 3, H, W), float32 or uint8, zeros where an image is skipped or the batch is short."""
    import torch

    pixels = {place: image.pixels for place, image in enumerate(batch) if image.pixels is not None}
    example = next(iter(pixels.values()), torch.empty(loaded.input_shape))
    whole = torch.zeros(size, *example.shape, dtype=example.dtype, pin_memory=loaded.device != "cpu")
    for place, values in pixels.items():
        whole[place] = values
    return whole


def _on_device(pixels: torch.Tensor, loaded: LoadedBackbone) -> torch.Tensor:
    """Return a batch as the network's input, float32."""
    import torch

    pixels = pixels.to(loaded.device, non_blocking=True)
    return normalised(pixels, loaded.identity["preprocessing"]) if pixels.dtype == torch.uint8 else pixels


def _forward(work: Work, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return image features (N, D) and, where asked for, local features (N, P, D)."""
    if work.local:
        return work.loaded.encode_with(encode_with_local, pixels)
    return work.loaded.encode_image(pixels), None


def _chunk(images: ImageSet, rows: range, parts: list[Encoded[np.ndarray]]) -> Chunk:
    prepared = [image for part in parts for image in part.prepared]
    usable = np.array([image.pixels is not None for image in prepared])
    features = np.concatenate([part.image_features for part in parts])
    names = [images.paths[row] for row in rows]
    check_finite(np.where(usable[:, None], features, 0), "encoding", names)
    return Chunk(
        features,
        np.frombuffer(b"".join(image.sha256 for image in prepared), np.uint8).reshape(-1, 32),
        np.array([image.stamp for image in prepared], dtype=np.int64),
        usable,
        [[name, image.reason] for name, image in zip(names, prepared, strict=True) if image.reason],
        None if parts[0].local_features is None else np.concatenate([part.local_features for part in parts]),
        parts[0].parity,
    )
