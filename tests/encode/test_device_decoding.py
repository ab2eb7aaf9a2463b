"""Decoding on the device, run here on the CPU: the same steps, with libjpeg-turbo in nvJPEG's place."""

from __future__ import annotations

import contextlib
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from oodgrid import backbones, store
from oodgrid.config import Backbone, Dataset
from oodgrid.encode import device_decoding
from oodgrid.encode.device_decoding import DeviceDecoder, nvjpeg
from oodgrid.encode.images import encode_images
from oodgrid.encode.pipeline import encoded
from oodgrid.encode.sources import ImageSet
from oodgrid.encode.work import Work
from oodgrid.errors import OodgridError

torch = pytest.importorskip("torch")
MODES = {"RGB": "JPEG", "L": "JPEG", "CMYK": "JPEG", "P": "PNG"}


def file_of(seed, mode="RGB", kind="JPEG", size=(70, 50), **more):
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode).save(file, kind, **more)
    return file.getvalue()


def images_of(sources):
    names = [f"{number}.jpg" for number in range(len(sources))]
    return ImageSet(names, np.full(len(names), -1, np.int32), None, sources.__getitem__)


@pytest.fixture
def loaded(untrained):
    backbone = backbones.load(Backbone(**untrained))
    return lambda kind: dataclasses.replace(backbone, identity={**backbone.identity, "decode": kind})


def on_cpu(loaded):
    return DeviceDecoder(loaded.identity["preprocessing"], "cpu")


def encode(loaded, sources, kind, decoder=None, **more):
    work = Work(loaded(kind), images_of(sources), decoder=decoder, **more)
    work.measures_parity = True
    work.as_bytes, work.prepare = True, work.prepare if decoder else _as_bytes(work, kind)
    ((_, chunk),) = encoded(work, [0], "")
    return chunk


def _as_bytes(work, kind):
    work.as_bytes = True
    return work.preprocessor(kind, False)


def test_the_device_decodes_what_it_can_and_the_host_the_rest(loaded):
    sources = [file_of(seed, mode, kind) for seed in range(3) for mode, kind in MODES.items()]
    sources += [np.asarray(Image.open(io.BytesIO(sources[0]))), file_of(9, keep_rgb=True), sources[0] + b"\0"]
    by_device = encode(loaded, sources, "nvjpeg", on_cpu(loaded("nvjpeg")))
    assert by_device.on_host == 3 + 3 + 3  # CMYK, PNG; pixels, RGB itself, what may be cut off
    fast, reference = (encode(loaded, sources, way) for way in ("fast", "reference"))
    np.testing.assert_array_equal(by_device.image_features[:13], fast.image_features[:13])
    np.testing.assert_array_equal(by_device.image_features[12:], reference.image_features[12:])
    np.testing.assert_array_equal(by_device.sha256, reference.sha256)
    assert by_device.parity["images"] == len(sources)
    assert 0.99 < by_device.parity["cosine_min"] <= 1 + 1e-9


@pytest.mark.parametrize("failing", [{2}, {0, 5}, set(range(6))])
def test_one_file_that_the_device_fails_on_costs_the_others_nothing(loaded, monkeypatch, failing):
    sources = [file_of(seed) for seed in range(6)]
    decoder = on_cpu(loaded("nvjpeg"))
    decode = decoder._decode

    def some(files):
        if any(sources.index(file) in failing for file in files):
            raise RuntimeError("Error while decoding JPEG images: Unknown chroma subsampling")
        return decode(files)

    monkeypatch.setattr(decoder, "_decode", some)
    chunk = encode(loaded, sources, "nvjpeg", decoder)
    assert chunk.on_host == len(failing)
    ways = {way: encode(loaded, sources, way).image_features for way in ("reference", "fast")}
    for row in range(6):
        expected = ways["reference" if row in failing else "fast"][row]
        np.testing.assert_array_equal(chunk.image_features[row], expected)


def test_what_neither_can_decode_is_broken(loaded):
    whole = file_of(1)
    broken = whole[:300] + whole[-2:]  # its end is there, what comes before is not
    sources = [file_of(0), broken, file_of(2)]
    decoder = on_cpu(loaded("nvjpeg"))
    chunk = encode(loaded, sources, "nvjpeg", decoder, skip=True)
    assert chunk.usable.tolist() == [True, False, True]
    assert chunk.skipped[0][0] == "1.jpg" and "is a broken image" in chunk.skipped[0][1]
    with pytest.raises(OodgridError, match=r"1\.jpg is a broken image .* or write on_error: skip"):
        encode(loaded, sources, "nvjpeg", decoder)


