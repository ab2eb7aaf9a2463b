# What the rules share: the validated experiment, the lists of files that it adds up to, fingerprints of code.
import os
from functools import cache

from snakemake.io import IOFile
from snakemake.logging import logger
from snakemake.settings.enums import Quietness

from oodgrid import grid, paths, plan, rates, texts, unlock
from oodgrid.cli.checking import check_experiment
from oodgrid.config import parse as parse_experiment
from oodgrid.errors import OodgridError

# Jobs run under the interpreter that runs Snakemake, or under that of the environment which is asked for. They find the
# package also where it is not installed, as in such an environment, and modules of the user where he put them. Not part
# of the tracked shell text, so that a moved clone reruns nothing.
deployed = workflow.deployment_settings.deployment_method
shell.prefix(
    plan.job_environment(
        Path(workflow.basedir) / "src", None if deployed else sys.executable
    )
)

RESULTS = paths.RESULTS

try:
    experiment = parse_experiment(config)
    # On the node of a cluster a job checks what it reads itself.
    if workflow.is_main_process:
        if deployed:
            plan.check_deployed(experiment)
        IMAGES = check_experiment(RESULTS, experiment)
# A plugin's sys.exit and a panic of polars are no Exception.
except BaseException as error:
    sys.exit(printed(error, DEBUG))

EXPERIMENT = experiment.experiment
PLANNED = plan.PlannedConfig.of(RESULTS, EXPERIMENT, config)
# What decides a job stands in its other params. Snakemake records no Path among them, so that this one, which names the
# experiment, never makes anew what several experiments share.
CONFIG = PLANNED.path


def pattern(path, **names):
    """Where the files of a kind lie, with a wildcard for each name that is not given."""
    return paths.pattern(path, RESULTS, experiment=EXPERIMENT, **names)


def log_of(*job):
    """The log of a job, by its stage and its names."""
    return str(paths.log(RESULTS, EXPERIMENT, *job))


def on_cluster():
    """Whether jobs run on other machines. Snakemake knows after parsing, and says so in its own jobs there, too."""
    return workflow.remote_exec or workflow.non_local_exec


def requested(stage):
    try:
        return plan.request(
            stage, experiment, os.environ if workflow.remote_exec else {}
        )
    except OodgridError as error:  # a variable of Slurm's
        sys.exit(printed(error, DEBUG))


@cache
def measured():
    return rates.read(RESULTS)


def threads(stage):
    """Threads of a job, when it is asked for them: its share of this machine, or what the node of a cluster gives."""

    def of_job(wildcards):
        if on_cluster():
            return requested(stage).threads
        cores, gpus = map(workflow.global_resources.get, ("_cores", "gpu"))
        return here(cores.value, gpus and gpus.value)

    @cache
    def here(cores, gpus):
        return plan.threads_here(stage, experiment, cores, gpus)

    return of_job


def resources(stage):
    """What else a job needs. Another attempt asks for more memory and time."""
    ask, gpu = plan.REQUESTS[stage], plan.gpu_here(stage, experiment)

    # Not mem_mb, by which the memory of this machine would bound what jobs ask a cluster for.
    def memory(wildcards):
        if on_cluster():
            return 0
        what = wildcards.get("method") or wildcards.get("backbone") or ""
        return plan.memory_here(measured(), stage, what)

    return {
        "gpu": lambda wildcards: requested(stage).gpu if on_cluster() else gpu,
        "memory": memory,
        "mem_mb": lambda wildcards, attempt: ask.mem_mb * attempt,
        "runtime": lambda wildcards, attempt: ask.runtime * attempt,
    }


THREADS = {stage: threads(stage) for stage in plan.REQUESTS}
RESOURCES = {stage: resources(stage) for stage in plan.REQUESTS}


# On one machine its jobs take turns on its GPU and share its memory (`resources` in profiles/default); on a cluster each
# has its own.
resource_scopes:
    gpu="local",
    memory="local",


def our_advice(record):
    """Snakemake advises against its own triggers, which would leave results out of date: our line in its place.

    At a lock it names --unlock, which also takes that of a run which goes on: our line comes last.
    """
    if getattr(record, "exception", "") == "LockException":
        if locked := unlock.notice(Path.cwd()):
            record.msg = f"{record.msg}\noodgrid: {locked}"
    if str(record.msg).startswith("Some jobs were triggered by provenance"):
        record.msg = (
            "Jobs run again where the config or the code that decides their results has changed: see docs/running.md. "
            "What was finished is kept and found again."
        )
    return True


logger.addFilter(our_advice)


