from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from oodgrid import config
from oodgrid.config import Backbone, Dataset, expand, load, parse
from oodgrid.config.base import Strict
from oodgrid.errors import OodgridError
from tests.failing import failure

ROOT = Path(__file__).parents[1]
CONCEPTS = {"name": "concepts", "ood": {"far": ["noise"]}}
OWN = {"name": "own", "folder": "data/own"}


def id_set(**parts):
    return {"id_datasets": [{**CONCEPTS, **parts}]}


def own(**parts):
    return {"id_datasets": [{**OWN, "ood": {"far": ["noise"]}, **parts}]}


def backbone(**parts):
    return {"backbones": [{"name": "b", "model": "ViT-B-32-quickgelu", "pretrained": "openai", **parts}]}


def described(**source):
    """An OOD set by any source."""
    return id_set(ood={"far": [{"name": "own", **source}]})


BAD = {
    "typo in a top-level key": ({"bakbones": ["tiny"]}, "unknown config key of experiment 'bakbones'", "'backbones'"),
    "a metric that is always there": ({"metrics": ["auroc"]}, "metrics: 'auroc'", "the form fpr@90"),
    "a recall of nothing": ({"metrics": ["fpr@0"]}, "metrics: 'fpr@0'", "the form fpr@90"),
    "a recall above all": ({"metrics": ["fpr@100.5"]}, "metrics: 'fpr@100.5'", "the form fpr@90"),
    "a recall as a fraction": ({"metrics": ["fpr@.9"]}, "metrics: 'fpr@.9'", "a percentage"),
    "a recall of too many digits": ({"metrics": ["fpr@99.12345"]}, "fpr@99.12345", "four decimals"),
    "typo in a key of an ID set": (id_set(allow_overlaps=True), "'allow_overlaps'", "mean 'allow_overlap'"),
    "typo in the kind of OOD sets": (id_set(ood={"neer": ["noise"]}), "config key of ood 'neer'", "mean 'near'"),
    "typo in a source": (own(foldr="x", folder=None), "'foldr'", "did you mean 'folder'"),
    "typo in the only source": (
        {"id_datasets": [{"name": "own", "foldr": "x", "ood": {"far": ["noise"]}}]}, "'foldr'", "did you mean 'folder'",
    ),
    "typo in a source's field": (described(generated={"kind": "noise", "imgs": 3}), "generated 'imgs'", "images"),
    "typo in a backbone's key": (backbone(interpolaton="bicubic"), "'interpolaton'", "mean 'interpolation'"),
    "unknown dataset": (id_set(ood={"far": ["nois"]}), "unknown dataset 'nois'", "did you mean 'noise'"),
    "unknown ID dataset": (id_set(name="concept"), "unknown dataset 'concept'", "did you mean 'concepts'"),
    "unknown method": ({"methods": ["cooop"]}, "unknown method 'cooop'", "did you mean 'coop'"),
    "unknown score": ({"scores": ["mmc"]}, "unknown score 'mmc'", "did you mean 'mcm'"),
    "unknown backbone": ({"backbones": ["tini"]}, "unknown backbone 'tini'", "did you mean 'tiny'"),
    "unknown parameter": ({"methods": [{"name": "coop", "epoch": 3}]}, "method coop 'epoch'", "did you mean 'epochs'"),
    "wrong type of a parameter": ({"scores": [{"name": "mcm", "T": "hot"}]}, "score mcm: T = 'hot'", "number"),
    "curves of an unknown method": (
        {"report": {"curves": {"method": "tip_adaptor"}}}, "report, curves: unknown method of this experiment",
        "did you mean 'tip_adapter'",
    ),
    "curves of an unknown score": (
        {"report": {"curves": {"method": "tip_adapter", "score": "mcn"}}},
        "report, curves: unknown score of tip_adapter", "did you mean 'mcm'",
    ),
    "curves of image features under a method": (
        {"scores": ["mcm", "knn"], "report": {"curves": {"method": "tip_adapter", "score": "knn"}}},
        "'knn'", "known: mcm",
    ),
    "curves of any where no score looks at image features": (
        {"scores": ["mcm"], "report": {"curves": {"method": "any"}}}, "unknown method of this experiment 'any'", "",
    ),
    "curves of a stream": (
        {"scores": ["mcm", {"name": "adaneg", "labels": "concept-words"}],
         "report": {"curves": {"method": "zero_shot", "score": "adaneg@labels=concept-words"}}},
        "unknown score of zero_shot", "known: mcm",
    ),
    "curves without a method": ({"report": {"curves": {"score": "mcm"}}}, "report.curves.method", "required"),
    "an axis that no score is": (
        {"scores": ["knn"], "grades": {"covariate": "knn"}}, "no score is listed as laid_semantic", "list it",
    ),
    "an axis that depends on methods": (
        {"scores": ["mcm", "knn"], "grades": {"semantic": "mcm", "covariate": "knn"}},
        "grades.semantic: mcm depends on the method", "of the sample alone",
    ),
    "an axis by its base name": (
        {"scores": [{"name": "knn", "k": 2}, "mahalanobis"], "grades": {"semantic": "knn", "covariate": "mahalanobis"}},
        "no score is listed as knn", "write knn@k=2",
    ),
    "one score for both axes": (
        {"scores": ["knn"], "grades": {"semantic": "knn", "covariate": "knn"}}, "both axes are knn", "name two scores",
    ),
    "one level": (
        {"scores": ["knn", "vim"], "grades": {"semantic": "knn", "covariate": "vim", "levels": 1}},
        "levels", "equal to 2",
    ),
    "cells without an axis": ({"grades": {"sets": "cov_{covariate}"}}, "has to hold {semantic} once", "as in cov_"),
    "cells whose levels nothing parts": (
        {"grades": {"sets": "x{semantic}{covariate}"}}, "nothing tells where one level ends", "put a letter",
    ),
    "cells that no set is": (
        {"grades": {"sets": "cov_{covariate}_sem_{semantic}"}}, "no OOD set has a name as cov_", "up to 99: ",
    ),
    "cells with an axis twice": (
        {"grades": {"sets": "{semantic}{semantic}{covariate}"}}, "has to hold {semantic} once", "as in cov_",
    ),
    "a temperature twice": ({"temperatures": [0.1, 0.10000001]}, "temperature 0.1 is listed twice", ""),
    "a temperature of zero": ({"temperatures": [0]}, "temperatures.0", "greater than 0"),
    "temperatures without a score that has one": (
        {"scores": ["max_logit"], "temperatures": [0.1]}, "temperatures: no listed score", "list one",
    ),
    "wrong type of the name": ({"experiment": 3}, "experiment", "string"),
    "wrong type of shots": ({"shots": ["many"]}, "shots.0", "many"),
    "wrong type of a list": ({"methods": "coop"}, "methods", "list"),
    "a method without a name": ({"methods": [{"epochs": 3}]}, "{name: …}", "epochs"),
    "a score as a nested mapping": ({"scores": [{"mcm": {"T": 1}}]}, "a score is written as", "mcm"),
    "a method that is a number": ({"methods": [3]}, "methods.0", "3"),
    "a dataset that is a number": (id_set(ood={"far": [3]}), "ood.far.0", "3"),
    "an ID set without OOD": ({"id_datasets": [{"name": "concepts"}]}, "id_datasets.0.ood", "required"),
    "an ID set by its name alone": ({"id_datasets": ["concepts"]}, "id_datasets.0", "concepts"),
    "no OOD set": (id_set(ood={}), "concepts has no OOD set", "near, far or covariate"),
    "a backbone twice": ({"backbones": ["tiny", "tiny"]}, "backbone tiny is listed twice", ""),
    "an ID set twice": ({"id_datasets": [CONCEPTS, CONCEPTS]}, "ID dataset concepts is listed twice", ""),
    "a method twice": ({"methods": ["coop", {"name": "coop"}]}, "method coop is listed twice", ""),
    "a score twice by its default": ({"scores": ["mcm", {"name": "mcm", "T": 1}]}, "score mcm is listed twice", ""),
    "shots twice": ({"shots": [1, 2, 1]}, "shots 1 is listed twice", ""),
    "a seed twice": ({"seeds": [0, 0]}, "seed 0 is listed twice", ""),
    "an OOD set twice": (id_set(ood={"near": ["noise"], "far": ["noise"]}), "noise is listed twice", "concepts"),
    "no backbone": ({"backbones": []}, "backbones", "at least 1"),
    "no ID set": ({"id_datasets": []}, "id_datasets", "at least 1"),
    "no method": ({"methods": []}, "methods", "at least 1"),
    "no score": ({"scores": []}, "scores", "at least 1"),
    "no shots": ({"shots": []}, "shots", "at least 1"),
    "no seeds": ({"seeds": []}, "seeds", "at least 1"),
    "shots 0": ({"shots": [0]}, "shots.0", "greater than or equal to 1"),
    "negative seed": ({"seeds": [-1]}, "seeds.0", "greater than or equal to 0"),
    "two sources": (own(archive="x.zip"), "dataset own needs one source", "folder and archive"),
    "no source": (described(), "unknown dataset 'own'", ""),
    "a source that is empty": (own(folder=None), "needs one source", "none"),
    "a template without a place": (own(templates=["a photo of a dog"]), "'a photo of a dog'", "{}"),
    "no templates": (own(templates=[]), "templates", "at least 1"),
    "OpenAI's weights without QuickGELU": (backbone(model="ViT-B-16"), "QuickGELU", "model: ViT-B-16-quickgelu"),
    "unknown precision": (backbone(precision="fp8"), "precision", "fp8"),
    "unknown interpolation": (backbone(interpolation="nearest"), "interpolation", "nearest"),
    "recorded overlap": (
        {"id_datasets": [{"name": "imagenet", "folder": "i", "ood": {"far": [{"name": "fgvc", "folder": "f"}]}}]},
        "OOD set fgvc overlaps ID set imagenet", "allow_overlap: true under imagenet",
    ),
    "the ID set as its own OOD set": (id_set(ood={"far": ["concepts"]}), "concepts overlaps", "itself"),
    "the same classes of Concept World": (id_set(ood={"near": ["concepts-blurred-2"]}), "blurred-2", "group id"),
    "the same classes in another light": (id_set(ood={"near": ["moonlit"]}), "moonlit", "group id"),
    "the same class names": (
        own(classnames=["Sea_Lion", "cat"], ood={"far": [{"name": "o", "folder": "o", "classnames": ["sea lion"]}]}),
        "both have 1 class, as 'sea lion'", "allow_overlap",
    ),
    "no classes": (own(classnames=[]), "classnames", "at least 1"),
    "severity out of range": (described(concept_world={"group": "id", "blur": 6}), "blur", "less than or equal to 5"),
    "unknown group": (described(concept_world={"group": "new"}), "group", "unseen_both"),
    "training without validation": (
        described(concept_world={"group": "unseen_both", "train": 4}), "train and val go together", "",
    ),
    "splits of a source that has its own": (
        described(concept_world={"group": "unseen_both"}, splits={"train": 1, "val": 1}),
        "splits", "concept_world has its own",
    ),
    "splits without val": (own(splits={"train": 4}), "splits.val", "required"),
    "no images": (described(generated={"kind": "noise", "images": 0}), "images", "greater than or equal to 1"),
    "a name that is a path": ({"experiment": "../x"}, "experiment", "../x"),
    "a name with a space": (own(name="my set"), "name", "my set"),
    "an experiment over the features": ({"experiment": "features"}, "results/features/", "another name"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_names_thing_and_mend(experiment_of, case):
    changes, thing, mend = BAD[case]
    line = failure(parse, experiment_of(**changes))
    assert thing in line
    assert mend in line
    assert len(line) < 500


def test_one_name_may_not_have_two_meanings(experiment_of):
    other = {**OWN, "folder": "data/other"}
    sets = [{**OWN, "ood": {"far": ["noise"]}}, {**CONCEPTS, "ood": {"far": [other]}}]
    line = failure(parse, experiment_of(id_datasets=sets))
    assert "dataset own is described in two ways (folder): write the same" in line
    sets[1]["ood"]["far"] = [OWN]
    assert parse(experiment_of(id_datasets=sets))


@pytest.mark.parametrize(("written", "is_id"), [("mine", False), ({"name": "mine"}, False), ({"name": "mine"}, True)])
def test_the_entries_that_errors_propose_are_sound(experiment_of, written, is_id):
    """What the message says to write of a name that is not in the catalogue works as it stands."""

    def setting(backbone, dataset):
        sets = [{**dataset, "ood": {"far": ["noise"]}}] if is_id else [{**CONCEPTS, "ood": {"far": [dataset]}}]
        return experiment_of(backbones=[backbone], id_datasets=sets)

    line = failure(parse, setting("enc", {"name": "mine", "imported": {}}))
    encoder = yaml.safe_load(line[line.rindex("{name: enc") :])
    line = failure(parse, setting(encoder, written))
    dataset = yaml.safe_load(line[line.rindex("{name: mine") :])
    assert dataset == {"name": "mine", "imported": {}}
    assert parse(setting(encoder, dataset)).backbones[0].name == "enc"


@pytest.mark.parametrize("ood_says_more", [False, True])
@pytest.mark.parametrize(
    "source", [{"tip_adapter": "${X:-../a b}/{c}, d"}, {"tip_adapter": "x", "test": "val"}, {"text": "t: '1'.npy"}]
)
def test_how_a_set_was_imported_is_said_alike_everywhere(experiment_of, source, ood_says_more):
    brief, full = ({"name": "mine", "imported": imported} for imported in ({}, source))
    first, second = (brief, full) if ood_says_more else (full, brief)
    sets = [{**first, "ood": {"far": ["noise"]}}, {**CONCEPTS, "ood": {"far": [second]}}]
    line = failure(parse, experiment_of(id_datasets=sets))
    mend = yaml.safe_load(line[line.index("imported: {") : line.index(" in both")])
    assert mend == {"imported": source}
    sets = [{**first, **mend, "ood": {"far": ["noise"]}}, {**CONCEPTS, "ood": {"far": [second | mend]}}]
    assert parse(experiment_of(id_datasets=sets))


@pytest.mark.parametrize("missing", ["experiment", "backbones", "id_datasets", "methods", "scores"])
def test_a_missing_key_is_named(experiment_of, missing):
    raw = experiment_of()
    del raw[missing]
    line = failure(parse, raw)
    assert missing in line
    assert "required" in line.lower()


def test_overlaps_are_taken_where_allowed_and_then_marked(experiment_of):
    far = [{"name": "fgvc", "folder": "f"}, {"name": "textures", "folder": "t"}]
    sets = [{"name": "imagenet", "folder": "i", "ood": {"far": far}, "allow_overlap": True}]
    assert parse(experiment_of(id_datasets=sets)).overlaps() == [("imagenet", "fgvc")]


def test_the_same_classes_are_no_overlap_as_covariate_shift(experiment_of):
    experiment = parse(experiment_of(**id_set(ood={"covariate": ["concepts-blurred-2"]})))
    assert experiment.overlaps() == []


def test_defaults(experiment_of):
    raw = experiment_of()
    del raw["shots"], raw["seeds"]
    experiment = parse(raw)
    assert experiment.shots == [1, 2, 4, 8, 16]
    assert experiment.seeds == [1, 2, 3]
    assert experiment.id_dataset("concepts").templates == ["a photo of a {}."]


def test_variants_are_listed_by_what_differs(experiment_of):
    raw = experiment_of(scores=["mcm", {"name": "mcm", "T": 0.5}], methods=[{"name": "coop", "epochs": 3}, "coop"])
    experiment = parse(raw)
    assert [score.listed("score") for score in experiment.scores] == ["mcm", "mcm@T=0.5"]
    assert [method.listed("method") for method in experiment.methods] == ["coop@epochs=3", "coop"]
    assert experiment.method("coop@epochs=3").params == {"epochs": 3}


def test_looking_up_what_an_experiment_names(experiment_of):
    experiment = parse(experiment_of())
    assert experiment.backbone("tiny").model == "oodgrid-tiny"
    assert experiment.dataset("noise").generated.kind == "noise"
    assert next(experiment.id_dataset("concepts").pairs())[0] == "near"
    assert "did you mean 'tiny'" in failure(experiment.backbone, "tin")
    assert "did you mean 'concepts'" in failure(experiment.id_dataset, "concept")
    assert "did you mean 'zero_shot'" in failure(experiment.method, "zeroshot")


def test_catalogue_entries_can_be_changed_in_part(experiment_of):
    sets = [{"name": "concepts", "templates": ["the {}"], "ood": {"far": [{"name": "noise", "covariate_shift": 3}]}}]
    experiment = parse(experiment_of(id_datasets=sets))
    assert experiment.id_dataset("concepts").concept_world.train > 0
    assert experiment.dataset("concepts").templates == ["the {}"]
    assert experiment.dataset("noise").covariate_shift == 3


def test_reading_does_not_change_what_was_given(experiment_of):
    raw = experiment_of()
    before = copy.deepcopy(raw)
    parse(raw)
    assert raw == before


def test_an_experiment_does_not_change_after_reading(experiment_of):
    with pytest.raises(Exception, match="frozen"):
        parse(experiment_of()).experiment = "other"


@pytest.mark.parametrize(
    ("source", "splits"),
    [
        ({"folder": "x"}, 1),
        ({"folder": "x", "splits": {"train": 1, "val": 1}}, 3),
        ({"generated": {"kind": "digits"}}, 1),
        ({"concept_world": {"group": "id"}}, 1),
        ({"concept_world": {"group": "id", "train": 4, "val": 2}}, 3),
    ],
)
def test_split_names(source, splits):
    assert Dataset(name="d", **source).split_names == ("train", "val", "test")[-splits:]


def test_identities_hold_what_decides_and_nothing_else():
    one = Dataset(name="a", folder="x", semantic_distance=1, templates=["a {}"])
    assert one.identity == Dataset(name="b", folder="x", templates=["the {}"]).identity
    for other in (
        {"folder": "y"},
        {"folder": "x", "splits": {"train": 1, "val": 1}},
        {"folder": "x", "classnames": ["k"]},
    ):
        assert Dataset(name="a", **other).identity != one.identity
    plain = Backbone(name="a", model="m", pretrained="p")
    warm, moonlit = (Dataset(name="a", concept_world={"group": "id", "light": light}) for light in ("warm", "moon"))
    assert "light" not in warm.identity["concept_world"]  # as in files from before there were lights
    assert moonlit.identity["concept_world"]["light"] == "moon"
    assert Dataset(name="a", **moonlit.model_dump(include={"concept_world"})).identity == moonlit.identity
    assert plain.identity == Backbone(name="b", model="m", pretrained="p").identity
    for change in ({"model": "n"}, {"pretrained": "q"}, {"interpolation": "bilinear"}, {"resize_mode": "squash"}):
        other = Backbone(**{"name": "a", "model": "m", "pretrained": "p", **change})
        assert other.identity != plain.identity


# --------------------------------------------------------------------------------------------------- the file


def test_a_file_is_read_as_utf8(write_yaml, experiment_of):
    path = write_yaml(experiment_of(**own(classnames=["chien", "été"])))
    assert load(path).id_dataset("own").classnames == ["chien", "été"]


def test_json_is_read_too(tmp_path, experiment_of):
    (tmp_path / "c.json").write_text(json.dumps(experiment_of()))
    assert load(tmp_path / "c.json").experiment == "mini"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"experiment: x\nbackbones: [tiny\nmethods: [coop]\n", "line 3"),
        (b"a: b: c\n", "line 1"),
        (b"a: \x00\n", "YAML"),
        (b"experiment: \xff\xfe\n", "UTF-8"),
        (b"a:\n\tc: d\n", "line 2"),
        (b"", "empty"),
        (b"# only a comment\n", "empty"),
        (b"- a\n- b\n", "no mapping"),
        (b"just text", "no mapping"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, content, said):
    (tmp_path / "config.yaml").write_bytes(content)
    assert said in failure(load, tmp_path / "config.yaml")


def test_a_missing_file_is_one_line(tmp_path):
    assert "No such file" in failure(load, tmp_path / "none.yaml")
    assert str(tmp_path) in failure(load, tmp_path)


@pytest.mark.parametrize(
    "file", ["config.yaml", *(f"experiments/{p.name}" for p in sorted((ROOT / "experiments").glob("*.yaml")))]
)
def test_the_experiments_of_this_project_are_valid(file):
    assert load(ROOT / file).experiment


def test_validating_imports_no_torch(write_yaml, experiment_of):
    code = (
        "import sys; from pathlib import Path; from oodgrid.config import load; from oodgrid import plan, grid;"
        f"e = load(Path({str(write_yaml(experiment_of()))!r})); plan.report_files(Path('r'), e); list(grid.rows(e));"
        "print([m for m in ('torch', 'open_clip', 'torchvision', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_schema_file_is_that_of_the_models():
    file = ROOT / "workflow" / "schemas" / "config.schema.json"
    mend = "oodgrid/config.py has changed: run `oodgrid schema > workflow/schemas/config.schema.json` (make schema)"
    assert json.loads(file.read_text(encoding="utf-8")) == config.schema(), mend


def test_the_schema_allows_names_and_entries():
    schema = config.schema()
    assert schema["additionalProperties"] is False
    for key, part in (("backbones", "Backbone"), ("methods", "Choice"), ("scores", "Choice")):
        options = schema["properties"][key]["items"]["anyOf"]
        assert {"type": "string"} in options
        assert {"$ref": f"#/$defs/{part}"} in options


# ------------------------------------------------------------------------------------------------------- paths


def test_variables_are_filled_in(monkeypatch):
    monkeypatch.setenv("OODGRID_A", "/data")
    monkeypatch.delenv("OODGRID_B", raising=False)
    assert expand("${OODGRID_A}/x") == Path("/data/x")
    assert expand("${OODGRID_A:-../other}/x") == Path("/data/x")
    assert expand("${OODGRID_B:-../shared}/${OODGRID_A}/y") == Path("../shared//data/y")
    assert expand("~/x") == Path.home() / "x"
    assert expand("plain/été $5") == Path("plain/été $5")


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("OODGRID_B", raising=False)
    assert "OODGRID_B" in failure(expand, "${OODGRID_B}/x")


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("OODGRID_B", "")
    assert expand("${OODGRID_B:-d}/x") == Path("d/x")


def test_comments_of_the_default_experiment_name_its_schema():
    first = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=workflow/schemas/config.schema.json"
    assert yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["experiment"] == "demo"


@pytest.mark.parametrize("limit", [0, -3, True, 2.5, "ten", 10**12])
def test_a_wrong_limit_of_the_experiment_is_said_once(experiment_of, limit):
    with pytest.raises(OodgridError) as caught:
        parse(experiment_of(limit=limit))
    assert len(str(caught.value).splitlines()) == 1 and "limit" in str(caught.value)


def test_of_every_part_all_mistakes_are_collected_around_its_other_validators():
    def below(part: type[Strict]) -> list[type[Strict]]:
        return [part, *(each for child in part.__subclasses__() for each in below(child))]

    parts = below(Strict)[1:]
    assert Dataset in parts
    assert {part: [*part.__pydantic_decorators__.model_validators][-1] for part in parts} == dict.fromkeys(
        parts, "_outermost"
    )


@pytest.mark.parametrize("name", ["minilm-l6", "tiny", "clip-vit-b16"])
def test_a_backbone_of_the_catalogue_with_other_fields_is_another(experiment_of, name):
    with pytest.raises(OodgridError) as refused:
        config.parse(experiment_of(backbones=[{"name": name, "prefix": "query: "}]))
    (line,) = str(refused.value).splitlines()
    assert f"backbone {name} is the catalogue's" in line
    assert f"name: my-{name}, model: " in line


def test_a_backbone_without_a_text_tower_needs_something_else_to_stand_for_classes(experiment_of):
    network = {"name": "net", "model": "timm/resnet18", "pretrained": "random"}
    with pytest.raises(
        OodgridError, match=r"^ID dataset concepts: backbone net has no text tower: write text: {net: v"
    ):
        config.parse(experiment_of(backbones=["tiny", network]))
    sets = experiment_of()["id_datasets"]
    config.parse(
        experiment_of(backbones=["tiny", network], id_datasets=[{**sets[0], "text": {"net": "visual_prototypes"}}])
    )
