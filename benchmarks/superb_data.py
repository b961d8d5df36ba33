"""Small corpora in the layouts of SUPERB's tasks: noise of the lengths that each task has.

What is said in them does not matter: a step costs the same. Lengths do, since batches are padded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
WORDS = {"YES": "Y EH1 S", "NO": "N OW1", "UP": "AH1 P", "GO": "G OW1"}
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHERS = ("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow")
NOISES = 6


class Corpus:
    """Writes noise; the same numbers for the same seed."""

    def __init__(self, root: Path, seed: int = 0) -> None:
        self.root = root
        self.random = np.random.default_rng(seed)

    def seconds(self, least: float, mean: float, most: float) -> float:
        """A length: few are long, as in speech corpora."""
        return float(min(most, least + self.random.exponential(mean - least)))

    def wave(self, name: str, seconds: float) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = 0.1 * self.random.standard_normal(round(seconds * RATE))
        soundfile.write(path, samples.clip(-1, 1).astype(np.float32), RATE)
        return path

    def text(self, name: str, lines: list[str]) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def libri(corpus: Corpus, counts: tuple[int, int, int]) -> None:
    """LibriSpeech with a lexicon; 2 to 7 s, so that a benchmark ends."""
    splits = ("train-clean-100", "dev-clean", "test-clean")
    for reader, (split, count) in enumerate(zip(splits, counts, strict=True), start=1):
        lines = []
        for index in range(count):
            name, seconds = f"{reader}-1-{index:04d}", corpus.seconds(2, 3.2, 7)
            corpus.wave(f"LibriSpeech/{split}/{reader}/1/{name}.flac", seconds)
            # The longer the more words, for windows of neighbours have about the same length.
            words = [list(WORDS)[(index + k) % 4] for k in range(round(2 * seconds))]
            lines.append(f"{name} {' '.join(words)}")
        corpus.text(f"LibriSpeech/{split}/{reader}/1/{reader}-1.trans.txt", lines)
    corpus.text("lexicon.txt", [f"{word}\t{phones}" for word, phones in WORDS.items()])


def commands(corpus: Corpus, counts: tuple[int, int, int]) -> None:
    """Speech Commands: 1 s each, and minutes of noise to cut silence from.

    4 of 11 recordings are of the ten keywords (of the first version's 64,727: 23,682).
    """
    for part, count in zip(("train", "valid"), counts, strict=False):
        for index in range(count):
            block, place = divmod(index, 11)
            words, number = (KEYWORDS, 4 * block) if place < 4 else (OTHERS, 7 * block)
            name = f"{words[(number + place) % 10]}/{_speaker(part, index)}_nohash_{index}.wav"
            corpus.wave(f"speech_commands/{name}", 1.0)
    for word in (*KEYWORDS, *OTHERS):
        (corpus.root / "speech_commands" / word).mkdir(parents=True, exist_ok=True)
    for name in ("_silence_", "_unknown_"):
        (corpus.root / "speech_commands_test" / name).mkdir(parents=True, exist_ok=True)
    for index in range(NOISES):
        corpus.wave(f"speech_commands/_background_noise_/{index}.wav", 60.0)
    for index in range(counts[2]):
        corpus.wave(f"speech_commands_test/{KEYWORDS[index % 10]}/{index}.wav", 1.0)


def _speaker(part: str, index: int) -> str:
    """A name that the hash of Speech Commands puts into a split."""
    number = index * 1000
    while True:
        name = f"{number:08x}"
        share = int(hashlib.sha1(name.encode()).hexdigest(), 16) % 2**27 * 100.0 / (2**27 - 1)
        if (part == "valid" and share < 10) or (part == "train" and share >= 20):
            return name
        number += 1


def voxceleb(corpus: Corpus, counts: tuple[int, int, int]) -> None:
    """VoxCeleb1: 4 to 20 s, 8 on average; two in five are longer than 8 s."""
    lines = []
    for part, (count, folder) in enumerate(zip(counts, ("dev", "dev", "test"), strict=True), 1):
        for index in range(count):
            path = f"id{10001 + index % 4}/video/{part}{index:04d}.wav"
            corpus.wave(f"VoxCeleb1/{folder}/wav/{path}", corpus.seconds(4, 8.2, 20))
            lines.append(f"{part} {path}")
    corpus.text("VoxCeleb1/iden_split.txt", lines)


def fluent(corpus: Corpus, counts: tuple[int, int, int]) -> None:
    """Fluent Speech Commands: 1 to 5 s, 2.3 on average."""
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        rows = [",path,speakerId,transcription,action,object,location"]
        for index in range(count):
            path = f"wavs/{split}{index}.wav"
            corpus.wave(f"fluent_speech_commands/{path}", corpus.seconds(1, 2.3, 5))
            slots = ("increase", "heat", "kitchen") if index % 2 else ("bring", "shoes", "none")
            rows.append(f"{index},{path},a,b,{','.join(slots)}")
        corpus.text(f"fluent_speech_commands/data/{split}_data.csv", rows)


def iemocap(corpus: Corpus, counts: tuple[int, int, int]) -> None:
    """IEMOCAP's first fold: 2 to 12 s, 4.5 on average; S3PRL splits dev from train."""
    labels = {"neu": 0, "hap": 1, "ang": 2, "sad": 3}
    for number in range(1, 6):
        (corpus.root / f"IEMOCAP/Session{number}").mkdir(parents=True, exist_ok=True)
    for split, count in (("train", counts[0] + counts[1]), ("test", counts[2])):
        rows = []
        for index in range(count):
            path = f"Session1/{split}{index}.wav"
            corpus.wave(f"IEMOCAP/{path}", corpus.seconds(2, 4.5, 12))
            rows.append({"path": path, "label": list(labels)[index % 4], "speaker": "a"})
        text = json.dumps({"labels": labels, "meta_data": rows})
        corpus.text(f"IEMOCAP/meta_data/Session1/{split}_meta_data.json", [text])


def mixtures(corpus: Corpus, counts: tuple[int, int, int]) -> None:
    """Libri2Mix in Kaldi's layout: 10 to 20 s, two voices."""
    for split, count in zip(("train", "dev", "test"), counts, strict=True):
        files: dict[str, list[str]] = {
            n: [] for n in ("wav.scp", "segments", "utt2spk", "spk2utt", "reco2dur", "rttm")
        }
        for index in range(count):
            name, seconds = f"{split}{index}", corpus.seconds(10, 13, 20)
            path = corpus.wave(f"diarization/wav/{name}.wav", seconds)
            files["wav.scp"].append(f"{name} {path}")
            files["reco2dur"].append(f"{name} {soundfile.info(path).duration}")
            for voice, begin, end in (("a", 0.0, 0.6 * seconds), ("b", 0.4 * seconds, seconds)):
                files["segments"].append(f"{name}{voice} {name} {begin:.2f} {end:.2f}")
                files["utt2spk"].append(f"{name}{voice} {name}-{voice}")
                files["spk2utt"].append(f"{name}-{voice} {name}{voice}")
                times = f"{begin:.2f} {end - begin:.2f}"
                files["rttm"].append(f"SPEAKER {name} 1 {times} <NA> <NA> {voice} <NA> <NA>")
        for kind, lines in files.items():
            corpus.text(f"diarization/{split}/{kind}", lines)


MAKERS: dict[str, Callable[[Corpus, tuple[int, int, int]], None]] = {
    "PR": libri,
    "ASR": libri,
    "KS": commands,
    "SID": voxceleb,
    "IC": fluent,
    "ER": iemocap,
    "SD": mixtures,
}
