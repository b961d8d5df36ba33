"""Train and evaluate several S3PRL downstream tasks of several models from one warmed process.

S3PRL's imports cost 15 seconds; here they are paid once, then one forked child per (model, task)
runs ``s3prl_upstreams.run_downstream``, ``--nj`` at a time. A job whose ``score.json`` was made
from the same command and the same weights is not run again; one that was interrupted goes on. Where
features are kept and on what device a job runs changes no result and may differ; so may the
learning rates of a sweep, each of which has a folder of its own.

    downstream_jobs.py --corpus data/corpus/corpus.json --out exp/downstream \
        --models teacher=exp/teacher/student student=exp/student --tasks asr sid --conf conf
    downstream_jobs.py --data asr=/corpora/LibriSpeech ks=/corpora/SpeechCommands --ngpu 2 ...
    downstream_jobs.py --root /corpora --tasks pr asr ks qbe sid asv sd ic sf er ...
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_kd.utils.files import write_json
from s3prl_upstreams.scores import DEV_FILE
from s3prl_upstreams.tasks import TASKS

DATA = {"asr": "librispeech", "pr": "librispeech", "sid": "voxceleb", "ks": "speech_commands"}
"""Parts of corpus.json; the other tasks' corpora lie in the folder of --root."""
TASK_NAMES = [task.config for task in TASKS]
MARK = "job.json"
STARTED = "started.json"
NEUTRAL = ("--device", "--feature_cache_dir", "--feature_cache_gb", "--feature_memory")
"""Options, each with a value, that change no result."""
SWEEP = "--lr_sweep"
"""Each of its learning rates has a folder of its own: others may be added to a started job."""


@dataclass(frozen=True, eq=False)
class Job:
    """One downstream task of one model."""

    name: str
    model: Path | None
    task: str
    argv: list[str]
    expdir: Path

    @property
    def mark(self) -> dict[str, str]:
        """What a finished job was made from: its command, its configuration and the weights."""
        return self._mark(without_options(self.argv, NEUTRAL))

    @property
    def start_mark(self) -> dict[str, str]:
        """What the checkpoints of a job belong to: any learning rates, if several are tried."""
        words = without_options(self.argv, (*NEUTRAL, SWEEP))
        sweeps = any(word.partition("=")[0] == SWEEP for word in self.argv)
        return self._mark([*words, SWEEP] if sweeps else words)

    def _mark(self, words: Sequence[str]) -> dict[str, str]:
        digest = hashlib.sha256()
        if "-c" in self.argv:
            digest.update(Path(self.argv[self.argv.index("-c") + 1]).read_bytes())
        for file in files_of_model(self.model):
            if file.is_file() and file.suffix != ".md":  # a model card changes nothing
                digest.update(file.read_bytes())
        return {"command": " ".join(words), "model": digest.hexdigest()}

    def is_done(self) -> bool:
        """Whether the score is there and belongs to this command and these weights."""
        return (self.expdir / "score.json").exists() and self._is_marked(MARK, self.mark)

    def _is_marked(self, name: str, mark: dict[str, str]) -> bool:
        """Whether the file ``name`` says that it belongs to this command and these weights."""
        path = self.expdir / name
        if not path.exists():
            return False
        written = json.loads(path.read_text(encoding="utf-8"))
        # Marks were whole commands once; what they belong to is not to be lost.
        return written in (mark, self._mark(self.argv))

    def prepare(self) -> list[str]:
        """Clear the folder of other jobs' results; return the command, resuming our own."""
        self.expdir.mkdir(parents=True, exist_ok=True)
        # Some tasks have a run in a subfolder for each fold, checkpoint or layer.
        states = list(self.expdir.rglob("*.ckpt"))
        scores = list(self.expdir.rglob("score.json"))
        resumes = bool(states or scores) and self._is_marked(STARTED, self.start_mark)
        old = [self.expdir / MARK, self.expdir / "score.json"]
        if not resumes:
            old += [*states, *scores, *self.expdir.rglob(DEV_FILE)]
            self._say_removed(states)
        for path in old:
            path.unlink(missing_ok=True)
        write_json(self.expdir / STARTED, self.start_mark)
        return [*self.argv, "-a"] if resumes else self.argv

    def _say_removed(self, states: Sequence[Path]) -> None:
        if states:
            print(
                f"{self.name} {self.task}: another command or other weights than before, "
                f"{len(states)} old checkpoint(s) removed from {self.expdir}",
                file=sys.stderr,
            )


