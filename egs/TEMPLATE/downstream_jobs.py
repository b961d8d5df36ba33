"""Train and evaluate several S3PRL downstream tasks of several models from one warmed process.

S3PRL's imports cost 15 seconds; here they are paid once, then one forked child per (model, task)
runs ``s3prl_upstreams.run_downstream``, ``--nj`` at a time. A job whose ``score.json`` was made
from the same command and the same weights is not run again.

    downstream_jobs.py --corpus data/corpus/corpus.json --out exp/downstream \
        --models teacher=exp/teacher/student student=exp/student --tasks asr sid --conf conf
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from espnet_kd.utils.files import write_json

DATA = {"asr": "librispeech", "pr": "librispeech", "sid": "voxceleb", "ks": "speech_commands"}
MARK = "job.json"


@dataclass(frozen=True)
class Job:
    """One downstream task of one model."""

    name: str
    model: Path
    task: str
    argv: list[str]
    expdir: Path

    @property
    def mark(self) -> dict[str, str]:
        """What a finished job was made from: its command and the model's weights."""
        digest = hashlib.sha256()
        for file in sorted(self.model.glob("*")) if self.model.is_dir() else [self.model]:
            digest.update(file.read_bytes())
        return {"command": " ".join(self.argv), "model": digest.hexdigest()}

    def is_done(self) -> bool:
        """Whether the score is there and belongs to this command and these weights."""
        path = self.expdir / MARK
        if not path.exists() or not (self.expdir / "score.json").exists():
            return False
        return json.loads(path.read_text(encoding="utf-8")) == self.mark


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="corpus.json of prepare_data")
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--tasks", nargs="+", default=["asr", "sid"], choices=sorted(DATA))
    parser.add_argument("--conf", type=Path, help="folder of superb_TASK.yaml (default: SUPERB's)")
    parser.add_argument("--variant", help="variant of SUPERB's files, such as armhubert")
    parser.add_argument("--upstream", default="kd_student", help="name after -u")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--override", default="", help="passed on as -o to every job")
    parser.add_argument("--nj", type=int, default=2, help="jobs at a time")
    return parser


def make_jobs(args: argparse.Namespace) -> list[Job]:
    corpus = json.loads(args.corpus.read_text(encoding="utf-8"))
    jobs = []
    for task in args.tasks:
        if not corpus[DATA[task]]:
            print(f"{task}: this corpus has no data for it, left out", file=sys.stderr)
            continue
        for pair in args.models:
            name, _, model = pair.partition("=")
            expdir = args.out / name / task
            argv = ["-u", args.upstream, "-k", model, "-d", task, "-p", str(expdir)]
            argv += ["--data", corpus[DATA[task]], "--device", args.device]
            argv += ["--seed", str(args.seed)]
            if args.conf is not None:
                argv += ["-c", str(args.conf / f"superb_{task}.yaml")]
            if args.variant:
                argv += ["--superb_variant", args.variant]
            if args.override:
                argv += ["-o", args.override]
            jobs.append(Job(name, Path(model), task, argv, expdir))
    return jobs


def run_job(job: Job) -> None:
    """Run one job in a child process; everything it says goes to ``run.log``."""
    from s3prl_upstreams.run_downstream import main

    job.expdir.mkdir(parents=True, exist_ok=True)
    for old in ("score.json", MARK):
        (job.expdir / old).unlink(missing_ok=True)
    with (
        (job.expdir / "run.log").open("w", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        code = main(job.argv)
    if code == 0:
        write_json(job.expdir / MARK, job.mark)
    sys.exit(code)


def run_all(jobs: list[Job], nj: int) -> list[Job]:
    """Run the jobs, ``nj`` at a time; return those that failed."""
    context = multiprocessing.get_context("fork")
    waiting, failed = list(jobs), []
    running: dict[Job, multiprocessing.process.BaseProcess] = {}
    started = time.monotonic()
    while waiting or running:
        while waiting and len(running) < nj:
            job = waiting.pop(0)
            running[job] = context.Process(target=run_job, args=(job,))
            running[job].start()
        multiprocessing.connection.wait([process.sentinel for process in running.values()])
        for job in [job for job, process in running.items() if not process.is_alive()]:
            process = running.pop(job)
            process.join()
            if process.exitcode:
                failed.append(job)
            done = len(jobs) - len(waiting) - len(running)
            left = (time.monotonic() - started) / done * (len(jobs) - done)
            print(f"{done}/{len(jobs)} {describe(job)}, about {left:.0f} s left", file=sys.stderr)
    return failed


def describe(job: Job) -> str:
    path = job.expdir / "score.json"
    if not path.exists():
        return f"{job.name} {job.task}: FAILED, see {job.expdir / 'run.log'}"
    score = json.loads(path.read_text(encoding="utf-8"))
    return f"{job.name} {score['task']} {score['metric']} {score['value']:.2f} {score['unit']}"


def main() -> None:
    args = get_parser().parse_args()
    jobs = make_jobs(args)
    todo = [job for job in jobs if not job.is_done()]
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} jobs are done already", file=sys.stderr)
    if not todo:
        return
    warm_up()
    failed = run_all(todo, args.nj)
    if failed:
        sys.exit("failed: " + ", ".join(f"{job.name} {job.task}" for job in failed))


def warm_up() -> None:
    """Import once what every child needs."""
    from s3prl_upstreams import mends, quick_hub

    for mend in mends.BEFORE_IMPORT:
        mend()
    quick_hub.provide_hub(True)
    import multiprocessing.connection

    import s3prl.downstream.runner
    import s3prl.run_downstream

    del s3prl


if __name__ == "__main__":
    main()
