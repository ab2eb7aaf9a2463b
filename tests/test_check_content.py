"""What `oodgrid check` knows of images and texts before the first job, without decoding one or loading a network."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from oodgrid import paths, store
from oodgrid.cli.checking import check_experiment
from oodgrid.config import parse
from oodgrid.encode import concept_world, decode
from oodgrid.encode.sources import copies, open_splits
from oodgrid.errors import OodgridError

OTHER = {"name": "other", "model": "ViT-B-32-quickgelu", "pretrained": "openai"}


def images(folder, names, count, seed):
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 255, (8, 9, 3), dtype=np.uint8)).save(folder / name / f"{number}.bmp")


@pytest.fixture
def world(tmp_path, experiment_of):
    """Folders of images of one size in bytes, so that no size tells them apart, and a builder of experiments."""
    images(tmp_path / "own", ["circle", "star"], 6, 1)
    images(tmp_path / "far", ["cross", "ring"], 4, 2)

    def make(ood=None, kind="far", methods=("linear_probe",), shots=(1,), backbones=(OTHER,), **dataset):
        entries = [{"name": "far", "folder": str(tmp_path / "far")}] if ood is None else ood
        entries = entries if isinstance(entries, list) else [entries]
        own = {"name": "own", "folder": str(tmp_path / "own"), "splits": {"train": 3, "val": 1}, **dataset}
        sets = [{**own, "ood": {kind: entries}}]
        return parse(experiment_of(
            backbones=list(backbones), id_datasets=sets, methods=list(methods), shots=list(shots), seeds=[1, 2],
            scores=["msp"],
        ))  # fmt: skip

    return SimpleNamespace(folder=tmp_path, results=tmp_path / "results", make=make)


def said(world, capsys, experiment):
    check_experiment(world.results, experiment)
    return capsys.readouterr().err


def refused(world, experiment):
    with pytest.raises(OodgridError) as caught:
        check_experiment(world.results, experiment)
    return str(caught.value).split("\n")


# ------------------------------------------------------------------------------------------------------ own images


def as_folder(world, taken):
    for place in taken:
        (world.folder / "far" / "cross" / f"{place.parent.name} {place.name}").write_bytes(place.read_bytes())
    return


def as_archive(world, taken):
    with zipfile.ZipFile(world.folder / "far.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for place in [*(world.folder / "far").rglob("*.bmp"), *taken]:
            archive.write(place, f"{place.parent.name}/{place.parts[-3]} {place.name}")
    return {"name": "far", "archive": str(world.folder / "far.zip")}


def as_list(world, taken):
    lines = [f"{place},0" for place in [*(world.folder / "far").rglob("*.bmp"), *taken]]
    (world.folder / "far.csv").write_text("\n".join(["path,label", *lines]))
    return {"name": "far", "list": {"file": str(world.folder / "far.csv")}}


@pytest.mark.parametrize("ood_of", [as_folder, as_archive, as_list])
@pytest.mark.parametrize("count", [0, 1, 12])
def test_images_of_the_id_set_among_the_ood_images_are_refused(world, capsys, ood_of, count):
    taken = sorted((world.folder / "own").rglob("*.bmp"))[:count]
    ood = ood_of(world, taken)
    if not count:
        assert "overlaps" not in said(world, capsys, world.make(ood))
        return
    (line,) = refused(world, world.make(ood))
    words = "1 of its 9 samples is a sample" if count == 1 else "12 of its 20 samples are samples"
    assert line.startswith(f"OOD set far overlaps ID set own: {words} of the ID set too, the first ")
    assert line.endswith("Take them out, or write allow_overlap: true under own")
    assert words in said(world, capsys, world.make(ood, allow_overlap=True))
    assert "overlaps" not in said(world, capsys, world.make(ood, kind="covariate"))


def test_the_same_source_under_another_name_is_refused_unread(world):
    with pytest.raises(OodgridError, match="far overlaps ID set own: both are read from the same place"):
        world.make({"name": "far", "folder": str(world.folder / "own")})


def test_pixels_without_files_are_compared_too(world, capsys):
    rng = np.random.default_rng(0)
    own, far = (rng.integers(0, 255, (12, 8, 8, 3), dtype=np.uint8) for _ in range(2))
    np.savez(world.folder / "own.npz", images=own, labels=np.arange(12) % 2)
    source = {"folder": None, "numpy": {"images": str(world.folder / "own.npz")}, "classnames": ["circle", "star"]}
    for name, ours in (("far.npz", far), ("near.npz", np.concatenate([own[3:4], far[1:]]))):
        np.savez(world.folder / name, images=ours, labels=np.arange(12) % 2)
        experiment = world.make({"name": "far", "numpy": {"images": str(world.folder / name)}}, **source)
        if name == "near.npz":
            assert "1 of its 12 samples is a sample" in refused(world, experiment)[0]
        else:
            assert "overlaps" not in said(world, capsys, experiment)


@pytest.mark.parametrize("encoded", [("own",), ("far",), ("own", "far")])
def test_what_is_encoded_is_compared_by_its_digests(world, make_features, encoded):
    as_folder(world, sorted((world.folder / "own").rglob("*.bmp"))[:5])
    experiment = world.make()
    for dataset in filter(lambda each: each.name in encoded, experiment.datasets()):
        for split, images in open_splits(dataset).items():
            sha256 = [np.frombuffer(decode.source_sha256(images.read(row)), np.uint8) for row in range(len(images))]
            provenance = {"backbone": OTHER | experiment.backbones[0].identity, "dataset": dataset.identity,
                          "split": split, "classnames": images.classnames, "normalised": False}  # fmt: skip
            features = make_features(
                len(images), labels=images.labels, paths=images.paths, sha256=np.array(sha256), provenance=provenance,
                stamps=np.array([images.stamp(row) for row in range(len(images))]),
            )  # fmt: skip
            store.write_features(paths.features(world.results, "other", dataset.name, split), features)
    assert "5 of its 13 samples are samples of the ID set too" in refused(world, experiment)[0]


def test_no_more_is_read_than_a_user_waits_for(world, capsys, monkeypatch):
    as_folder(world, sorted((world.folder / "own").rglob("*.bmp"))[:5])
    monkeypatch.setattr(copies, "READ", 0)
    assert "overlaps" not in said(world, capsys, world.make())


def test_a_finished_experiment_is_not_compared_again(world, capsys):
    as_folder(world, sorted((world.folder / "own").rglob("*.bmp"))[:5])
    experiment = world.make()
    metrics = paths.metrics(world.results, experiment.experiment)
    metrics.parent.mkdir(parents=True)
    metrics.touch()
    copies.check_copies(world.results, experiment, {each.name: open_splits(each) for each in experiment.datasets()})
    assert not capsys.readouterr().err


def test_generated_images_are_counted_and_not_made(world, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("an image was made")

    for name in ("draw_scene", "render", "to_bytes", "digits"):
        monkeypatch.setattr(concept_world, name, refuse)
    far = [{"name": kind, "generated": {"kind": kind, "images": 2000}} for kind in ("textures", "noise", "digits")]
    own = {"concept_world": {"group": "id", "train": 4, "val": 2, "test": 3}, "folder": None, "splits": None}
    experiment = world.make(far, **own)
    counts = check_experiment(world.results, experiment)
    assert counts == {"own": 24 * 9, "textures": 2000, "noise": 2000, "digits": 1797}


# ------------------------------------------------------------------------------------------------------------ shots


def test_shots_that_no_class_has_are_said(world, capsys):
    lines = said(world, capsys, world.make(shots=[1, 3, 16, 64])).splitlines()
    assert [line for line in lines if "shot" in line] == [
        "oodgrid: own at 3 shots: all seeds draw the same shots: no class has more than 3 training samples",
        "oodgrid: own at 16 shots: 2 of 2 classes have fewer than 16 training samples (the fewest: 3)",
        "oodgrid: own at 16 shots: all seeds draw the same shots: no class has more than 16 training samples",
        "oodgrid: own at 64 shots: 2 of 2 classes have fewer than 64 training samples (the fewest: 3)",
        "oodgrid: own at 64 shots: all seeds draw the same shots: no class has more than 64 training samples",
    ]
    assert "shot" not in said(world, capsys, world.make(shots=[64], methods=["zero_shot"]))


def test_shots_of_an_import_are_those_that_it_brought(world, capsys, make_features):
    imported = {"imported": {"tip_adapter": "caches/x"}, "folder": None, "splits": None}
    experiment = world.make(shots=[2, 4], classnames=["a", "b"], text="visual_prototypes", **imported)
    for split, draws in (("train", np.repeat([2, 8], 3)), ("test", None)):
        provenance = {"backbone": {"name": "other"}, "imported": {"test": "test"}, "split": split, "normalised": True,
                      "classnames": ["a", "b"]}  # fmt: skip
        features = make_features(6, classes=2, draws=draws, provenance=provenance)
        store.write_features(paths.features(world.results, "other", "own", split), features)
    assert "own at 4 shots: the imported training features hold no draw of 4 shots (they hold: 2, 8)" in said(
        world, capsys, experiment
    )


# ------------------------------------------------------------------------------------------------------------ words


def test_words_that_a_backbone_never_saw_are_all_named_before_any_job(world, experiment_of):
    methods = ["zero_shot", {"name": "coop", "init": "one crow of many"}]
    names = ["red crow", "sea owl"]
    lines = refused(world, world.make(classnames=names, methods=methods, backbones=["tiny", OTHER]))
    assert [line.partition(" in training: ")[0] for line in lines] == [
        "backbone tiny never saw the words 'crow', 'sea', 'owl' of the texts of the class names of own",
        "backbone tiny never saw the words 'one', 'crow', 'many' of init of method coop@init=one-crow-of-many",
    ]
    assert not world.make(classnames=["star", "red circle"], backbones=[OTHER]).label_lists


def test_words_of_folders_and_of_lists_are_seen_too(world, experiment_of):
    images(world.folder / "birds", ["Star", "wren"], 6, 3)
    own = {"name": "birds", "folder": str(world.folder / "birds"), "splits": {"train": 3, "val": 1}}
    experiment = parse(experiment_of(
        id_datasets=[{**own, "ood": {"far": ["noise"]}}], scores=["mcm", {"name": "neglabel", "labels": "mine"}],
        label_lists=[{"name": "mine", "labels": ["heart", "robin", "finch", "wren"], "drop_classes_of": "birds"}],
    ))  # fmt: skip
    lines = [line.partition(" in training: ")[0] for line in refused(world, experiment)]
    assert lines[0] == "backbone tiny never saw the word 'wren' of the texts of the class names of birds"
    assert lines[1].startswith("backbone tiny never saw the words ") and "'robin', 'finch'" in lines[1]
    assert lines[1].endswith(" of label list mine") and "wren" not in lines[1]


def test_check_imports_no_torch(world, write_yaml):
    own = {"name": "own", "folder": str(world.folder / "own"), "splits": {"train": 3, "val": 1}}
    far = {"name": "far", "folder": str(world.folder / "far")}
    config = {"experiment": "mini", "backbones": ["tiny"], "id_datasets": [{**own, "ood": {"far": [far]}}],
              "methods": ["zero_shot", "coop"], "shots": [1], "seeds": [1], "scores": ["mcm"]}  # fmt: skip
    code = (
        "import sys; from pathlib import Path; from oodgrid.cli.checking import check_experiment\n"
        "from oodgrid.config import load\n"
        "print(check_experiment(Path(sys.argv[1]), load(Path(sys.argv[2]))))\n"
        "assert 'torch' not in sys.modules and 'open_clip' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(world.results), str(write_yaml(config))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'own': 12" in done.stdout
