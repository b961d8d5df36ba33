"""Synthesise a small corpus of many voices in the layouts that recipes and S3PRL read.

Every speaker is made by one fresh process in a fixed order, which makes the result a function of
the seed alone (see :mod:`espnet_kd.data.espeak`) and lets an interrupted run continue.

Shape suffix: S samples.
"""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from espnet_kd.data import librispeech, speech_commands, voxceleb
from espnet_kd.data.audio import resample
from espnet_kd.data.espeak import Engine
from espnet_kd.data.recording import Recording
from espnet_kd.data.vocabulary import COMMANDS, DIGITS, lexicon_lines, random_sentence
from espnet_kd.data.voices import Speaker, cast, record
from espnet_kd.errors import ConfigError, DataDirError
from espnet_kd.utils.files import write_json, write_text
from espnet_kd.utils.options import too_small


@dataclass(frozen=True)
class SynthesisPlan:
    """How many speakers and utterances each part of the corpus has."""

    seed: int = 0
    """Decides voices, sentences and noise."""

    unlabelled_speakers: int = 40
    """Speakers of ``train-clean-360``, on which teachers and students train without labels."""

    unlabelled_utterances: int = 30
    """Utterances of each of them."""

    labelled_speakers: int = 20
    """Speakers of ``train-clean-100``; they are the first of the unlabelled ones."""

    labelled_utterances: int = 15
    """Utterances of each of them."""

    heldout_speakers: int = 6
    """Speakers of ``dev-clean``, and as many others of ``test-clean``; heard nowhere else."""

    heldout_utterances: int = 10
    """Utterances of each of them."""

    sid_utterances: int = 8
    """Training utterances per labelled speaker for speaker identification; plus 3 dev, 5 test."""

    word_repeats: int = 1
    """Times that each labelled or held-out speaker says each keyword; 0 = no keyword corpus."""

    def __post_init__(self) -> None:
        """Refuse negative numbers, which would count as none or end in numpy's tracebacks."""
        if problems := too_small(self, dict.fromkeys(vars(self), 0)):
            raise ConfigError("corpus", problems)


SPLITS = ("train-clean-360", "train-clean-100", "dev-clean", "test-clean")
"""Splits in LibriSpeech's layout."""

_DONE = ".done"
"""Folder with one file per finished speaker."""


@dataclass(frozen=True)
class _Job:
    root: Path
    plan: SynthesisPlan
    speaker: Speaker
    split: str
    """Last split of the speaker: the most that this voice is used for."""


def synthesise(root: str | Path, plan: SynthesisPlan, processes: int = 2) -> None:
    """Make the corpus in ``root``; what is there already is kept.

    ``root`` receives ``LibriSpeech/``, ``VoxCeleb1/``, ``speech_commands/``,
    ``speech_commands_test/``, ``lexicon.txt`` and ``plan.json``.

    Raises:
        DataDirError: ``root`` holds a corpus made from another plan.
        ConfigError: no process.
    """
    if processes < 1:
        raise ConfigError("corpus", [f"processes is {processes}; it must be at least 1"])
    folder = Path(root)
    _check_plan(folder, plan)
    jobs = _jobs(folder, plan)
    todo = [job for job in jobs if not _marker(job).exists()]
    import_once()
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, maxtasksperchild=1) as pool:
        done = pool.imap_unordered(_make_speaker, todo, chunksize=1)
        for _ in tqdm(done, total=len(todo), desc="synthesise", unit="speaker"):
            pass
    lines = [line for job in jobs for line in _marker(job).read_text().splitlines()]
    voxceleb.write_meta(folder / "VoxCeleb1", lines)
    rng = np.random.default_rng([plan.seed, 11])
    if plan.word_repeats:
        noise = folder / speech_commands.TRAIN_ROOT / speech_commands.NOISE
        speech_commands.write_noise(noise, rng)
        test_noise = folder / speech_commands.TEST_ROOT / "_silence_"
        speech_commands.write_noise(test_noise, rng, seconds=1)
    write_text(folder / "lexicon.txt", lexicon_lines())


def forget_speakers(root: str | Path) -> None:
    """Let the next :func:`synthesise` in ``root`` speak for all speakers again."""
    shutil.rmtree(Path(root) / _DONE, ignore_errors=True)


def import_once() -> None:
    """Import here what every forked child needs: scipy alone takes seconds of each."""
    import scipy.signal
    import soundfile

    del scipy, soundfile


