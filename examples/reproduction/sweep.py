"""Train all the runs of a study with examples/pytorch/train.py, several at a time, one thread each.

    nice python examples/reproduction/sweep.py hidden_digit --processes 2

says how much there is to do and adds a line to results/STUDY.jsonl for every run that ends. It can be stopped at any
time: runs that have ended are skipped by the next call, the others go on from their last evaluation. The learning rates
come first; the other seeds run at the best of them. The runs start from the models of examples/quickstart/start, or
from models made here where these have none; results from other starting models count as not done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from curves import RESULTS, Run, compact, read_runs
from studies import STUDIES, Job, Study, rehearsal

sys.path.insert(0, str(Path(__file__).parents[1] / "quickstart"))
from prepare import START

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
ENVIRONMENT |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)}  # glibc keeps what tensors leave
ENVIRONMENT["TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"] = "1"  # products in TF32 on a GPU


def start_of(study: Study, out: Path, seed: int = 0) -> Path:
    """Return the folder of a study's starting model; make it if it does not come with the examples and is not there."""
    start, name = study.start, f"{study.start.name}-seed{seed}"
    if (START / name).exists():
        return START / name
    folder = out / "start" / name
    if not folder.exists():
        if start.needs and not Path(start.needs[0]).exists():
            raise SystemExit(f"{study.task} starts from {start.needs[0]}, which is not there: {start.needs[1]}")
        script, *settings = shlex.split(start.command)
        command = [sys.executable, str(ROOT / "examples" / script), *settings, "--seed", str(seed)]
        subprocess.run([*command, "--out", str(folder)], check=True, env=ENVIRONMENT)
    return folder / start.model


def name_of(model: Path) -> str:
    """Return the name of a starting model and the first digits of the SHA-256 of its weights, NAME@1a2b3c4d."""
    folder = model.parent if model.name == "model" else model
    return f"{folder.name}@{hashlib.sha256((model / 'model.safetensors').read_bytes()).hexdigest()[:8]}"


def command_of(job: Job, study: Study, model: Path, out: Path) -> list[str]:
    """Return the command of a job."""
    settings: dict[str, Any] = {**study.common, **job.method.settings, "lr": job.lr, "seed": job.seed}
    settings |= {"task": study.task, "steps": study.steps, "model": model, "out": out}
    if "switch-step" in settings:  # a share of the run
        settings["switch-step"] = round(settings["switch-step"] * study.steps)
    if log := next(out.parent.glob("*/log.jsonl"), None):  # of another run from the same start
        settings["start-log"] = log
    command = [sys.executable, str(ROOT / "examples/pytorch/train.py")]
    for name, value in settings.items():
        values = [] if value is True else value if isinstance(value, list) else [value]
        command += [f"--{name}", *map(str, values)]
    return command


def about_this_machine() -> dict[str, Any]:
    """Return what a result depends on beside its settings."""
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    cpu = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "cpu": cpu[0] if cpu else platform.machine(),
        "torch": torch.__version__,
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
    }


def add_line(study: str, line: dict[str, Any]) -> None:
    """Add a run to the results of a study."""
    with (RESULTS / f"{study}.jsonl").open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


def add_result(study: str, job: Job, start: str, out: Path, seconds: float) -> None:
    """Add the line of a run that has ended."""
    settings, *evaluations = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for evaluation in evaluations:
        evaluation["successes"] = compact(evaluation["successes"], evaluation["samples"])
    settings = {name: value for name, value in settings.items() if name not in ("model", "out", "start_log")}
    run = {"method": job.method.name, "lr": job.lr, "seed": job.seed, "task": settings["task"]}
    about = {**about_this_machine(), "start": start, "seconds": round(seconds), "settings": settings}
    add_line(study, {**run, "about": about, "evaluations": evaluations})


class Sweep:
    """The jobs of a study that run now and those that wait."""

    def __init__(self, name: str, study: Study, out: Path, processes: int) -> None:
        self.name, self.study, self.out = name, study, out / name
        self.models = {seed: start_of(self.study, out, seed) for seed in self.study.starts}
        self.starts = {seed: name_of(model) for seed, model in self.models.items()}
        self.running: dict[str, tuple[Job, subprocess.Popen[bytes], float]] = {}
        self.failed: set[str] = set()
        self.processes = processes

    def finished(self) -> dict[int, list[Run]]:
        """Return the finished runs from each starting model."""
        runs = read_runs(self.name)
        return {seed: [run for run in runs if run.start == start] for seed, start in self.starts.items()}

    def waiting(self) -> list[Job]:
        """Return the jobs that can start now."""
        runs = self.finished()
        done = {(run.method, run.lr, run.seed, start) for start, of in runs.items() for run in of}
        jobs = {job.name: job for job in self.study.jobs(runs[self.study.starts[0]])}
        left = (job for job in jobs.values() if (job.method.name, job.lr, job.seed, job.start) not in done)
        return [job for job in left if job.name not in {*self.running, *self.failed}]

    def folder_of(self, job: Job) -> Path:
        """Return where a job's log and checkpoint are."""
        return self.out / self.starts[job.start] / job.name

    def start(self, job: Job) -> None:
        """Start a job."""
        folder = self.folder_of(job)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "train.log").open("ab") as log:
            command = command_of(job, self.study, self.models[job.start], folder)
            process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT)
        self.running[job.name] = (job, process, time.time())
        self.report(f"started {job.name}")

    def collect(self) -> None:
        """Take the results of the jobs that have ended."""
        for name, (job, process, began) in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[name]
            if process.returncode == 0:
                add_result(self.name, job, self.starts[job.start], self.folder_of(job), time.time() - began)
                self.report(f"finished {name} in {time.time() - began:.0f} s")
            else:
                self.failed.add(name)
                self.report(f"FAILED {name}: see {self.folder_of(job) / 'train.log'}")

    def report(self, event: str) -> None:
        """Say what happened and how long the rest will take."""
        runs = [run for of in self.finished().values() for run in of]
        left = max(0, self.study.count() - len(runs))
        each = float(np.mean([run.about["seconds"] for run in runs])) if runs else float("nan")
        hours = left * each / self.processes / 3600
        print(f"{datetime.now():%H:%M:%S} {event}; {left} of {self.study.count()} left, {hours:.1f} hours", flush=True)

    def run(self, until: float) -> None:
        """Run jobs until there are none or time is up."""
        try:
            while time.time() < until:
                self.collect()
                waiting = self.waiting() if len(self.running) < self.processes else []
                for job in waiting[: self.processes - len(self.running)]:
                    self.start(job)
                if not self.running:
                    return
                time.sleep(2)
        finally:
            for _, process, _ in self.running.values():
                process.terminate()
        print("time is up: the same command goes on", flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at a time (default: %(default)s)")
    parser.add_argument("--hours", type=float, default=1000, help="stop after so long (default: never)")
    parser.add_argument("--out", type=Path, default=Path("outputs/reproduction"), help="of models and checkpoints")
    parser.add_argument("--rehearse", action="store_true", help="all runs in small; their results are in --out")
    args = parser.parse_args()
    name, study, out = args.study, STUDIES[args.study], args.out.resolve()
    if args.rehearse:  # the name is a path then, so that RESULTS / name is not in results/
        out = out / "rehearsal"
        out.mkdir(parents=True, exist_ok=True)
        name, study = str(out / name), rehearsal(study)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped: the same command goes on"))
    Sweep(name, study, out, args.processes).run(time.time() + 3600 * args.hours)


if __name__ == "__main__":
    main()