def without_options(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return a command line without these options and their values."""
    kept: list[str] = []
    is_value = False
    for word in words:
        name, equals, _ = word.partition("=")
        if not is_value and name not in names:
            kept.append(word)
        is_value = not is_value and name in names and not equals
    return kept


def files_of_model(model: Path | None) -> list[Path]:
    """Files of a model's folder, or the model's file; nothing of one that S3PRL fetches."""
    if model is None:
        return []
    return sorted(model.glob("*")) if model.is_dir() else [model]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, help="corpus.json of prepare_data")
    parser.add_argument(
        "--data", nargs="*", default=[], metavar="TASK=DIR", help="instead of the corpus's folder"
    )
    parser.add_argument("--root", default="", help="folder of all other corpora")
    parser.add_argument(
        "--models", nargs="+", required=True, metavar="NAME=DIR", help="NAME= without -k"
    )
    parser.add_argument("--tasks", nargs="+", default=["asr", "sid"], choices=TASK_NAMES)
    parser.add_argument("--conf", type=Path, help="folder of superb_TASK.yaml (default: SUPERB's)")
    parser.add_argument("--variant", help="variant of SUPERB's files, such as armhubert")
    parser.add_argument("--upstream", default="kd_student", help="name after -u")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--override", default="", help="passed on as -o to every job")
    parser.add_argument("--bucket", type=Path, help="length tables for ASR (made when left out)")
    parser.add_argument(
        "--lexicon", nargs="*", default=[], help="for PR (looked for when left out)"
    )
    parser.add_argument("--extra", default="", help="further options of run_downstream")
    parser.add_argument("--nj", type=int, default=2, help="jobs at a time")
    parser.add_argument("--ngpu", type=int, default=0, help="GPUs that the jobs share, 0 = CPU")
    return parser


def folders(args: argparse.Namespace) -> dict[str, str]:
    """Data folder of each task; a task without data is left out and said."""
    corpus = json.loads(args.corpus.read_text(encoding="utf-8")) if args.corpus else {}
    known = dict.fromkeys(TASK_NAMES, args.root)
    known.update({task: corpus[part] for task, part in DATA.items() if part in corpus})
    known.update(pair.split("=", 1) for pair in args.data)
    for task in args.tasks:
        if not known[task]:
            print(f"{task}: there is no data for it, left out", file=sys.stderr)
    return {task: known[task] for task in args.tasks if known[task]}


def files_of(task: str, args: argparse.Namespace) -> list[str]:
    """Overrides of a task's configuration that name the files given on the command line."""
    if task == "asr" and args.bucket is not None:
        return [f"config.downstream_expert.datarc.bucket_file='{args.bucket.absolute()}'"]
    if task == "pr" and args.lexicon:
        paths = [str(Path(name).absolute()) for name in args.lexicon]
        return [f"config.downstream_expert.corpus.lexicon={paths}"]
    return []


def split_overrides(words: list[str]) -> tuple[list[str], str]:
    """Take the value of ``-o`` out of further options: S3PRL only heeds the last one."""
    if "-o" not in words[:-1]:
        return words, ""
    place = words.index("-o")
    return words[:place] + words[place + 2 :], words[place + 1]


def make_jobs(args: argparse.Namespace) -> list[Job]:
    jobs = []
    extra, given = split_overrides(shlex.split(args.extra))
    for task, data in folders(args).items():
        overrides = [*files_of(task, args), args.override, given]
        for pair in args.models:
            name, _, model = pair.partition("=")
            expdir = args.out / name / task
            argv = ["-u", args.upstream, *(["-k", model] if model else [])]
            argv += ["-d", task, "-p", str(expdir), "--data", data]
            argv += ["--device", "cuda" if args.ngpu else "cpu"]
            argv += ["--seed", str(args.seed)]
            if args.conf is not None:
                argv += ["-c", str(args.conf / f"superb_{task}.yaml")]
            if args.variant:
                argv += ["--superb_variant", args.variant]
            if any(overrides):
                argv += ["-o", ",,".join(filter(None, overrides))]
            argv += extra
            jobs.append(Job(name, Path(model) if model else None, task, argv, expdir))
    return jobs


def run_job(job: Job, environ: Mapping[str, str]) -> None:
    """Run one job in a child process; everything it says is added to ``run.log``."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(environ)
    from s3prl_upstreams.run_downstream import main

    argv = job.prepare()
    with (
        (job.expdir / "run.log").open("a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        print(f"# {time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(argv)}", flush=True)
        try:
            code = main(argv)
        except Exception:  # whatever S3PRL raises: the recipe says that it is in this log
            traceback.print_exc()
            code = 1
    if code == 0:
        write_json(job.expdir / MARK, job.mark)
    sys.exit(code)


def devices(ngpu: int) -> list[dict[str, str]]:
    """What makes a child see one GPU, for each of them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name for name in visible.split(",") if name] or [str(i) for i in range(ngpu)]
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names[:ngpu]] or [{}]


