"""profiles/generic on stand-ins for PBS, LSF and Grid Engine: programs of their names, which start jobs here."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "profiles" / "generic" / "scheduler.py"
SUBMIT = {"PBS": "qsub", "Grid Engine": "qsub", "LSF": "bsub"}
START = """#!/bin/sh
# Notes its options, starts the script (the last argument, or the standard input) and prints what a scheduler does.
echo "$@" >> {folder}/asked
case " $@ " in *" -V "*) clean= ;; *) clean="env -i PATH=$PATH" ;; esac
if [ "$(basename $0)" = bsub ]; then script={folder}/$$.sh; cat > $script; clean=; else for script; do :; done; fi
setsid $clean bash $script > {folder}/$$.out 2>&1 < /dev/null &
echo {says} | sed s/NUMBER/$!/
"""
ASK = """#!/bin/sh
if [ -e {folder}/down ]; then echo "cannot connect to server" >&2; exit 1; fi
for number; do :; done
number=${{number%%.*}}
if kill -0 $number 2>/dev/null && ! grep -q '^State:.*Z' /proc/$number/status; then echo {running}; exit 0; fi
echo {ended}; exit {code}
"""
END = "#!/bin/sh\nfor number; do /bin/kill -TERM -- -${number%%.*}; done\n"
PROGRAMS = {
    "PBS": {"qsub": ("NUMBER.server",), "qstat": ("R", "qstat: Unknown Job Id NUMBER.server", 153), "qdel": ()},
    "Grid Engine": {
        "qsub": ("NUMBER",),
        "qstat": ("running", "Following jobs do not exist: NUMBER", 1),
        "qconf": (),
        "qdel": (),
    },
    "LSF": {"bsub": ("'Job <NUMBER> is submitted to queue <normal>.'",), "bjobs": ("RUN", "EXIT", 0), "bkill": ()},
}
NAMES = list(PROGRAMS)


def install(scheduler: str, folder: Path) -> Path:
    """Put the stand-ins into a folder, and return it."""
    folder.mkdir()
    for name, says in PROGRAMS[scheduler].items():
        if len(says) == 1:
            text = START.format(folder=folder, says=says[0])
        else:
            text = ASK.format(folder=folder, running=says[0], ended=says[1], code=says[2]) if says else END
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(params=NAMES)
def cluster(request, tmp_path, monkeypatch):
    """A function that runs profiles/generic/scheduler.py where one scheduler is there."""
    programs = install(request.param, tmp_path / "programs")
    monkeypatch.chdir(tmp_path)
    environment = {name: value for name, value in os.environ.items() if name not in ("SGE_ROOT", "SLURM_CONF")}
    environment["PATH"] = f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin"

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(SCRIPT), *arguments]
        return subprocess.run(command, env=environment | variables, capture_output=True, text=True)

    run.scheduler, run.programs = request.param, programs
    return run


def submitted(cluster, script: str, gpus: int = 1, **variables: str) -> str:
    Path("job.sh").write_text(script)
    numbers = ("--threads", "4", "--memory", "16001", "--minutes", "90", "--gpus", str(gpus))
    done = cluster("submit", "--name", "oodgrid_fit", *numbers, "job.sh", **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ended(cluster, job: str) -> str:
    limit = time.monotonic() + 20
    while (said := cluster("status", job).stdout.strip()) == "running" and time.monotonic() < limit:
        time.sleep(0.05)
    return said


@pytest.mark.parametrize(("code", "says"), [(0, "success"), (3, "failed")])
def test_what_a_job_ends_with_is_told(cluster, code, says):
    job = submitted(cluster, f"exit {code}\n")
    assert ended(cluster, job) == says
    assert cluster("status", job).stdout.strip() == says  # also when asked again


def test_a_job_that_was_killed_has_failed_once_no_node_can_have_written(cluster):
    job = submitted(cluster, "sleep 60\n")
    assert cluster("status", job).stdout.strip() == "running"
    cluster("cancel", job)
    time.sleep(0.5)
    assert cluster("status", job).stdout.strip() == "running"  # the file may be on its way
    missed = Path(".snakemake/generic") / f"{job.rsplit('@', 1)[1]}.missed"
    os.utime(missed, (0, 0))
    assert cluster("status", job).stdout.strip() == "failed"


def test_a_scheduler_that_cannot_be_asked_ends_no_job(cluster):
    """Not at once, and not where it was away once before, long ago."""
    job = submitted(cluster, "sleep 60\n")
    down = cluster.programs / "down"
    for _ in range(2):
        down.touch()
        assert cluster("status", job).stdout.strip() == "running"
        for missed in Path(".snakemake/generic").glob("*.missed"):
            os.utime(missed, (0, 0))
        assert cluster("status", job).stdout.strip() == "running"
        down.unlink()
        assert cluster("status", job).stdout.strip() == "running"
    cluster("cancel", job)


def test_a_job_has_the_environment_of_who_submitted_it(cluster, tmp_path):
    job = submitted(cluster, f'echo "$HF_HOME" > "{tmp_path}/said"\n', HF_HOME="/scratch/hub")
    assert ended(cluster, job) == "success"
    assert (tmp_path / "said").read_text().strip() == "/scratch/hub"


def test_the_address_space_of_a_job_on_a_gpu_is_not_bounded(cluster):
    if cluster.scheduler == "Grid Engine":
        submitted(cluster, "true\n", OODGRID_SGE_MEMORY="m_mem_free")
        submitted(cluster, "true\n", gpus=0)
        named, on_cpus = (cluster.programs / "asked").read_text().splitlines()
        assert "h_vmem" not in named and "m_mem_free=4001M" in named
        assert "h_vmem=4001M" in on_cpus


def test_what_a_job_asks_for_is_in_the_words_of_its_scheduler(cluster):
    submitted(cluster, "true\n", OODGRID_SUBMIT="-q 'long queue'")
    submitted(cluster, "true\n", gpus=0)
    with_gpu, without = (cluster.programs / "asked").read_text().splitlines()
    words = {
        "PBS": ("select=1:ncpus=4:mem=16001mb:ngpus=1", "walltime=01:30:00"),
        "Grid Engine": ("-pe smp 4", "h_rt=5400,mem_free=4001M", "gpu=1"),
        "LSF": ("-n 4", "-M 16001MB", "rusage[mem=16001MB]", "-W 90", "num=1"),
    }[cluster.scheduler]
    assert all(word in with_gpu for word in (*words, "oodgrid_fit", "-q long queue"))
    assert not re.search(r"gpu", without.replace(str(Path.cwd()), ""))


def test_what_a_scheduler_refuses_is_one_line(cluster):
    program = cluster.programs / SUBMIT[cluster.scheduler]
    program.write_text("#!/bin/sh\necho 'no such queue' >&2; exit 1\n")
    Path("job.sh").write_text("true\n")
    numbers = ("--threads", "1", "--memory", "1", "--minutes", "1", "--gpus", "0")
    done = cluster("submit", "--name", "x", *numbers, "job.sh")
    assert done.returncode
    assert done.stderr.startswith("oodgrid: error: ")
    assert "no such queue" in done.stderr


def test_no_scheduler_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "find"], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode
    assert done.stderr.startswith("oodgrid: error: ")


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", NAMES)
def test_the_documented_command_runs_an_experiment(imported, tmp_path, scheduler):
    clone, experiment = imported
    plugin = "snakemake-executor-plugin-cluster-generic"
    if not importlib.util.find_spec(plugin.replace("-", "_")):
        folder = tmp_path / "plugin"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        done = subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), plugin], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{plugin} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        clone.env["PYTHONPATH"] += f"{os.pathsep}{folder}"
    clone.env["PATH"] = f"{install(scheduler, tmp_path / 'programs')}{os.pathsep}{clone.env['PATH']}"
    clone.write(experiment | {"methods": ["prototype"], "shots": [1]})
    command = ("snakemake", "--profile", "profiles/generic", "--latency-wait", "10")
    clone.run(*command, "-n")
    output = clone.run(*command)
    assert "with external jobid" in output
    assert clone.metrics()["status"].to_list().count("ok") > 0
    assert "Nothing to be done" in clone.run(*command)
    assert "Nothing to be done" in clone.snakemake()
