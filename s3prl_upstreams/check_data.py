"""Check the corpora of SUPERB before any of its tasks begins.

    python -m s3prl_upstreams.check_data --data CORPORA [--tasks "pr asr"] [--audio true]

names for each task what is missing and where to get it; ``--audio`` also reads every header.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_kd.data.audio import inspect_audio
from espnet_kd.data.options import boolean
from espnet_kd.data.tables import read_table
from espnet_kd.errors import AudioError, ConfigError, KDError
from espnet_kd.utils.progress import Progress
from s3prl_upstreams.bad_audio import policy_of
from s3prl_upstreams.configs import read_yaml, task_config
from s3prl_upstreams.corpora import fill_config
from s3prl_upstreams.tasks import TASKS, Task, find_task

Config = dict[str, Any]

SOURCES = {
    "PR": "LibriSpeech train-clean-100, dev-clean, test-clean: https://www.openslr.org/12",
    "ASR": "LibriSpeech train-clean-100, dev-clean, test-clean: https://www.openslr.org/12",
    "KS": "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz and "
    "speech_commands_test_set_v0.01.tar.gz there, unpacked into folders of these names",
    "QbE": "https://speech.fit.vutbr.cz/files/quesst14Database.tgz",
    "SID": "VoxCeleb1 (dev/wav, test/wav) and iden_split.txt: "
    "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html (needs a request)",
    "ASV": "VoxCeleb1 (dev/wav, test/wav) and veri_test2.txt: "
    "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html (needs a request)",
    "SD": "Libri2Mix, simulated by https://github.com/ftshijt/LibriMix, its Kaldi folders under "
    "diarization/{train,dev,test}",
    "IC": "Fluent Speech Commands: https://fluent.ai/fluent-speech-commands-a-dataset-for-"
    "spoken-language-understanding-research/",
    "SF": "Audio SNIPS as prepared by S3PRL: s3prl/downstream/docs/superb.md in its repository",
    "ER": "IEMOCAP: https://sail.usc.edu/iemocap/ (needs a request)",
}
"""Where each corpus comes from."""

_SUFFIXES = (".wav", ".flac", ".sph")
_SHOWN = 10


@dataclass(frozen=True)
class Checked:
    """What was found of one task."""

    task: Task
    problem: str = ""
    recordings: int = 0
    hours: float = 0.0

    def line(self) -> str:
        """Say it."""
        if self.problem:
            return f"{self.task.name}: {self.problem}\n  get it: {SOURCES[self.task.name]}"
        counted = f", {self.recordings} recordings, {self.hours:.2f} h" if self.recordings else ""
        return f"{self.task.name}: ready{counted}"


def check_task(task: Task, data: str, conf: str | None = None, audio: bool = False) -> Checked:
    """Look for the corpus of a task and, on request, at the header of every recording.

    Args:
        task: the task.
        data: folder of the corpora.
        conf: folder of ``superb_TASK.yaml`` instead of SUPERB's defaults.
        audio: read the headers.

    Returns:
        What is there, or the problem.

    Raises:
        ConfigError: ``conf`` has no usable file of the task.
    """
    config = task_config(task) if conf is None else _given_config(task, Path(conf))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            fill_config(config, task.downstream, data, scratch, [task.test])
            paths = sorted(set(recordings(config))) if audio else []
            return Checked(task, "", len(paths), _hours(task, paths))
        except KDError as error:
            return Checked(task, str(error))


def _given_config(task: Task, folder: Path) -> Config:
    path = folder / f"superb_{task.config}.yaml"
    if not path.is_file():
        raise ConfigError("--conf", [f"{path} is not there; without --conf SUPERB's own is taken"])
    return read_yaml(path)


def recordings(config: Config) -> Iterator[Path]:
    """Yield the recordings in every folder that a filled configuration names."""
    expert = config["downstream_expert"]
    for block in ("datarc", "corpus", "loaderrc"):
        for value in (expert.get(block) or {}).values():
            folder = Path(value) if isinstance(value, str) and value else None
            if folder is not None and (folder / "wav.scp").is_file():
                rows = read_table(folder / "wav.scp").rows
                yield from (Path(row.value) for row in rows if not row.value.endswith("|"))
            elif folder is not None and folder.is_dir():
                yield from (p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)


def _hours(task: Task, paths: list[Path]) -> float:
    """Return the hours of the recordings.

    Raises:
        AudioError: names up to ten bad recordings and how many there are.
    """
    policy = policy_of(task.downstream)
    seconds, bad = 0.0, []

    def look(path: Path) -> float | AudioError:
        try:
            return inspect_audio(path, path.stem, policy).seconds
        except AudioError as error:
            return error

    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Progress(f"headers of {task.name}", len(paths), "recordings") as progress,
    ):
        for done, found in enumerate(pool.map(look, paths), start=1):
            if isinstance(found, AudioError):
                bad.append(str(found))
            else:
                seconds += found
            progress.reach(done)
    if bad:
        more = f"\n  and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        listing = "\n  ".join(bad[:_SHOWN])
        raise AudioError(f"{len(bad)} recording(s) cannot be used:\n  {listing}{more}")
    return seconds / 3600


def _report(task: Task, options: argparse.Namespace) -> bool:
    """Check a task, say what was found, and return whether it is ready."""
    try:
        checked = check_task(task, options.data, options.conf, options.audio)
    except ConfigError as error:
        # The corpus was not looked at, so that its source is of no use.
        print(f"{task.name}: {' '.join(str(error).split())}", file=sys.stderr)
        return False
    print(checked.line(), file=sys.stderr if checked.problem else sys.stdout)
    return not checked.problem


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 = all is there, 1 = something is missing, said on stderr."""
    parser = argparse.ArgumentParser(prog="python -m s3prl_upstreams.check_data")
    names = " ".join(task.config for task in TASKS)
    parser.add_argument("--data", required=True, help="folder of the corpora")
    parser.add_argument("--tasks", default=names, help=f"of: {names}")
    parser.add_argument("--conf", help="folder of superb_TASK.yaml (default: SUPERB's own)")
    parser.add_argument("--audio", type=boolean, default=False, help="read all headers")
    options = parser.parse_args(argv)
    missing = False
    for name in options.tasks.split():
        task = find_task(name)
        if task is None:
            parser.error(f"--tasks {name}: choose from {names}")
        missing = not _report(task, options) or missing
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
