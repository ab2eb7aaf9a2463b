# What the rules share: the validated experiment, the lists of files that it adds up to, fingerprints of code.
import os
import sys

from snakemake.settings.enums import Quietness

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
    if experiment.plugins:  # before anything is computed, not after encoding
        from oodgrid.score.checks import check_plugins

        check_plugins(experiment.scores)
    plan.write_config(RESULTS, experiment.experiment, config)
except OodgridError as error:
    sys.exit(f"oodgrid: error: {error}")

EXPERIMENT = experiment.experiment
CONFIG = plan.config_path(RESULTS, EXPERIMENT).as_posix()


def on_cluster():
    """Whether jobs run on other machines. Snakemake knows after parsing, and says so in its own jobs there, too."""
    return workflow.remote_exec or workflow.non_local_exec


def requested(stage):
    return plan.request(stage, os.environ if workflow.remote_exec else {})


def threads(stage):
    """Threads of a job, when it is asked for them: its share of this machine, or what the node of a cluster gives."""

    def of_job(wildcards):
        if on_cluster():
            return requested(stage).threads
        cores, gpus = map(workflow.global_resources.get, ("_cores", "gpu"))
        return plan.threads_here(stage, experiment, cores.value, gpus and gpus.value)

    return of_job


def resources(stage):
    """What else a job needs. Another attempt asks for more memory."""
    ask = plan.REQUESTS[stage]
    return {
        "gpu": lambda wildcards: (
            requested(stage).gpu if on_cluster() else plan.gpu_here(stage)
        ),
        "mem_mb": lambda wildcards, attempt: ask.mem_mb * attempt,
        "runtime": ask.runtime,
    }


THREADS = {stage: threads(stage) for stage in plan.REQUESTS}
RESOURCES = {stage: resources(stage) for stage in plan.REQUESTS}


# On one machine its jobs take turns on its GPU (`resources: gpu=1` in profiles/default); on a cluster each has its own.
resource_scopes:
    gpu="local",


# Here a job that fails prints its line on the screen; on a cluster it does so in a log, which Snakemake must name.
onstart:
    if not workflow.touch:
        try:
            plan.check_clock(RESULTS, experiment)
        except OodgridError as error:
            sys.exit(f"oodgrid: error: {error}")
    if on_cluster():
        (workflow.output_settings.quiet or set()).discard(Quietness.RULES)


# Also those that were killed before they could say a word.
onerror:
    for job in sorted(workflow.scheduler.failed, key=lambda job: list(job.log)):
        logs = ", ".join(
            log
            for log in job.log
            if Path(log).is_file() and Path(log).stat().st_size
        )
        said = f"see {logs}" if logs else "without a word: killed, or never started"
        print(
            f"oodgrid: failed: {job.rule.name} of {', '.join(job.wildcards) or EXPERIMENT}, {said}",
            file=sys.stderr,
        )


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
