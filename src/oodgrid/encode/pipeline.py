"""Images through the network, decoding ahead, chunk after chunk.

Every batch has the full shape: short ones and skipped images are padded with zeros. A batch of another shape changes
the last bits of its rows; so a chunk is the same whatever was done before it, and by whomever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from oodgrid import threads
from oodgrid.encode.chunks import Chunk, Chunks
from oodgrid.encode.decode import OutOfMemoryError
from oodgrid.encode.embedding import embed
from oodgrid.encode.local_features import encode_with_local
from oodgrid.encode.preprocessing import normalised
from oodgrid.encode.ring import Ring
from oodgrid.encode.sources import ImageSet
from oodgrid.encode.work import Shard, Work
from oodgrid.errors import OodgridError
from oodgrid.progress import progress
from oodgrid.store import check_finite

if TYPE_CHECKING:
    import torch

BATCH = {"cpu": 64, "cuda": 256}  # divisors of a chunk
BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Prepared:
    """One image on its way to the network.

    Attributes:
        sha256: Of its source.
        stamp: Of its source.
        reason: Why it is skipped, or nothing.
        on_host: The host decoded it, because the device that was to do it could not.
    """

    sha256: bytes
    stamp: tuple[int, int]
    reason: str = ""
    on_host: bool = False


@dataclass(frozen=True)
class Batch:
    """Images of consecutive rows, in a batch of the ring.

    Attributes:
        rows: Their rows.
        prepared: What is known of each.
        slots: Shape (N, 3, H, W), zeros where an image is skipped or the batch is short.
        encoded: By place in the batch, the files that the device is to decode.
    """

    rows: range
    prepared: list[Prepared]
    slots: torch.Tensor
    encoded: dict[int, bytes]


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
        pinned = work.loaded.device != "cpu"
        ring = Ring(size, work.loaded.input_shape, as_bytes=work.as_bytes, pinned=pinned)
        prepared = _prepare(work, [rows for _, rows in batches], ring)
        finished: list[Encoded[np.ndarray]] = []
        for (start, rows), batch in zip(batches, _embed(work, prepared, ring), strict=True):
            finished.append(batch)
            bar.update(len(rows))
            if rows.stop == work.rows(start).stop:
                yield start, _with_captions(work, start, _chunk(work.images, work.rows(start), finished))
                finished = []


def _with_captions(work: Work, start: int, chunk: Chunk) -> Chunk:
    """Return the chunk that begins at a row with the features of the text of each pair."""
    if work.images.captions is None:
        return chunk
    rows = work.rows(start)
    features = embed(work.loaded, work.images.captions[rows.start : rows.stop])
    check_finite(features, "encoding", work.images.paths[rows.start : rows.stop])
    return replace(chunk, text_features=features)


def _cut(rows: range, size: int) -> list[range]:
    return [range(first, min(first + size, rows.stop)) for first in range(rows.start, rows.stop, size)]


def _prepare(work: Work, batches: list[range], ring: Ring) -> Iterator[Batch]:
    """Yield preprocessed batches, decoding ahead in as many threads as the job may use, each into its slot."""
    one = _preparer(work)
    with ThreadPoolExecutor(threads.of_job(1), initializer=_one_thread_each) as pool:
        ahead: deque[tuple[range, torch.Tensor, list[Future[tuple[Prepared, bytes | None]]]]] = deque()
        try:
            for rows in batches:
                slots = ring.take()
                ahead.append((rows, slots, [pool.submit(one, row, slots[row - rows.start]) for row in rows]))
                if len(ahead) > BATCHES_AHEAD:
                    yield _filled(*ahead.popleft())
            while ahead:
                yield _filled(*ahead.popleft())
        finally:  # after an error, do not decode on
            pool.shutdown(cancel_futures=True)


def _filled(rows: range, slots: torch.Tensor, futures: list[Future[tuple[Prepared, bytes | None]]]) -> Batch:
    prepared, files = zip(*(future.result() for future in futures), strict=True)
    encoded = {place: file for place, file in enumerate(files) if file is not None}
    for place, image in enumerate(prepared):
        if image.reason:
            slots[place].zero_()
    slots[len(prepared) :].zero_()
    return Batch(rows, list(prepared), slots, encoded)


def _one_thread_each() -> None:
    """Keep the arithmetic of a decoding thread in that thread."""
    import torch

    torch.set_num_threads(1)


def _preparer(work: Work) -> Callable[[int, torch.Tensor], tuple[Prepared, bytes | None]]:
    images = work.images

    def prepare(row: int, slot: torch.Tensor) -> tuple[Prepared, bytes | None]:
        """Write a row into its slot, or return the file that the device is to decode."""
        stamp = images.stamp(row)  # before reading, so that a later change cannot hide
        try:
            source = images.read(row)
            if work.decoder is not None and isinstance(source, bytes) and work.decoder.takes(source):
                return Prepared(images.sha256(row, source), stamp), source
            slot.copy_(work.prepare(row, source))
            return Prepared(images.sha256(row, source), stamp, on_host=work.kind == "nvjpeg"), None
        except OutOfMemoryError:
            raise
        except OodgridError as error:
            return _skipped(work, stamp, error), None

    return prepare


def _skipped(work: Work, stamp: tuple[int, int], error: OodgridError) -> Prepared:
    if not work.skip:
        raise OodgridError(f"{error}, or write on_error: skip for this dataset") from error
    return Prepared(bytes(32), stamp, str(error))


def _embed(work: Work, batches: Iterator[Batch], ring: Ring) -> Iterator[Encoded[np.ndarray]]:
    """Yield encoded batches, each one late, so that a GPU never waits for a copy; that of row 0 with its parity."""
    import torch

    waiting: tuple[Encoded[torch.Tensor], torch.Tensor] | None = None
    with torch.inference_mode():
        for batch in batches:
            pixels = _on_device(work, batch)
            parity = _parity(work, batch, pixels) if work.measures_parity and batch.rows.start == 0 else None
            launched = Encoded(batch.prepared, *_forward(work, pixels), parity)
            if waiting:
                yield _finished(*waiting, ring)
            waiting = launched, batch.slots
        if waiting:
            yield _finished(*waiting, ring)


def _finished(batch: Encoded[torch.Tensor], slots: torch.Tensor, ring: Ring) -> Encoded[np.ndarray]:
    fetched = _fetched(batch)
    ring.give_back(slots)  # its features are here, so nobody copies from them any more
    return fetched


def _parity(work: Work, batch: Batch, pixels: torch.Tensor) -> dict[str, float] | None:
    """Return how far a batch is from fp32 and the reference's pixels; None where it is these."""
    count = len(batch.prepared)
    return work.loaded.parity(pixels[:count], work.reference and _by_reference(work, batch))