def _check_plan(folder: Path, plan: SynthesisPlan) -> None:
    import json

    path = folder / "plan.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != asdict(plan):
        raise DataDirError(
            f"{folder} holds a corpus made from another plan (see {path}); "
            "choose another folder or remove this one"
        )
    write_json(path, asdict(plan))


def _jobs(folder: Path, plan: SynthesisPlan) -> list[_Job]:
    names = ["train-clean-100"] * plan.labelled_speakers
    names += ["train-clean-360"] * max(0, plan.unlabelled_speakers - plan.labelled_speakers)
    names += ["dev-clean"] * plan.heldout_speakers + ["test-clean"] * plan.heldout_speakers
    speakers = cast(len(names), plan.seed)
    return [_Job(folder, plan, *pair) for pair in zip(speakers, names, strict=True)]


def _marker(job: _Job) -> Path:
    return job.root / _DONE / f"{job.speaker.number:04d}.txt"


def _make_speaker(job: _Job) -> None:
    """Speak everything of one speaker; runs in a fresh process."""
    maker = _Maker(job)
    maker.libri()
    lines = maker.sid() if job.split == "train-clean-100" else []
    if job.split != "train-clean-360":
        maker.words()
    write_text(_marker(job), "".join(f"{line}\n" for line in lines))


class _Maker:
    """Speaks the parts of the corpus in which one speaker occurs."""

    def __init__(self, job: _Job) -> None:
        self.job, self.plan = job, job.plan
        self.engine = Engine()
        self.rng = np.random.default_rng([job.plan.seed, 13, job.speaker.number])
        self.name = str(1000 + job.speaker.number)

    def speak(self, chapter: int, index: int, words: str) -> Recording:
        """Say ``words`` with 60-250 ms of room noise around them."""
        spoken_S = self.engine.say(words, self.job.speaker.voice)
        spoken_S = resample(spoken_S, self.engine.sample_rate, 16000)
        before, after = (int(n) for n in self.rng.integers(1000, 4000, size=2))
        wave_S = record(np.pad(spoken_S, (before, after)), self.job.speaker, self.rng)
        return Recording(self.name, str(chapter), index, words.upper(), wave_S)

    def sentences(self, chapter: int, count: int) -> list[Recording]:
        """Say ``count`` random sentences."""
        return [self.speak(chapter, i, random_sentence(self.rng)) for i in range(count)]

    def libri(self) -> None:
        """Write the speaker's chapters of the LibriSpeech layout."""
        root, plan, split = self.job.root / "LibriSpeech", self.plan, self.job.split
        if split == "train-clean-100":
            recordings = self.sentences(100, plan.labelled_utterances)
            librispeech.write_chapter(root, split, recordings)
        if split.startswith("train"):
            recordings = self.sentences(360, plan.unlabelled_utterances)
            librispeech.write_chapter(root, "train-clean-360", recordings)
        else:
            recordings = self.sentences(1, plan.heldout_utterances)
            librispeech.write_chapter(root, split, recordings)

    def sid(self) -> list[str]:
        """Write the speaker's utterances for speaker identification."""
        counts = {"train": self.plan.sid_utterances, "dev": 3, "test": 5}
        splits = {
            split: self.sentences(chapter, count)
            for chapter, (split, count) in enumerate(counts.items(), 500)
        }
        ids = {self.name: f"id{10001 + self.job.speaker.number}"}
        return voxceleb.write_voxceleb(self.job.root / "VoxCeleb1", splits, ids)

    def words(self) -> None:
        """Write the speaker's keywords; held-out speakers validate and test."""
        split = self.job.split
        words = [word for word in (*COMMANDS, *DIGITS) for _ in range(self.plan.word_repeats)]
        recordings = [self.speak(0, index, word) for index, word in enumerate(words)]
        if split == "test-clean":
            for recording in recordings:
                self._write_test_word(recording)
            return
        part = "valid" if split == "dev-clean" else "train"
        name = speech_commands.hashed_name(self.job.speaker.number, part)
        speech_commands.write_words(self.job.root / speech_commands.TRAIN_ROOT, name, recordings)

    def _write_test_word(self, recording: Recording) -> None:
        """File a test word under its class; the test part knows only keywords and the rest."""
        word = recording.text.lower()
        label = word if word in COMMANDS else "_unknown_"
        root = self.job.root / speech_commands.TEST_ROOT
        speech_commands.write_words(
            root, f"{self.name}{word}", [Recording(**{**vars(recording), "text": label})]
        )