def test_pictures_that_are_turned_are_the_hosts_and_only_recorded_work_measures_parity(loaded):
    sources, decoder = [file_of(seed) for seed in range(3)], on_cpu(loaded("nvjpeg"))
    work = Work(loaded("nvjpeg"), images_of(sources), decoder=decoder, upright=True)
    ((_, chunk),) = encoded(work, [0], "")
    assert chunk.on_host == 3
    assert chunk.parity is None
    np.testing.assert_array_equal(chunk.image_features, encode(loaded, sources, "reference").image_features)


def test_few_pixels_are_decoded_at_once(monkeypatch):
    monkeypatch.setattr(device_decoding, "GROUP", 3 * 70 * 50)
    decoder = DeviceDecoder({"size": 32, "resize_mode": "shortest", "interpolation": "bicubic",
                             "mean": [0.5] * 3, "std": [0.5] * 3}, "cpu")  # fmt: skip
    sizes, decode = [], decoder._decode
    monkeypatch.setattr(decoder, "_decode", lambda files: (sizes.append(len(files)), decode(files))[1])
    assert all(picture.shape == (3, 32, 32) for picture in decoder.pixels([file_of(seed) for seed in range(8)]))
    assert sizes == [3, 3, 2]
    assert not decoder.takes(file_of(0, size=(300, 200)))
    assert list(decoder.pixels([])) == []


@pytest.mark.parametrize("fields", [{"resize_mode": "longest"}, {"size": (32, 48)}])
def test_what_open_clip_resizes_in_its_own_way_is_the_hosts(fields):
    plain = {"size": 32, "resize_mode": "shortest", "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3}
    assert DeviceDecoder(plain, "cpu").takes(file_of(0))
    assert not DeviceDecoder({**plain, **fields}, "cpu").takes(file_of(0))


def test_without_a_gpu_it_is_refused(untrained):
    backbone = backbones.load(Backbone(**untrained, decode="nvjpeg"))
    if backbone.device == "cpu":
        with pytest.raises(OodgridError, match=r"decode: nvjpeg needs a GPU: write decode: fast or reference$"):
            Work(backbone, images_of([file_of(0)]))


def test_without_nvjpeg_in_torchvision_it_is_refused(loaded, monkeypatch):
    def decode(*args, **options):
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support\nException raised from …")

    monkeypatch.setattr("torchvision.io.decode_jpeg", decode)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    with pytest.raises(OodgridError) as caught:
        nvjpeg("b32", loaded("nvjpeg").identity["preprocessing"], "cuda:0")
    assert str(caught.value) == (
        "backbone b32: decode: nvjpeg does not work with this torchvision (decode_jpegs_cuda: torchvision not compiled "
        "with nvJPEG support): write decode: fast or reference"
    )


def test_the_feature_file_says_how_it_was_decoded(untrained, tmp_path, monkeypatch, capsys):
    """And which way it was is part of what identifies it."""
    monkeypatch.setattr(
        "oodgrid.encode.work.nvjpeg", lambda name, preprocessing, device: DeviceDecoder(preprocessing, "cpu")
    )
    for number, (mode, kind) in enumerate(MODES.items()):
        path = tmp_path / "photos" / "cat" / f"{number}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_of(number, mode, kind))
    dataset = Dataset(name="photos", folder=str(tmp_path / "photos"))
    provenance = {}
    for kind in ("reference", "fast", "nvjpeg"):
        (path,) = encode_images(tmp_path / kind, Backbone(**untrained, decode=kind), dataset)
        provenance[kind] = store.read_features(path).provenance
        assert provenance[kind]["backbone"]["decode"] == kind
    assert [kind for kind, about in provenance.items() if "parity" in about] == ["fast", "nvjpeg"]
    assert [about.get("decoded_on_host") for about in provenance.values()] == [None, None, 2]
    line = "oodgrid: photos/test: the CPU decoded 2 of 4 images: nvJPEG takes whole JPEG files in grey or YCbCr that "
    assert line in capsys.readouterr().err