def _by_reference(work: Work, batch: Batch) -> torch.Tensor:
    """Return a batch as network input, float32, each image decoded by the reference."""
    import torch

    assert work.reference is not None
    pixels = torch.zeros_like(batch.slots[: len(batch.prepared)])
    for place, (row, image) in enumerate(zip(batch.rows, batch.prepared, strict=True)):
        if not image.reason:
            pixels[place] = work.reference(row, work.images.read(row))
    return _scaled(work, pixels.to(work.loaded.device))


def _fetched(batch: Encoded[torch.Tensor]) -> Encoded[np.ndarray]:
    """Return a batch on the host, without its padding."""
    count, local = len(batch.prepared), batch.local_features
    on_host = None if local is None else local[:count].cpu().numpy()
    return Encoded(batch.prepared, batch.image_features[:count].cpu().numpy(), on_host, batch.parity)


def _on_device(work: Work, batch: Batch) -> torch.Tensor:
    """Return a batch as the network's input, float32, on the device; what is to be decoded there, is."""
    pixels = batch.slots.to(work.loaded.device, non_blocking=True)
    if work.decoder is not None:
        for place, picture in zip(batch.encoded, work.decoder.pixels([*batch.encoded.values()]), strict=True):
            if picture is None:
                batch.prepared[place] = _by_host(work, batch, place, pixels[place])
            else:
                pixels[place] = picture
    return _scaled(work, pixels)


def _by_host(work: Work, batch: Batch, place: int, slot: torch.Tensor) -> Prepared:
    """Decode an image on the host, since the device failed."""
    image = batch.prepared[place]
    try:
        slot.copy_(work.prepare(batch.rows[place], batch.encoded[place]))
        return replace(image, on_host=True)
    except OutOfMemoryError:
        raise
    except OodgridError as error:
        slot.zero_()
        return _skipped(work, image.stamp, error)


def _scaled(work: Work, pixels: torch.Tensor) -> torch.Tensor:
    return normalised(pixels, work.loaded.identity["preprocessing"]) if work.as_bytes else pixels


def _forward(work: Work, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return image features (N, D) and, where asked for, local features (N, P, D)."""
    if work.local:
        return work.loaded.encode_with(encode_with_local, pixels)
    return work.loaded.encode_image(pixels), None


def _chunk(images: ImageSet, rows: range, parts: list[Encoded[np.ndarray]]) -> Chunk:
    prepared = [image for part in parts for image in part.prepared]
    usable = np.array([not image.reason for image in prepared])
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
        sum(image.on_host for image in prepared),
    )
