from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from oodgrid import backbones
from oodgrid.config import Backbone
from oodgrid.encode.decode import decode
from oodgrid.encode.pipeline import encoded as encoded_chunks
from oodgrid.encode.preprocessing import normalised, preparer
from oodgrid.encode.sources.unseen import open_images
from oodgrid.encode.work import Work
from oodgrid.errors import OodgridError

torch = pytest.importorskip("torch")
LEVEL = 1 / 255 / 0.26  # one of 256 levels, after division by the smallest standard deviation


def photograph(width, height, seed=0, mode="RGB"):
    """A smooth picture with edges and some noise, as photographs are."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (max(2, height // 40), max(2, width // 40), 3), dtype=np.uint8))
    image = coarse.resize((width, height), Image.Resampling.BICUBIC)
    image.paste((200, 30, 60), (width // 4, height // 4, width // 2, height // 2))
    noisy = np.asarray(image.filter(ImageFilter.GaussianBlur(1)), np.float64) + rng.normal(0, 3, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image, kind="JPEG", **more):
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 90} if kind == "JPEG" else {}), **more)
    return file.getvalue()


@pytest.fixture
def both(untrained):
    """The reference and the fast path under one preprocessing."""

    def make(**fields):
        loaded = backbones.load(Backbone(**untrained, **fields))
        return [preparer(loaded.preprocess, loaded.identity["preprocessing"], kind) for kind in ("reference", "fast")]

    return make


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_reference_is_open_clips_transform_to_the_last_bit(untrained, both, resize_mode, interpolation):
    fields = {"resize_mode": resize_mode, "interpolation": interpolation}
    loaded = backbones.load(Backbone(**untrained, **fields))
    for image in (photograph(70, 50), photograph(20, 90), photograph(8, 8)):
        for kind in ("JPEG", "PNG"):
            found = both(**fields)[0](encoded(image, kind), "")
            assert torch.equal(found, loaded.preprocess(decode(encoded(image, kind), "")))


@pytest.mark.parametrize("size", [(70, 50), (50, 70), (33, 120), (32, 32), (20, 14), (5, 100), (63, 64), (191, 191)])
@pytest.mark.parametrize(
    "fields", [{}, {"interpolation": "bilinear"}, {"resize_mode": "squash"}, {"resize": 40}, {"size": 48}]
)
def test_fast_is_within_a_level_or_two_of_the_reference(both, size, fields):
    reference, fast = both(**fields)
    source = encoded(photograph(*size))
    assert reference(source, "").shape == fast(source, "").shape
    # both decoders may differ by a level, and so may both ways of rounding
    assert (reference(source, "") - fast(source, "")).abs().max() <= 2.01 * LEVEL
    assert fast(source, "").dtype == torch.float32


@pytest.mark.parametrize("size", [(192, 192), (193, 500), (600, 450), (1000, 2000)])
def test_scaled_decoding_of_large_photographs_is_close(both, size):
    reference, fast = both()
    source = encoded(photograph(*size))
    difference = (reference(source, "") - fast(source, "")).abs()
    assert difference.mean() < 3 * LEVEL
    one, other = reference(source, "").flatten().double(), fast(source, "").flatten().double()
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.999


def test_the_fast_path_is_really_taken(both, monkeypatch):
    import torchvision.io

    calls = []
    decode_jpeg = torchvision.io.decode_jpeg
    monkeypatch.setattr(torchvision.io, "decode_jpeg", lambda *a: (calls.append(1), decode_jpeg(*a))[1])
    both()[1](encoded(photograph(70, 50)), "")
    assert calls
    calls.clear()
    both()[0](encoded(photograph(70, 50)), "")
    assert not calls


@pytest.mark.parametrize(
    ("mode", "kind", "more"),
    [
        ("L", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
        ("RGB", "PNG", {}),
        ("P", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("RGB", "WEBP", {"lossless": True}),
        ("P", "GIF", {}),
    ],
)
def test_other_kinds_of_files(both, mode, kind, more):
    reference, fast = both()
    source = encoded(photograph(70, 50).convert(mode), kind, **more)
    exact = kind != "JPEG" or mode == "CMYK"
    assert (reference(source, "") - fast(source, "")).abs().max() <= (0 if exact else 2.01 * LEVEL)


def test_pixels_take_the_reference_path(both):
    reference, fast = both()
    pixels = np.asarray(photograph(70, 50))
    assert torch.equal(reference(pixels, ""), fast(pixels, ""))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("size", [(70, 50), (600, 450)])
def test_a_truncated_file_is_broken_on_both_paths(both, share, size):
    source = encoded(photograph(*size))
    for prepare in both():
        with pytest.raises(OodgridError, match=r"a/b\.jpg is a broken image"):
            prepare(source[: int(len(source) * share)], "a/b.jpg")


def test_upright_pictures_take_the_reference_path(untrained):
    loaded = backbones.load(Backbone(**untrained))
    exif = Image.Exif()
    exif[0x0112] = 6
    source = encoded(photograph(70, 50), exif=exif)
    found = preparer(loaded.preprocess, loaded.identity["preprocessing"], "fast", exif_rotation=True)(source, "")
    assert torch.equal(found, loaded.preprocess(decode(source, "", exif_rotation=True)))


@pytest.mark.parametrize("size", [(400_000, 1), (1, 400_000)])
def test_an_image_too_long_to_be_resized_is_named(both, size):
    """Its other side would grow to the size of the network, and it would take all memory."""
    long = encoded(Image.new("RGB", size), "PNG")
    for one in both():
        with pytest.raises(OodgridError, match=r"^x.png is too long to be resized .*: replace or remove it$"):
            one(long, "x.png")
    assert both(resize_mode="squash")[0](long, "x.png").shape == (3, 32, 32)


def test_where_the_input_is_no_square_the_fast_path_is_the_reference(untrained):
    loaded = backbones.load(Backbone(**untrained))
    preprocessing = {**loaded.identity["preprocessing"], "size": (32, 48)}
    transform = backbones._transform(preprocessing)
    found = [
        preparer(transform, preprocessing, kind)(encoded(photograph(90, 60)), "") for kind in ("reference", "fast")
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("fields", [{}, {"resize_mode": "squash"}, {"resize": 40}, {"interpolation": "bilinear"}])
def test_scaling_on_the_device_gives_the_same_numbers_to_the_last_bit(untrained, fields):
    """What a GPU does with uint8 is what the host would have done; of the fast path, to a rounding."""
    loaded = backbones.load(Backbone(**untrained, **fields))
    preprocessing = loaded.identity["preprocessing"]
    pictures = [photograph(70, 50, mode=mode) for mode in ("RGB", "L", "CMYK")]
    sources = [encoded(each, "JPEG") for each in pictures] + [encoded(photograph(33, 61), "PNG")]
    for kind, tolerance in (("reference", 0.0), ("fast", 1e-6)):
        host = torch.stack([preparer(loaded.preprocess, preprocessing, kind)(source, "") for source in sources])
        as_bytes = preparer(loaded.preprocess, preprocessing, kind, as_bytes=True)
        pixels = torch.stack([as_bytes(source, "") for source in sources])
        assert pixels.dtype == torch.uint8
        assert (normalised(pixels, preprocessing) - host).abs().max() <= tolerance


def test_whole_batches_scaled_on_the_device_encode_to_the_same_features(untrained, monkeypatch):
    """With a short batch and a broken image, as on a GPU."""
    loaded = backbones.load(Backbone(**untrained))
    images = open_images([np.asarray(photograph(40 + side, 50)) for side in range(5)])
    features = {}
    for as_bytes in (False, True):
        work = Work(loaded, images, skip=True)
        one = preparer(loaded.preprocess, loaded.identity["preprocessing"], as_bytes=as_bytes)

        def prepare(row, source, one=one):
            if row == 2:
                raise OodgridError("broken")
            return one(source, "")

        work.prepare, work.as_bytes = prepare, as_bytes
        ((_, chunk),) = encoded_chunks(work, [0], "")
        assert chunk.usable.tolist() == [True, True, False, True, True]
        features[as_bytes] = chunk.image_features[chunk.usable]
    assert np.array_equal(features[False], features[True])
