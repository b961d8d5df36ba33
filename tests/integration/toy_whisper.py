"""Toy inputs of the Whisper recipes: corpora in their real layouts, a random teacher of 1 s."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir

SENTENCES = ("एक दो", "तीन चार", "पाँच छह", "सात आठ")
ARABIC = ("واحد اثنان", "ثلاثة أربعة", "خمسة ستة", "سبعة ثمانية")


@dataclass(frozen=True)
class Toy:
    """Where everything is, and what starts the recipe's commands."""

    root: Path
    python: Path

    def options(self, **changes: object) -> list[str]:
        """What makes a recipe use the toys and run in seconds; ``changes`` come last."""
        nothing_learnt = (
            "--keep_truncated --keep_bad_timestamps --max_repeats 0 --max_compression 0"
        )
        options: dict[str, object] = {
            "python": self.python,
            "teacher": self.root / "teacher",
            "teacher_max_wer": 0,
            "prove_utterances": 1,
            "datadir": self.root / "data",
            "expdir": self.root / "exp",
            "max_seconds": 1,
            "label_args": "--max_label_length 12 --dataloader_num_workers 1",
            "filter_args": nothing_learnt,
            "train_args": "--max_epoch 2 --num_iters_per_epoch 2 --use_matplotlib false "
            "--kd_conf '{drop_flagged: [], max_label_length: 40, generation_max_length: 12}'",
            "eval_args": "--max_length 10 --temperatures 0.0",
            "utterances_per_update": 4,
            "per_gpu": 2,
            "num_workers": 0,
            "nj": 1,
            "ngpu": 0,
            **changes,
        }
        return [f"--{name}={value}" for name, value in options.items()]


def tone(seconds: float, pitch: float, rate: int) -> np.ndarray:
    """A buzz with some noise, (S,)."""
    time_S = np.arange(round(seconds * rate)) / rate
    noise_S = np.random.default_rng(round(pitch)).uniform(-0.05, 0.05, len(time_S))
    return 0.3 * np.sin(2 * np.pi * pitch * time_S) ** 3 + noise_S


def make_common_voice(root: Path, language: str = "hi") -> None:
    """A release: MP3 clips at 48 kHz, a table per split; quotation marks as they come."""
    folder = root / language
    (folder / "clips").mkdir(parents=True)
    number = 0
    for split, count in (("train", 5), ("dev", 2), ("test", 3)):
        rows = []
        for index in range(count):
            name = f"common_voice_{language}_{number}.mp3"
            wave_S = tone(0.4 + 0.05 * index, 200 + 20 * number, 48000)
            soundfile.write(folder / "clips" / name, wave_S, 48000, format="MP3")
            quote = '"' if index == 0 else ""
            rows.append(
                ["speaker" * 20 + str(number % 2), name, quote + SENTENCES[number % 4], "2"]
            )
            number += 1
        with (folder / f"{split}.tsv").open("w", encoding="utf-8", newline="") as stream:
            header = ["client_id", "path", "sentence", "up_votes"]
            lines = ["\t".join(row) + "\n" for row in [header, *rows]]
            stream.writelines(lines)


def make_masc(root: Path) -> None:
    """Two videos with a table of their stretches, as MASC has them, and a validation table."""
    (root / "audios").mkdir(parents=True)
    for split, videos in (("clean_train", ("vid_a", "vid_b")), ("clean_dev", ("vid_c",))):
        rows = []
        for index, video in enumerate(videos):
            soundfile.write(
                root / "audios" / f"{video}.wav", tone(2.4, 300 + 40 * index, 16000), 16000
            )
            rows += [[video, n, n + 0.6, ARABIC[n]] for n in (0, 1)]
            rows += [[video, 1.7, 2.3, ARABIC[3]]] if split == "clean_train" else []
        with (root / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([["video_id", "start", "end", "text"], *rows])


def make_kaldi_test(folder: Path) -> None:
    """Two recordings, one of them longer than the teacher hears at once."""
    folder.mkdir(parents=True)
    data = KaldiDir({}, {})
    for index, seconds in enumerate((0.5, 1.3)):
        name = f"t{index}"
        soundfile.write(folder / f"{name}.wav", tone(seconds, 250 + index, 16000), 16000)
        data.wav_scp[name], data.utt2spk[name] = str(folder / f"{name}.wav"), name
        data.text[name] = ARABIC[index]
    write_kaldi_dir(folder, data)


def make_teacher(folder: Path) -> None:
    """Two encoder and three decoder layers with random weights."""
    from tests.unit.whisper.tiny import tiny_whisper

    tiny_whisper(
        folder, encoder_layers=2, decoder_layers=3, max_source_positions=50,
        max_target_positions=64,
    )  # fmt: skip


def make_toy(root: Path, python: Path) -> Toy:
    """Write all of it."""
    make_common_voice(root / "cv-corpus")
    make_masc(root / "masc")
    make_kaldi_test(root / "own")
    make_teacher(root / "teacher")
    make_judges(root)
    return Toy(root, python)


def make_judges(root: Path) -> None:
    """A language model, a speech and text encoder, and what a synthesiser made of the labels."""
    from tests.unit.filtering.tiny_models import clap, language_model

    language_model(root / "lm")
    clap(root / "clap")
    soundfile.write(root / "spoken.wav", tone(0.6, 180, 16000), 16000)


def second_recogniser(labels: Path, target: Path) -> None:
    """What another recogniser heard, half of it as the labels and half of it something else, and
    where the labels are as a synthesiser speaks them."""
    rows = [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]
    lines = [f"{row['id']} {row['text'] if i % 2 else ARABIC[0]}\n" for i, row in enumerate(rows)]
    target.write_text("".join(sorted(lines)), encoding="utf-8")
    spoken = "".join(f"{row['id']} {target.parent / 'spoken.wav'}\n" for row in rows)
    (target.parent / "spoken.scp").write_text(spoken, encoding="utf-8")
