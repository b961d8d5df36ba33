"""Emotion recognition: IEMOCAP's five sessions of two speakers, with speaking styles for emotions.

``SessionN/sentences/wav/DIALOG/DIALOG_{F,M}NNN.wav`` and, in IEMOCAP's own notation,
``SessionN/dialog/EmoEvaluation/DIALOG.txt`` with lines
``[start - end]<TAB>TURN<TAB>label<TAB>[valence, activation, dominance]``. What is said has nothing
to do with the label; how it is said has (see :mod:`espnet_kd.data.styles`). The sessions of
recorded digits share people, never recordings.
"""

from __future__ import annotations

from pathlib import Path

from espnet_kd.data.recording import write_audio
from espnet_kd.data.styles import STYLES, Style
from espnet_kd.data.superb_job import LayoutJob
from espnet_kd.data.talkers import RATE
from espnet_kd.utils.files import write_text

SESSIONS = 5
"""Sessions of two speakers each; one after the other is the test set."""

_HEAD = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
# Valence, activation and dominance on IEMOCAP's scale of 1 to 5, one triple per style.
_VALUES = {
    "neu": "[2.5000, 2.5000, 2.5000]",
    "hap": "[4.0000, 3.0000, 3.0000]",
    "exc": "[4.0000, 4.0000, 3.0000]",
    "ang": "[1.5000, 4.0000, 4.0000]",
    "sad": "[2.0000, 1.5000, 2.0000]",
    "fru": "[2.0000, 3.0000, 3.0000]",
}


def write_emotions(job: LayoutJob) -> None:
    """Write five sessions; in each dialogue both speakers speak once in every style."""
    group = job.talker.speakers["train"]
    for session in range(1, SESSIONS + 1):
        people = {sex: group[(2 * session + k - 2) % len(group)] for k, sex in enumerate("FM")}
        for number in range(1, job.extent.utterances + 1):
            _write_dialogue(job, session, f"Ses{session:02d}F_impro{number:02d}", people)


def _write_dialogue(job: LayoutJob, session: int, dialogue: str, people: dict[str, int]) -> None:
    """Write the turns of a dialogue in random order, then its annotation."""
    turns = [(sex, style) for style in STYLES for sex in people]
    folder = job.root / f"Session{session}"
    lines, clock, counts = [_HEAD], 1.0, dict.fromkeys(people, 0)
    for i in job.rng.permutation(len(turns)):
        sex, style = turns[i]
        name = f"{dialogue}_{sex}{counts[sex]:03d}"
        counts[sex] += 1
        path = folder / "sentences/wav" / dialogue / f"{name}.wav"
        end = clock + _write_turn(job, path, people[sex], session, style)
        span, values = f"[{clock:.4f} - {end:.4f}]", _VALUES[style.label]
        lines.append(f"{span}\t{name}\t{style.label}\t{values}\n\n")
        clock = end + 0.5
    write_text(folder / "dialog/EmoEvaluation" / f"{dialogue}.txt", "".join(lines))


def _write_turn(job: LayoutJob, path: Path, speaker: int, session: int, style: Style) -> float:
    """Say a random sentence; how many seconds it takes."""
    text = job.talker.grammar.sentence(job.rng)
    wave_S = job.talker.utterance(speaker, text, f"fold{session}", style)
    write_audio(path, wave_S)
    return len(wave_S) / RATE
