"""Keyword spotting of recorded digits: eight of them stand for commands, two are other words.

S3PRL's task has fixed classes, so the recordings of "zero" to "seven" lie in the folders ``yes``
to ``off``; "eight" and "nine" are ``_unknown_``. Nothing is ``stop`` or ``go``. (Synthetic voices
say the commands themselves, see :mod:`espnet_kd.data.synthesis`.)
"""

from __future__ import annotations

from espnet_kd.data import speech_commands
from espnet_kd.data.recording import Recording
from espnet_kd.data.superb_job import SPLITS, LayoutJob
from espnet_kd.data.vocabulary import COMMANDS, DIGITS

STANDS_FOR = dict(zip(list(DIGITS)[:8], COMMANDS, strict=False))
"""Digit -> the command in whose place it is."""


def write_keywords(job: LayoutJob) -> None:
    """Write training, validation and test words, background noise and silence.

    ``job.root`` is the training folder; the test folder is made beside it.
    """
    test = job.root.parent / speech_commands.TEST_ROOT
    for split in SPLITS:
        for speaker in job.speakers(split):
            _write_words(job, split, speaker)
    speech_commands.write_noise(job.root / speech_commands.NOISE, job.rng)
    speech_commands.write_noise(test / "_silence_", job.rng, seconds=1)


def _write_words(job: LayoutJob, split: str, speaker: int) -> None:
    """Write every digit of one speaker, as often as the extent says."""
    root, name = job.root, job.talker.name(speaker)
    if split == "test":
        root = root.parent / speech_commands.TEST_ROOT
    else:  # the corpus tells training from validation by a hash of the name
        number = speaker if split == "train" else 500 + speaker
        name = speech_commands.hashed_name(number, "train" if split == "train" else "valid")
    for repeat in range(job.utterances(split)):
        for index, word in enumerate(DIGITS):
            label = STANDS_FOR.get(word, "_unknown_" if split == "test" else word)
            wave_S = job.talker.utterance(speaker, word, split)
            recording = Recording(name, "0", 10 * repeat + index, label, wave_S)
            speech_commands.write_words(root, name, [recording])