def run_all(jobs: list[Job], nj: int, ngpu: int) -> list[Job]:
    """Run the jobs, ``nj`` at a time, on the GPU with the fewest; return those that failed."""
    context = multiprocessing.get_context("fork")
    waiting, failed = list(jobs), []
    running: dict[Job, multiprocessing.process.BaseProcess] = {}
    places = devices(ngpu)
    place_of: dict[Job, int] = {}
    started = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < nj:
                job = waiting.pop(0)
                taken = [place_of[other] for other in running]
                place_of[job] = min(range(len(places)), key=taken.count)
                running[job] = context.Process(target=run_job, args=(job, places[place_of[job]]))
                running[job].start()
            multiprocessing.connection.wait([process.sentinel for process in running.values()])
            for job in [job for job, process in running.items() if not process.is_alive()]:
                process = running.pop(job)
                process.join()
                if process.exitcode:
                    failed.append(job)
                done = len(jobs) - len(waiting) - len(running)
                left = (time.monotonic() - started) / done * (len(jobs) - done)
                print(
                    f"{done}/{len(jobs)} {describe(job)}, about {left:.0f} s left", file=sys.stderr
                )
    finally:  # stopped: nobody would look after the others
        for process in running.values():
            process.terminate()
    return failed


def describe(job: Job) -> str:
    path = job.expdir / "score.json"
    if not path.exists():
        return f"{job.name} {job.task}: FAILED, see {job.expdir / 'run.log'}"
    score = json.loads(path.read_text(encoding="utf-8"))
    return f"{job.name} {score['task']} {score['metric']} {score['value']:.4g} {score['unit']}"


def main() -> None:
    args = get_parser().parse_args()
    jobs = make_jobs(args)
    todo = [job for job in jobs if not job.is_done()]
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} jobs are done already", file=sys.stderr)
        print("\n".join(describe(job) for job in jobs if job not in todo), file=sys.stderr)
    if not todo:
        return
    warm_up()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        failed = run_all(todo, args.nj, args.ngpu)
    except KeyboardInterrupt:
        sys.exit(130)
    if failed:
        sys.exit("failed: " + ", ".join(f"{job.name} {job.task}" for job in failed))


def warm_up() -> None:
    """Import once what every child needs."""
    from s3prl_upstreams import mends, quick_hub

    for mend in mends.BEFORE_IMPORT:
        mend()
    quick_hub.provide_hub(True)
    import s3prl.downstream.runner
    import s3prl.run_downstream

    del s3prl


if __name__ == "__main__":
    main()
