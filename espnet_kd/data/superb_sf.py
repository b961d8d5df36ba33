"""Slot filling: Audio SNIPS as S3PRL reads it.

``{train,valid,test}/VOICE-snips-SPLIT-N.wav``; ``all.iob.snips.txt`` has lines
``ID BOS WORDS EOS<TAB>O TAGS INTENT`` with words in upper case and a bare slot name (no ``B-``)
for each word; ``slots.txt`` lists ``O`` and then the slots (S3PRL ignores the first line and would
count an empty last one). The voices have the names of the real corpus, divided among the splits as
in SUPERB. Of recorded digits, two after "zero" are a ``number``, one after "nine" is a ``code``.
"""

from __future__ import annotations

from espnet_kd.data.grammar import SlotSentence
from espnet_kd.data.recording import write_audio
from espnet_kd.data.superb_job import LayoutJob
from espnet_kd.utils.files import write_text

VOICES = {
    "train": ("Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"),
    "valid": ("Aditi", "Amy", "Geraint", "Nicole"),
    "test": ("Brian", "Emma", "Raveena", "Russell"),
}
"""Names of the speakers of each split; as many are used as there are."""

TRANSCRIPTS, SLOTS = "all.iob.snips.txt", "slots.txt"
"""Names of the two lists."""


def write_slots(job: LayoutJob) -> None:
    """Write recordings of all splits, transcripts with tags, and the list of slots."""
    lines = [line for split in VOICES for line in _write_split(job, split)]
    write_text(job.root / SLOTS, "\n".join(["O", *job.talker.grammar.slots]))
    write_text(job.root / TRANSCRIPTS, "".join(f"{line}\n" for line in lines))


def _write_split(job: LayoutJob, split: str) -> list[str]:
    """Write the recordings of a split; its lines of the transcripts."""
    lines = []
    part = "dev" if split == "valid" else split
    for voice, speaker in zip(VOICES[split], job.speakers(part), strict=False):
        for index in range(job.utterances(part)):
            sentence = job.talker.grammar.slot_sentence(job.rng)
            name = f"{voice}-snips-{split}-{index}"
            wave_S = job.talker.utterance(speaker, " ".join(sentence.words), part)
            write_audio(job.root / split / f"{name}.wav", wave_S)
            lines.append(transcript(name, sentence))
    return lines


def transcript(name: str, sentence: SlotSentence) -> str:
    """Return a line of the transcripts; the words between BOS and EOS have one tag each."""
    words, tags = " ".join(sentence.words).upper(), " ".join(sentence.tags)
    return f"{name} BOS {words} EOS\tO {tags} {sentence.intent}"
