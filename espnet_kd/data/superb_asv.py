"""Speaker verification: VoxCeleb1's folders, and trials of speakers who are not in training.

``dev/wav/idNNNNN/VIDEO/NNNNN.wav`` are the training speakers, ``test/wav/...`` others;
``veri_test.txt`` has the trials, ``1 A.wav B.wav`` (the same speaker) or ``0 A.wav B.wav``, with
paths inside ``test/wav``. The identification corpus has one set of speakers everywhere, so this
one has a folder of its own.
"""

from __future__ import annotations

from itertools import combinations

from espnet_kd.data.recording import write_audio
from espnet_kd.data.superb_job import LayoutJob
from espnet_kd.utils.files import write_text

TRIALS = "veri_test.txt"
"""Name of the list of trials."""

MIN_SAMPLES = 64000
"""4 s: S3PRL trains on what is longer than 2 s once pauses are cut out."""


def write_verification(job: LayoutJob) -> None:
    """Write training speech, speech of other speakers, and their trials."""
    train, others = job.talker.verification
    train, others = train[: job.extent.speakers], others[: 2 * job.extent.heldout_speakers]
    _write_speech(job, "dev", train, job.share("train", len(train)))
    names = _write_speech(job, "test", others, job.share("test", len(others) / 2))
    lines = "".join(f"{label} {a} {b}\n" for label, a, b in _trials(job, names))
    write_text(job.root / TRIALS, lines)


def _write_speech(
    job: LayoutJob, part: str, speakers: tuple[int, ...], count: int
) -> dict[int, list[str]]:
    """Write ``count`` utterances per speaker; speaker -> their paths inside the part."""
    names: dict[int, list[str]] = {}
    for speaker in speakers:
        for index in range(count):
            name = f"id{10001 + speaker}/{index // 4:02d}-{part}/{index % 4 + 1:05d}.wav"
            wave_S = job.long_speech(speaker, "train", MIN_SAMPLES)
            write_audio(job.root / part / "wav" / name, wave_S)
            names.setdefault(speaker, []).append(name)
    return names


def _trials(job: LayoutJob, names: dict[int, list[str]]) -> list[tuple[int, str, str]]:
    """All pairs of the same speaker, and as many of different ones, none of them twice."""
    same = [(1, a, b) for mine in names.values() for a, b in combinations(mine, 2)]
    pairs = [(0, a, b) for x, y in combinations(names, 2) for a in names[x] for b in names[y]]
    chosen = job.rng.permutation(len(pairs))[: len(same)]
    return [*same, *(pairs[i] for i in sorted(chosen))]
