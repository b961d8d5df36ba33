"""The file that SUPERB's leaderboard takes: ``predict.zip``, copied out of experiment folders.

Inside are ``predict/<task>_public/...``, one folder per task; the server scores what it finds and
counts emotion recognition only with all five folds (source: S3PRL's ``submit/submit.py`` and the
leaderboard's own code). Equal predictions give an equal file, byte for byte.
"""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.utils.files import atomic_path
from espnet_kd.utils.options import unknown_key

ZIP = "predict.zip"
"""Name that the leaderboard expects."""

_DATE = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE = 0o100644 << 16
_RUN = "python -m s3prl_upstreams.run_downstream -m evaluate"


@dataclass(frozen=True)
class Part:
    """What one experiment folder contributes."""

    option: str
    """Name of its option in ``submit.py``."""
    task: str
    """Task that it belongs to, as the folders of ``--exp`` are called."""
    place: str
    """Its folder inside that of the task; empty = the folder itself."""
    source: str
    """File in the experiment folder; with ``*`` all that match."""
    target: str
    """Where it goes under ``predict/``; a folder if the source is a pattern."""
    remedy: str
    """Command that makes the source; ``{exp}`` is the experiment folder."""
    optional: bool = False
    """Taken from ``--exp`` only if it is there."""


def _evaluate(checkpoint: str, split: str = "test") -> str:
    return f"{_RUN} -t {split} -e {{exp}}/{checkpoint}"


_KENLM = """ -o "config.downstream_expert.datarc.decoder_args.decoder_type='kenlm'\""""
_QBE = f"{_RUN} -t test -u UPSTREAM -k CHECKPOINT -l BEST_LAYER -d quesst14_dtw -p {{exp}}"
_FOLDS = tuple(
    Part(f"er_fold{n}", "er", f"fold{n}", f"test_fold{n}_predict.txt",
         f"er_fold{n}_public/predict.txt", _evaluate("dev-best.ckpt"))
    for n in range(1, 6)
)  # fmt: skip

PARTS: tuple[Part, ...] = (
    Part("pr", "pr", "", "test-hyp.ark", "pr_public/predict.ark", _evaluate("dev-best.ckpt")),
    Part("asr_no_lm", "asr", "", "test-clean-noLM-hyp.ark", "asr_public/predict.ark",
         _evaluate("dev-clean-best.ckpt", "test-clean")),
    Part("asr_with_lm", "asr", "", "test-clean-LM-hyp.ark", "asr_lm_public/predict.ark",
         _evaluate("dev-clean-best.ckpt", "test-clean") + _KENLM, optional=True),
    Part("ks", "ks", "", "test_predict.txt", "ks_public/predict.txt", _evaluate("dev-best.ckpt")),
    Part("qbe", "qbe", "test", "benchmark.stdlist.xml", "qbe_public/benchmark.stdlist.xml", _QBE),
    Part("sid", "sid", "", "test_predict.txt", "sid_public/predict.txt",
         _evaluate("dev-best.ckpt")),
    Part("sv", "asv", "", "test_predict.txt", "sv_public/predict.txt",
         _evaluate("states-BEST_STEP.ckpt")),
    Part("sd", "sd", "", "scoring/predictions/*.h5", "sd_public",
         _evaluate("best-states-dev.ckpt")),
    Part("ic", "ic", "", "test_predict.csv", "ic_public/predict.csv", _evaluate("dev-best.ckpt")),
    Part("sf", "sf", "", "test-hyp.ark", "sf_public/predict.ark", _evaluate("dev-best.ckpt")),
    *_FOLDS,
)  # fmt: skip
"""Every folder that can be handed in, for the ten tasks."""

TASKS: tuple[str, ...] = tuple(dict.fromkeys(part.task for part in PARTS))
"""Names of the folders inside ``--exp``."""

Folders = dict[Part, Path]
"""What is handed in, and from which experiment folder."""


def folders_of(experiment: str | Path, tasks: Sequence[str] | None = None) -> Folders:
    """Find the experiment folders inside ``experiment``.

    Args:
        experiment: holds one folder per task (``pr``, ``asr``, ...; ``qbe/test``, ``er/fold1``).
        tasks: tasks to hand in; None = those that have a folder.

    Raises:
        ConfigError: an unknown task, or no task at all.
    """
    root = Path(experiment)
    wanted = list(tasks) if tasks is not None else [t for t in TASKS if (root / t).is_dir()]
    problems = [unknown_key(task, TASKS) for task in wanted if task not in TASKS]
    if not wanted:
        problems.append(f"{root} has no folder of a task ({', '.join(TASKS)})")
    if problems:
        raise ConfigError("tasks to hand in", problems)
    found = {part: root / part.task / part.place for part in PARTS if part.task in wanted}
    return {p: path for p, path in found.items() if not p.optional or _files(p, path)}


def folders_by_option(given: Mapping[str, str | Path]) -> Folders:
    """Return the folders that were given one by one, by the options of ``submit.py``."""
    return {part: Path(given[part.option]) for part in PARTS if part.option in given}


def write_submission(folders: Folders, output_dir: str | Path) -> Path:
    """Write ``predict.zip`` into ``output_dir`` (atomically) and return its path.

    Raises:
        ConfigError: lists every missing or empty file with the command that makes it, and the
            folds of emotion recognition that are left out.
        KDError: the file cannot be written.
    """
    members, problems = _members(folders)
    problems += _missing_folds(folders)
    if not folders:
        problems.append("no experiment folder is given")
    if problems:
        raise ConfigError(ZIP, problems)
    path = Path(output_dir) / ZIP
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(members):
            archive.writestr(_entry(name), _content(members[name]))
    return path


def _members(folders: Folders) -> tuple[dict[str, Path], list[str]]:
    """Name in the archive -> file, and what is missing."""
    members: dict[str, Path] = {}
    problems = []
    for part, folder in folders.items():
        files = _files(part, folder)
        if not files:
            problems.append(
                f"{part.task}: {folder / part.source} is missing; "
                f"{_command(part, folder)} writes it"
            )
        for file in files:
            name = f"{part.target}/{file.name}" if "*" in part.source else part.target
            members[f"predict/{name}"] = file
            if file.stat().st_size == 0:
                problems.append(f"{part.task}: {file} is empty; {_command(part, folder)} writes it")
    return members, problems


def _command(part: Part, folder: Path) -> str:
    return part.remedy.format(exp=shlex.quote(str(folder)))


def _files(part: Part, folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(part.source) if path.is_file())


def _missing_folds(folders: Iterable[Part]) -> list[str]:
    given = {part.option for part in folders}
    lacking = [fold.option for fold in _FOLDS if fold.option not in given]
    if not lacking or len(lacking) == len(_FOLDS):
        return []
    return [f"er: {', '.join(lacking)} left out; it is scored with all {len(_FOLDS)} folds only"]


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # unix, on every system
    entry.external_attr = _REGULAR_FILE
    return entry


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KDError(f"cannot read {path}: {error.strerror}") from error
