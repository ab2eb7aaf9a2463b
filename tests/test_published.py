"""Published values: reading a file of them, matching settings strictly, verdicts, and `oodgrid compare`."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from oodgrid import catalogue, config, manifests, paths
from oodgrid.cli import main
from oodgrid.errors import OodgridError
from oodgrid.evaluate.run import METRICS
from oodgrid.published import Comparison, Ours, catalogued, compared, read_values
from oodgrid.published.form import Tolerance
from oodgrid.published.words import size_of

SETTING = {
    "backbone": {"model": "ViT-B-16", "pretrained": "openai", "interpolation": "bicubic", "resize": 224},
    "id": "birds",
    "method": "zero_shot",
    "shots": 0,
    "score": {"name": "mcm", "T": 1.0},
    "prompt": ["a photo of a {}."],
}
CONTENT = {
    "datasets": {"birds": {"count": 600, "names": ["my-birds"]}, "fish": {"count": 90}, "cars": {"count": 400}},
    "sources": {
        "paper": {
            "title": "A paper",
            "paper": "Somebody 2026",
            "read": "its Table 1",
            "unit": "percent",
            "sd_published": False,
            "tolerance": {"auroc": 0.5, "fpr95": 1.0, "id_accuracy": 0.5, "why": "a choice"},
            "setting": SETTING,
            "rows": [{"ood": "fish", "auroc": 91.2, "fpr95_id_pos": 40.0}],
        }
    },
}
NUMBERS = {"auroc": 0.912, "fpr95_id_pos": 0.40, "fpr95_id_pos_mcm": 0.402, "fpr95_ood_pos": 0.25, "id_accuracy": 0.8}


def content(**of_source):
    changed = copy.deepcopy(CONTENT)
    changed["sources"]["paper"] |= of_source
    return changed


@pytest.fixture
def values_of(tmp_path):
    def values_of(changed):
        file = tmp_path / "published.yaml"
        file.write_text(changed if isinstance(changed, str) else yaml.safe_dump(changed, sort_keys=False))
        return read_values(file)

    return values_of


def metrics(rows=({},), **changes):
    """Rows of metrics.parquet, of one number a column; `rows` says in what each differs."""
    plain = {
        **{"experiment": "e", "backbone": "b16", "id_dataset": "my-birds", "ood_dataset": "fish", "ood_kind": "far"},
        **{"method": "zero_shot", "base_method": "zero_shot", "shots": 0, "seed": 0, "score": "mcm"},
        **{"base_score": "mcm", "params": '{"T": 1.0}', "status": "ok", "n_id": 600, "n_ood": 90},
        **NUMBERS,
    }
    return pl.DataFrame([plain | changes | row for row in rows], schema=METRICS, strict=False)


def experiment(backbone=(), id_dataset=(), oods=("fish",), **changes):
    encoder = {"name": "b16", "model": "ViT-B-16-quickgelu", "pretrained": "openai"} | dict(backbone)
    ood = {"far": [{"name": name, "imported": {}} for name in oods]}
    birds = {"name": "my-birds", "imported": {}, "ood": ood} | dict(id_dataset)
    fields = {"experiment": "e", "backbones": [encoder], "id_datasets": [birds], "methods": ["zero_shot"]}
    return fields | {"scores": ["mcm"]} | changes


def ours(frame=None, summary=None, **changes):
    return Ours(metrics() if frame is None else frame, summary, config.parse(experiment(**changes)))


# -------------------------------------------------------------------------------------------------------- reading


def test_a_file_gives_its_numbers_as_fractions_in_its_setting(values_of):
    auroc, fpr = values_of(CONTENT)
    assert (auroc.metric, auroc.number, auroc.tolerance) == ("auroc", pytest.approx(0.912), pytest.approx(0.005))
    assert (fpr.metric, fpr.number, fpr.tolerance) == ("fpr95_id_pos", pytest.approx(0.4), pytest.approx(0.01))
    assert (auroc.n_id, {name: its.count for name, its in auroc.oods.items()}) == (600, {"fish": 90})
    fractions = content(unit="fraction", rows=[{"ood": "fish", "auroc": 0.912, "fpr95_id_pos": 0.4}])
    assert [value.number for value in values_of(fractions)] == [auroc.number, fpr.number]


def test_the_example_of_the_docs_is_read(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "compare.md").read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    assert [value.metric for value in read_values(file)] == ["id_accuracy", "auroc", "fpr95_id_pos", "auroc", "auroc"]


def row(**keys):
    return content(rows=[{"ood": "fish", **keys}])


def setting(**keys):
    return content(setting={key: value for key, value in (SETTING | keys).items() if value is not None})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (row(auroc=91, fpr95=40), "fpr95 has two incompatible conventions: write fpr95_id_pos"),
        (row(aurok=91), "unknown key 'aurok': did you mean 'auroc'"),
        (row(AUROC=91), "unknown key 'AUROC': did you mean 'auroc'"),
        (row(auroc=91, FPR95=40), "FPR95 has two incompatible conventions: write fpr95_id_pos"),
        (row(auroc=91, **{"fpr@95": 40}), "fpr@95 has two incompatible conventions: write fpr95_id_pos"),
        (row(auroc=91, tolerance=3), "unknown key 'tolerance'"),
        (row(), "no number: give one of auroc"),
        (row(auroc=0.912), "is it a fraction? Write unit: fraction"),
        (row(fpr95_ood_pos=0.4), "no number is above 1 percent: are they fractions"),
        (row(auroc=912), "912 is no percent, from 0 to 100"),
        (row(auroc=-1), "-1 is no percent"),
        (row(auroc="91.2"), "a number is wanted, not '91.2'"),
        (row(auroc=True), "a number is wanted, not true"),
        (row(auroc=91, n_ood=0), "how many samples one OOD set has, not 0"),
        (content(rows=[{"auroc": 91}]), "the name of an OOD set is wanted"),
        (content(rows=[{"ood": ["fish", "fish"], "auroc": 91}]), "names a set twice"),
        (content(rows=[{"ood": ["fish", "cars"], "n_ood": 90, "auroc": 91}]), "how many samples one OOD set has"),
        (content(rows=[{"ood": "fihs", "auroc": 91}]), "unknown dataset 'fihs': did you mean 'fish'?, or describe it"),
        (content(rows=[]), "at least 1 is wanted"),
        (content(unit="fraction"), "91.2 is no fraction, from 0 to 1: is it a percentage?"),
        (content(unit="points"), "one of 'percent' or 'fraction' is wanted"),
        (content(titel="x"), "unknown config key of source 'titel': did you mean 'title'"),
        (
            content(tolerance={"auroc": 0.5, "why": "x"}),
            "fpr95_id_pos has no tolerance: give its source tolerance: {fpr95",
        ),
        (content(tolerance={"auroc": 0, "fpr95": 1, "why": "x"}), "greater than 0.0 is wanted"),
        (content(tolerance={"auroc": 1, "fpr95": 1}), "why: is required"),
        (content(read=None), "a string is wanted"),
        (setting(method=None), "method: is required and not there"),
        (setting(shots=-1), "greater than or equal to 0 is wanted"),
        (setting(score=None), "auroc is of a score: say which by score"),
        (setting(score={"name": "mcm", "temp": 1}), "unknown parameter of score mcm 'temp'"),
        (setting(score={"name": "mcm", "T": "hot"}), "score mcm: T = 'hot' does not fit"),
        (setting(score=["mcm"]), "a method or score is written as its name"),
        (setting(prompts=["a {}"]), "unknown key 'prompts': did you mean 'prompt'"),
        (
            setting(backbone={"model": "ViT-B-16", "pretrained": "openai", "size": 3}),
            "unknown config key of encoder 'size'",
        ),
        (setting(id="unheard-of"), "unknown dataset 'unheard-of'"),
        ({"sources": {}}, "no sources: docs/compare.md has an example"),
        ({"datasets": {}}, "no sources"),
        ("sources: [", "not valid YAML"),
        ("", "is empty or no mapping: docs/compare.md has an example"),
        (yaml.safe_dump(CONTENT).replace("auroc: 91.2", "auroc: .nan"), ".nan is no number to compute with"),
        (
            yaml.safe_dump(CONTENT).replace("title: A", "title: B\n    title: A"),
            "the key 'title' stands here and in line",
        ),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_the_file_and_the_mend(changed, said, values_of, tmp_path):
    with pytest.raises(OodgridError) as error:
        values_of(changed)
    lines = str(error.value).split("\n")
    assert any(said in line for line in lines), lines
    assert all(line.startswith(f"published values {tmp_path / 'published.yaml'}") for line in lines), lines


def test_all_mistakes_are_said_at_once(values_of):
    with pytest.raises(OodgridError) as error:
        values_of(content(rows=[{"ood": "fish", "aurok": 1}, {"ood": "fish", "auroc": 900}, {"ood": "fish"}]))
    assert len(str(error.value).split("\n")) == 3


def test_all_mistakes_of_a_row_and_of_other_sources_are_said_at_once(values_of, tmp_path):
    """Also beside what is wrong with the form of the file; a name with a mistake in its description is no other one."""
    row = {"ood": ["who", "fish"], "auroc": 912, "fpr95": 4, "aurok": 1, "shot": 3, "shots": -1}
    broken = content(rows=[row], setting=SETTING | {"prompts": 1})
    broken["sources"]["untitled"] = {"unit": "percent"}
    rows = [{"ood": "fish", "auroc": 3}, {"ood": "fish", "auroc": 4}]
    broken["sources"]["twice"] = content(rows=rows)["sources"]["paper"]
    broken["datasets"]["birds"] = {"names": ["my-birds"], "count": "many"}
    with pytest.raises(OodgridError) as error:
        values_of(broken)
    lines = str(error.value).split("\n")
    assert all(line.startswith(f"published values {tmp_path / 'published.yaml'}") for line in lines)
    wanted = [
        *("sources.untitled.title: is required", "datasets.birds.count", "paper.setting: unknown key 'prompts'"),
        *("rows.0: fpr95 has two", "rows.0: unknown key 'aurok'", "rows.0: unknown key 'shot'", "rows.0.auroc: 912"),
        *("rows.0.ood: unknown dataset 'who'", "shots", "twice: auroc of fish is both 3 and 4"),
    ]
    assert all(any(part in line for line in lines) for part in wanted), lines
    assert not any("unknown dataset 'birds'" in line for line in lines)


def test_mistakes_of_several_files_are_said_at_once(results, capsys):
    (results.parent / "a.yaml").write_text("sources: {}")
    assert main(["compare", "e", "--published", "a.yaml", "--published", "b.yaml", "--published", "mine.yaml"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "a.yaml: no sources" in lines[0] and "b.yaml" in lines[1]


@pytest.mark.parametrize(
    ("second", "is_refused"),
    [
        ({"ood": "fish", "auroc": 91.2}, False),  # the same again
        ({"ood": "fish", "auroc": 91.3}, True),
        ({"ood": ["fish"], "auroc": 91.3}, True),
        ({"ood": "fish", "auroc": 91.3, "shots": 0}, True),  # written out, and no other setting
        ({"ood": "fish", "auroc": 91.3, "score": {"name": "mcm", "T": 0.5}}, False),
        ({"ood": "cars", "auroc": 91.3}, False),
        ({"ood": "fish", "fpr95_ood_pos": 30.0}, False),
        ({"ood": "fish", "n_ood": 91, "auroc": 91.3}, False),
    ],
)
def test_one_thing_has_one_number(second, is_refused, values_of):
    rows = [{"ood": "fish", "auroc": 91.2, "fpr95_id_pos": 40.0}, second]
    if not is_refused:  # and what is said twice counts once
        assert len(values_of(content(rows=rows))) == (2 if second == {"ood": "fish", "auroc": 91.2} else 3)
        return
    with pytest.raises(OodgridError, match=r"auroc of fish is both 91.2 and 91.3 percent in one setting"):
        values_of(content(rows=rows))


@pytest.mark.parametrize(
    ("kind", "spelt", "meant"),
    [("score", "MCM", "mcm"), ("score", "Max-Logit", "max_logit"), ("method", "Tip-Adapter-F", "tip_adapter_f")],
)
def test_names_as_papers_write_them_are_told_by_ours(kind, spelt, meant, values_of):
    (compared_value, *_) = compared(values_of(setting(**{kind: spelt})), ours())
    assert f"{kind}: oodgrid has no {kind} {spelt} (is {meant} meant?)" in map(str, compared_value.reasons)


def test_a_value_of_the_catalogue_is_not_contradicted_under_its_own_source(values_of):
    raw = yaml.safe_load((catalogue.FOLDER / "published.yaml").read_text(encoding="utf-8"))
    source = raw["sources"]["mcm"]
    assert values_of({"sources": {"mcm": source}})  # its datasets need no second description
    source["rows"][0]["auroc"] = 95.61
    with pytest.raises(OodgridError, match=r"auroc of inaturalist is both 94\.61 and 95\.61"):
        values_of({"sources": {"mcm": source}})
    assert values_of({"sources": {"mcm-again": source}})  # another source may differ


def test_the_catalogue_says_of_every_number_where_it_was_read():
    values = catalogued()
    assert len(values) > 300
    for value in values:
        about = value.about
        assert about.read
        assert about.paper
        assert about.tolerance.why
        assert 0 < value.tolerance <= 0.08
        assert value.number <= 1
        assert "Ming & Li" not in f"{about.title} {about.paper} {about.read}"
    ids = {value.setting.id for value in values if not value.setting.id.startswith("cifar10-")}  # of one class
    assert ids <= {"imagenet", "imagenet-45k", "caltech101", "oxford_pets", "stanford_cars", "dtd-split", "fgvc",
                   "cifar10", "cifar100", "imagenet-30", "imagenet-10-any", "imagenet-20-any", "imagenet-100-any",
                   "waterbirds-any"}  # fmt: skip


# -------------------------------------------------------------------------------------------------------- matching


def test_the_same_setting_compares(values_of):
    auroc, fpr = compared(values_of(CONTENT), ours())
    assert (auroc.verdict, fpr.verdict) == ("within tolerance", "within tolerance")
    assert auroc.difference == pytest.approx(0, abs=1e-12)
    assert auroc.row._asdict() == {
        "backbone": "b16", "id_dataset": "my-birds", "method": "zero_shot", "base_method": "zero_shot", "shots": 0,
        "score": "mcm", "base_score": "mcm",
    }  # fmt: skip
    assert not auroc.unchecked


@pytest.mark.parametrize(
    ("theirs", "mine", "reason"),
    [
        (
            {"backbone": SETTING["backbone"] | {"model": "ViT-L-14"}},
            {},
            "backbone: ours ViT-B-16 openai, theirs ViT-L-14",
        ),
        ({"backbone": SETTING["backbone"] | {"pretrained": "laion2b_s34b_b88k"}}, {}, "backbone"),
        (
            {"backbone": SETTING["backbone"] | {"interpolation": "bilinear"}},
            {},
            "preprocessing: ours bicubic, theirs bil",
        ),
        ({"backbone": SETTING["backbone"] | {"resize": 256}}, {}, "preprocessing: ours resized to 224, theirs to 256"),
        ({}, {"backbone": {"interpolation": "bilinear"}}, "preprocessing"),
        (
            {"backbone": SETTING["backbone"] | {"pretrained": "datacompdr"}},
            {"backbone": {"pretrained": "datacompdr"}},
            "preprocessing: ours its weights' own (give it by interpolation:), theirs bicubic",
        ),
        ({}, {"backbone": {"pretrained": "mine.pt"}}, "backbone: ours ViT-B-16 mine.pt, theirs ViT-B-16 openai"),
        ({"id": "cars"}, {}, "ID set: ours my-birds, theirs cars"),
        ({"n_id": 601}, {}, "n_id: ours 600, theirs 601"),
        ({"n_id": "unstated"}, {}, "n_id: the source does not say"),
        ({}, {"frame": {"n_id": 59}}, "n_id: ours 59, theirs 600"),
        ({}, {"frame": {"n_ood": 91}}, "n_ood: our fish has 91 samples, their fish 90"),
        ({"prompt": ["a photo of a {}"]}, {}, "prompt: ours 'a photo of a {}.', theirs 'a photo of a {}'"),
        ({}, {"id_dataset": {"templates": ["{}", "a {}"]}}, "prompt: ours '{}' and 1 more"),
        ({}, {"id_dataset": {"text": "visual_prototypes"}}, "prompt: ours has visual prototypes"),
        ({"method": "prototype"}, {}, "method: ours zero_shot, theirs prototype"),
        ({"method": "no_such"}, {}, "method: oodgrid has no method no_such"),
        ({"shots": 16}, {}, "shots: ours 0, theirs 16"),
        ({"score": "msp"}, {}, "score: ours mcm, theirs msp"),
        ({"score": {"name": "mcm", "T": 0.5}}, {}, "score: ours mcm, theirs mcm@T=0.5"),
        ({}, {"frame": {"score": "mcm@T=0.5", "params": '{"T": 0.5}'}}, "score: ours mcm@T=0.5, theirs mcm"),
        ({"score": "zoc"}, {}, "score: oodgrid has no score zoc"),
    ],
)
def test_each_difference_of_a_setting_alone_forbids_the_comparison(theirs, mine, reason, values_of):
    frame = metrics(**mine.get("frame", {}))
    changes = {key: value for key, value in mine.items() if key != "frame"}
    for each in compared(values_of(setting(**theirs)), ours(frame, **changes)):
        assert each.verdict == "not comparable"
        assert [str(why)[: len(reason)] for why in each.reasons] == [reason]


def test_weights_of_a_file_are_those_that_their_own_source_names(values_of):
    own = {"model": "oodgrid-tiny", "pretrained": "package:tiny_clip/weights.safetensors"}
    mine = {"backbone": own | {"model_config_file": "package:tiny_clip/oodgrid-tiny.json"}}
    assert compared(values_of(setting(backbone=own)), ours(**mine))[0].verdict == "within tolerance"
    [why] = compared(values_of(setting(backbone=own | {"resize": 32})), ours(**mine))[0].reasons
    assert str(why) == "preprocessing: ours resized to its own size (give it by size:), theirs to 32"


def test_a_score_of_image_features_is_of_the_encoder_as_it_is(values_of):
    features = {"method": "any", "base_method": "any", "shots": 16, "score": "knn", "base_score": "knn", "params": "{}"}
    frame = metrics([features | {"id_accuracy": None}, {}])
    theirs = setting(score="knn", shots=16)
    theirs["sources"]["paper"]["rows"].append({"id_accuracy": 80.0, "shots": 0})
    auroc, _, accuracy = compared(values_of(theirs), ours(frame))
    assert (auroc.row.method, auroc.verdict) == ("any", "within tolerance")
    assert (accuracy.row.method, accuracy.verdict) == ("zero_shot", "within tolerance")


@pytest.mark.parametrize(
    ("model", "size"),
    [("ViT-B-16-quickgelu", 224), ("ViT-L-14-336-quickgelu", 336), ("ViT-L-16-SigLIP-256", 256), ("RN50x4", 288),
     ("RN50-quickgelu", 224), ("ViT-H-14", 224), ("EVA02-L-14", 224), ("oodgrid-tiny", None), ("timm/resnet50", None)],
)  # fmt: skip
def test_sizes_by_name(model, size):
    assert size_of(model) == size


def test_a_part_of_a_set_does_not_compare(values_of):
    for names in ({"id_dataset": "my-birds-limit-50", "n_id": 600}, {"ood_dataset": "fish-limit-9"}):
        [each, _] = compared(values_of(setting(prompt="learned")), Ours(metrics(**names)))
        assert [why.what for why in each.reasons if why.what != "backbone"] == ["limit"]


def test_a_set_has_its_names_whatever_their_case_and_dashes(values_of):
    for name in ("my_birds", "MyBirds", "Birds"):
        frame, mine = metrics(id_dataset=name), {"id_dataset": {"name": name}}
        assert compared(values_of(CONTENT), ours(frame, **mine))[0].verdict == "within tolerance"


def test_a_whole_set_of_the_catalogue_under_another_name_is_that_set(values_of):
    entry = {"name": "mine", "of": "oxford_pets", "root": "/data", "ood": {"far": [{"name": "fish", "imported": {}}]}}
    theirs = setting(id="oxford_pets")
    frame = metrics(id_dataset="mine", n_id=3669)
    raw = experiment() | {"id_datasets": [entry | {"templates": SETTING["prompt"]}]}
    assert compared(values_of(theirs), Ours(frame, None, config.parse(raw)))[0].verdict == "within tolerance"
    part = raw | {"id_datasets": [entry | {"classes": ["beagle", "pug"]}]}
    reasons = compared(values_of(theirs), Ours(frame, None, config.parse(part)))[0].reasons
    assert "ID set: ours mine, theirs oxford_pets" in map(str, reasons)
    without = compared(values_of(theirs), Ours(frame))[0].reasons  # nobody says what `mine` is
    assert "ID set: ours mine, theirs oxford_pets" in map(str, without)


def test_of_two_versions_of_a_set_that_of_the_same_size_is_taken(values_of):
    theirs = content()
    theirs["datasets"]["fish"]["names"] = ["fish-clean"]
    frame = metrics([{"n_ood": 80}, {"ood_dataset": "fish-clean", "auroc": 0.5}])
    [auroc, _] = compared(values_of(theirs), ours(frame, oods=("fish", "fish-clean")))
    assert (auroc.oods, auroc.ours, auroc.verdict) == (("fish-clean",), 0.5, "differs")


def test_without_a_configuration_names_mean_what_the_catalogue_says(values_of):
    frame = metrics(backbone="clip-vit-b16")
    said = [str(why) for why in compared(values_of(CONTENT), Ours(frame))[0].reasons]
    assert said == ["prompt: ours is not known without a configuration (--config FILE)"]
    assert compared(values_of(setting(prompt="learned")), Ours(frame))[0].verdict == "within tolerance"
    unknown = compared(values_of(setting(prompt="learned")), Ours(metrics(backbone="mine")))[0]
    assert [why.what for why in unknown.reasons] == ["backbone"]


def test_what_a_source_leaves_open_is_said(values_of):
    open_ = setting(backbone={"model": "ViT-B-16", "pretrained": "openai"}, prompt="unstated")
    assert compared(values_of(open_), ours())[0].unchecked == ("prompt", "interpolation", "size")


def test_the_most_similar_row_is_named(values_of):
    rows = [
        {"method": "coop", "base_method": "coop", "shots": 4},
        {"method": "coop", "base_method": "coop", "shots": 16, "score": "msp", "base_score": "msp"},
        {"method": "prototype", "base_method": "prototype", "shots": 16},
    ]
    theirs = setting(method="coop", shots=16, prompt="learned")
    each = compared(values_of(theirs), ours(metrics(rows)))[0]
    assert [str(why) for why in each.reasons] == ["shots: ours 4, theirs 16"]


def test_hyper_parameters_chosen_on_the_test_set_are_no_match_for_honest_ones(values_of):
    frame = metrics(method="coop", base_method="coop", shots=16)
    for leaky, mine in ((True, {}), (False, {"leaky_selection_on_test": True})):
        theirs = setting(method="coop", shots=16, leaky_selection_on_test=leaky)
        assert [why.what for why in compared(values_of(theirs), ours(frame, id_dataset=mine))[0].reasons] == [
            "selection"
        ]


def test_shots_that_a_score_draws_for_itself_are_compared_and_not_those_of_the_fit(values_of):
    vim = {"score": "vim@bank=5", "base_score": "vim", "params": '{"bank": "5"}'}
    knn = {
        **vim,
        "score": "knn@bank=5",
        "base_score": "knn",
        "method": "any",
        "base_method": "any",
        "shots": 2,
        "seed": 1,
    }
    for row, name in ((vim, "vim"), (knn, "knn")):
        frame = ours(metrics(**row))
        agree = compared(values_of(setting(score={"name": name, "bank": 5})), frame)[0]
        assert not agree.reasons
        for bank, what in ((4, "score"), ("5-seed2", "score"), ("shots", "score")):
            each = compared(values_of(setting(score={"name": name, "bank": bank})), frame)[0]
            assert what in [why.what for why in each.reasons]
        test_images = setting(score={"name": name, "bank": 5}, leaky_selection_on_test=True)
        assert [why.what for why in compared(values_of(test_images), frame)[0].reasons] == ["selection"]


# --------------------------------------------------------------------------------------------- numbers and verdicts


@settings(deadline=None)
@given(gap=st.floats(-0.02, 0.02), tolerance=st.floats(0.05, 1.5))
def test_the_tolerance_alone_decides(gap, tolerance):
    value = next(value for value in catalogued() if value.metric == "auroc")
    about = value.about.model_copy(update={"tolerance": Tolerance(auroc=tolerance, why="x")})
    each = Comparison(replace(value, about=about), ours=value.number + gap)
    assert each.difference == pytest.approx(gap, abs=1e-9)
    if abs(abs(gap) - tolerance / 100) > 1e-8:
        assert each.verdict == ("within tolerance" if abs(gap) < tolerance / 100 else "differs")


@pytest.mark.parametrize(
    ("stated", "number", "what"),
    [
        ("fpr95_ood_pos", 40.0, "convention"),  # that is our fpr95_id_pos
        ("fpr95_id_pos", 25.0, "convention"),  # and that our fpr95_ood_pos
        ("fpr95_id_pos_mcm", 25.0, "convention"),
        ("fpr95_unstated", 40.0, "convention"),
        ("fpr95_id_pos", 0.4, "unit"),
    ],
)
def test_swapped_conventions_and_units_are_refused(stated, number, what, values_of):
    theirs = content(rows=[{"ood": "fish", "auroc": 91.2, stated: number}])
    auroc, fpr = compared(values_of(theirs), ours())
    assert auroc.verdict == "within tolerance"
    assert fpr.verdict == "not comparable"
    assert [why.what for why in fpr.reasons] == [what]


def test_a_number_that_no_convention_explains_differs(values_of):
    theirs = content(rows=[{"ood": "fish", "fpr95_ood_pos": 33.0}])
    assert compared(values_of(theirs), ours())[0].verdict == "differs"


def test_results_without_a_convention_do_not_compare_under_it(values_of):
    theirs = content(rows=[{"ood": "fish", "fpr95_id_pos_mcm": 40.2}])
    [each] = compared(values_of(theirs), ours(metrics().drop("fpr95_id_pos_mcm")))
    assert [str(why) for why in each.reasons] == ["convention: our results have no fpr95_id_pos_mcm"]


def test_numbers_are_means_over_seeds_and_sets_and_accuracies_of_no_set(values_of):
    seeds = [{"seed": 1, "auroc": 0.90}, {"seed": 2, "auroc": 0.92}]
    cars = [{"ood_dataset": "cars", "n_ood": 400, "seed": seed, "auroc": 0.70} for seed in (1, 2)]
    learned = {"method": "coop", "base_method": "coop", "shots": 16}
    frame = metrics([*seeds, *cars], **learned)
    theirs = setting(method="coop", shots=16)
    theirs["sources"]["paper"]["rows"] = [
        {"ood": "fish", "auroc": 91.0}, {"ood": ["cars", "fish"], "auroc": 80.5}, {"id_accuracy": 80.0}
    ]  # fmt: skip
    fish, both, accuracy = compared(values_of(theirs), ours(frame, oods=("fish", "cars")))
    assert (fish.ours, both.ours, accuracy.ours) == (pytest.approx(0.91), pytest.approx(0.805), pytest.approx(0.8))
    assert (fish.seeds, both.oods) == (2, ("cars", "fish"))
    assert {each.verdict for each in (fish, both, accuracy)} == {"within tolerance"}


def test_a_set_without_a_number_leaves_its_mean_without(values_of):
    failed = {"ood_dataset": "cars", "n_ood": 400, "status": "failed", "reason": "diverged", "auroc": None}
    theirs = content(rows=[{"ood": ["fish", "cars"], "auroc": 80.5}])
    [each] = compared(values_of(theirs), ours(metrics([{}, failed]), oods=("fish", "cars")))
    assert [str(why) for why in each.reasons] == ["result: ours gave no number: diverged"]


def test_a_mean_of_sets_with_other_seeds_is_no_number(values_of):
    """As where a run failed by half: .9 of one seed and the mean of two seeds are not averaged."""
    learned = {"method": "coop", "base_method": "coop", "shots": 16}
    fish = [{"seed": 1, "auroc": 0.9}, {"seed": 2, "auroc": 0.5}]
    cars = [fields | {"ood_dataset": "cars", "n_ood": 400} for fields in fish]
    cars[1] |= {"status": "failed", "reason": "diverged", "auroc": None}
    theirs = setting(method="coop", shots=16)
    theirs["sources"]["paper"]["rows"] = [{"ood": ["fish", "cars"], "auroc": 80.0}]
    [each] = compared(values_of(theirs), ours(metrics([*fish, *cars], **learned), oods=("fish", "cars")))
    assert [str(why) for why in each.reasons] == ["result: ours gave no number: diverged"]


def test_the_interval_is_that_of_the_summary(values_of):
    row = {
        "backbone": "b16",
        "id_dataset": "my-birds",
        "method": "zero_shot",
        "shots": 0,
        "score": "mcm",
        "scope": "set",
    }
    row |= {"ood_dataset": "fish", "sets": 1}
    summary = pl.DataFrame(
        [
            row | {"metric": "auroc", "mean": 0.912, "lo": 0.9, "hi": 0.92},
            row | {"metric": "fpr95_id_pos", "mean": 0.40, "lo": 0.35, "hi": 0.46},
        ]
    )
    theirs = content(rows=[{"ood": "fish", "auroc": 91.2, "fpr95_id_pos_mcm": 40.0}])
    auroc, fpr = compared(values_of(theirs), ours(summary=summary))
    assert (auroc.lo, auroc.hi) == (pytest.approx(0.9), pytest.approx(0.92))
    assert (fpr.lo, fpr.hi) == (pytest.approx(0.352), pytest.approx(0.462))  # moved by what the two rules differ in


# --------------------------------------------------------------------------------------------------------- the verb


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifests.write_table(paths.metrics(tmp_path / "results", "e"), metrics(), manifests.Metrics(overlaps=[]))
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(experiment()))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(CONTENT))
    return tmp_path / "results"


def test_compare_prints_what_compares_and_sums_up_the_rest(results, capsys):
    assert main(["compare", "e", "--config", "e.yaml", "--published", "mine.yaml"]) == 0
    said = capsys.readouterr().out
    assert "2 within tolerance, 0 differs" in said
    assert re.search(r"A paper +b16: zero_shot, mcm +my-birds / fish +auroc +91.20 +91.20 +\+0.00 +0.50 +within", said)
    assert len(said.splitlines()) < 30  # of over 400 values that do not compare
    assert max(map(len, said.splitlines())) < 500
    assert "--all lists them" in said
    assert (
        main(["compare", "results/e/metrics.parquet", "--config", "e.yaml", "--published", "mine.yaml", "--all"]) == 0
    )
    assert "--all lists them" not in capsys.readouterr().out


def test_compare_as_json_has_every_value_and_why_not(results, capsys):
    assert main(["compare", "e.yaml", "--published", "mine.yaml", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    values = said["values"]
    assert len(values) == len(catalogued()) + 2 == sum(said["counts"].values())
    assert said["settings"] == "e.yaml"
    assert [each["verdict"] for each in values[-2:]] == ["within tolerance"] * 2
    assert all(bool(each["because"]) == (each["verdict"] == "not comparable") for each in values)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x"], "unknown experiment 'x': known: e"),
        (["e", "--published", "none.yaml"], "cannot read published values none.yaml"),
        (["e", "--config", "other.yaml"], "other.yaml is experiment other, and results/e/metrics.parquet is of e"),
        (["mine.yaml"], "unknown config key"),
    ],
)
def test_a_mistake_of_the_command_is_one_line_each(arguments, said, results, capsys):
    (results.parent / "other.yaml").write_text(yaml.safe_dump(experiment(experiment="other")))
    assert main(["compare", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_the_configuration_that_planned_the_run_is_found(results, capsys):
    planned = paths.planned(results, "e", "0123456789abcdef")
    planned.parent.mkdir()
    planned.write_text(yaml.safe_dump(experiment()))
    (results.parent / "e.yaml").unlink()
    assert main(["compare", "--published", "mine.yaml"]) == 0
    assert "settings of ours: results/e/configs/0123456789abcdef.yaml" in capsys.readouterr().out
