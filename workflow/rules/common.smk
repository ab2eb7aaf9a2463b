# What the rules share: the validated experiment, the lists of files that it adds up to, fingerprints of code.
import sys

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from oodgrid import grid, plan, registry
from oodgrid.config import parse as parse_experiment
from oodgrid.errors import OodgridError
from oodgrid.identity import code_fingerprint

# Jobs find the package also where it is not installed, as in a conda environment, which unsets PYTHONPATH.
# Not part of the tracked shell text, so that a moved clone reruns nothing.
shell.prefix(f"export PYTHONPATH='{Path(workflow.basedir) / 'src'}'; ")

RESULTS = Path("results")

try:
    experiment = parse_experiment(config)
    plan.check_identities(RESULTS, experiment)
    plan.check_imports(RESULTS, experiment)
    plan.check_labels(RESULTS, experiment)
    if experiment.plugins:  # before anything is computed, not after encoding
        from oodgrid.score.checks import check_plugins

        check_plugins(experiment.scores)
    plan.write_config(RESULTS, experiment.experiment, config)
except OodgridError as error:
    sys.exit(f"oodgrid: error: {error}")

EXPERIMENT = experiment.experiment
CONFIG = plan.config_path(RESULTS, EXPERIMENT).as_posix()
GPU = plan.gpu_per_job()
THREADS = plan.threads(workflow.cores, experiment)


wildcard_constraints:
    backbone=plan.either(b.name for b in experiment.backbones),
    dataset=plan.either(d.name for d in experiment.datasets()),
    id_dataset=plan.either(d.name for d in experiment.id_datasets),
    label_list=plan.either(plan.encoded_lists(experiment)),
    method=plan.either(grid.methods(experiment)),


def feature_files():
    return plan.feature_files(RESULTS, experiment)


def encoded_files():
    return plan.encoded_files(RESULTS, experiment)


def shards(wildcards):
    return plan.shard_files(RESULTS, experiment, wildcards.backbone, wildcards.dataset)


def score_files():
    return plan.score_files(RESULTS, experiment)


def result_files():
    return plan.result_files(RESULTS, experiment)


def figure_files():
    return plan.figure_files(RESULTS, experiment)


def report_files():
    return plan.report_files(RESULTS, experiment)


def fit_input(wildcards):
    place = (RESULTS, experiment, wildcards.backbone, wildcards.id_dataset)
    return plan.fit_input(*place) + plan.view_files(*place, wildcards.method)


def test_features(wildcards):
    return plan.test_features(
        RESULTS, experiment, wildcards.backbone, wildcards.id_dataset
    )


def score_input(wildcards):
    return plan.score_input(RESULTS, experiment, **wildcards)


def spec(*fields):
    return lambda wildcards: plan.spec(experiment, fields, **wildcards)