# Also those that were killed before they could print anything.
onerror:
    for job in sorted(workflow.scheduler.failed, key=lambda job: list(job.log)):
        logs = ", ".join(
            log
            for log in job.log
            if Path(log).is_file() and Path(log).stat().st_size
        )
        reason = (
            f"see {logs}"
            if logs
            else "without a word: killed, never started, or its files are gone"
        )
        print(
            f"oodgrid: failed: {job.rule.name} of {', '.join(job.wildcards) or EXPERIMENT}, {reason}",
            file=sys.stderr,
        )


# What jobs on other machines read when they parse this file again, whatever became of the user's file since.
if workflow.is_main_process:
    workflow.config_settings.configfiles = [PLANNED.path.absolute()]


# Neither parsing nor a dry run writes anything. Here a job that fails prints its line on the screen; on a cluster it does
# so in a log, which Snakemake must name.
onstart:
    unlock.record(Path.cwd())  # whose lock it is
    try:
        unlock.hold(RESULTS, EXPERIMENT)
        if not workflow.touch:
            plan.check_clock(RESULTS, experiment)
    except OodgridError as error:
        sys.exit(printed(error, DEBUG))
    PLANNED.write()
    cpus = plan.cpus_here(workflow.global_resources["_cores"].value)
    print("to do:", *plan.summary(RESULTS, experiment, IMAGES, cpus), sep="\n")
    if on_cluster():
        (workflow.output_settings.quiet or set()).discard(Quietness.RULES)


wildcard_constraints:
    backbone=plan.either(b.name for b in experiment.backbones),
    dataset=plan.either(d.name for d in experiment.datasets()),
    id_dataset=plan.either(d.name for d in experiment.id_datasets),
    method=plan.either(grid.methods(experiment)),


def environment(name):
    """The file of a conda environment; Snakemake fills in braces, also those of the folder in which the clone lies."""
    path = str(Path(workflow.basedir) / "workflow" / "envs" / f"{name}.yaml")
    return path.replace("{", "{{").replace("}", "}}")


def torch_environment(stage):
    """The conda environment of a job with torch: for GPUs where it computes on one."""

    def of_job(wildcards):
        gpus = workflow.global_resources.get("gpu")
        asked = (
            requested(stage).gpu if on_cluster() else plan.gpu_here(stage, experiment)
        )
        gpu = asked and (gpus is None or gpus.value != 0)
        if gpu and deployed and workflow.is_main_process:
            plan.warn_of_cuda()
        return environment("torch-gpu" if gpu else "torch-cpu")

    return of_job


def score_environment():
    return (
        torch_environment("score")
        if plan.scores_load_torch(experiment)
        else environment("analysis")
    )


def feature_files():
    return plan.feature_files(RESULTS, experiment)


def encoded_files():
    return plan.encoded_files(RESULTS, experiment)


def sharded(outputs, planned):
    """Manifests of shards; of files that are there those by which they were made, for their number changes nothing."""
    complete = all(file.exists() for file in outputs)
    recorded = workflow.persistence.input(IOFile(str(outputs[0]))) if complete else None
    return planned if recorded is None else recorded


def shards(wildcards):
    place = (RESULTS, experiment, wildcards.backbone, wildcards.dataset)
    return sharded(plan.encoded_splits(*place), plan.shard_files(*place))


def view_input(wildcards):
    manifests = plan.view_shard_files(RESULTS, experiment, **wildcards)
    # the file of the training split is another one under another `train:`, whatever the record says
    made_by = sharded([paths.views(RESULTS, **wildcards)], manifests)
    return [*drawn_from(wildcards), *(f for f in made_by if str(f).endswith(".json"))]


def drawn_from(wildcards):
    return plan.drawn_from(
        RESULTS, experiment, wildcards.backbone, wildcards.id_dataset
    )


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
    of_method = (
        plan.view_files,
        plan.outlier_files,
        plan.pseudo_ood_files,
        plan.fitted_parts,
    )
    return plan.fit_input(*place) + [
        file for files in of_method for file in files(*place, wildcards.method)
    ]


def applied_parts(wildcards):
    return plan.applied_parts(RESULTS, experiment, **wildcards)


def test_features(wildcards):
    return plan.test_features(
        RESULTS, experiment, wildcards.backbone, wildcards.id_dataset
    )


def score_input(wildcards):
    return plan.score_input(RESULTS, experiment, **wildcards)


def triggers(rule):
    """The params of a rule that make its jobs run again where they change."""
    return {
        name: lambda wildcards, of=of: of(experiment, **wildcards)
        for name, of in plan.TRIGGERS[rule].items()
    }
