"""Own scripts of egs/librispeech/mvq1, on small inputs."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from espnet_kd.data.kaldi_dir import KaldiDir, load_tables, write_kaldi_dir
from espnet_kd.evaluation.wer import ErrorRates, read_text

LOCAL = Path(__file__).resolve().parents[3] / "egs" / "librispeech" / "mvq1" / "local"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mvq1_{name}", LOCAL / f"{name}.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- The teacher's WER
def test_greedy_decoding(tmp_path: Path) -> None:
    prove = script("prove_ctc")
    (tmp_path / "dict.ltr.txt").write_text("| 9\nA 5\nB 4\n")
    labels = prove.read_labels(tmp_path / "dict.ltr.txt")
    assert labels == ["<s>", "<pad>", "</s>", "<unk>", "|", "A", "B"]
    best = [0, 5, 5, 0, 5, 4, 4, 0, 4, 1, 6, 3, 0]  # blank; A twice; a gap of two; no specials
    logits_TV = torch.nn.functional.one_hot(torch.tensor(best), len(labels)).float()
    assert prove.transcript(logits_TV, labels) == "AA B"


def test_a_far_wer_is_refused() -> None:
    prove = script("prove_ctc")
    rates = {"test-clean": 2.9, "test-other": 5.0}
    assert prove.judge(rates, [2.04, 3.71], 2.0) == ""
    assert prove.judge(rates, [], 0.0) == "", "of own teachers nothing is expected"
    found = prove.judge(rates, [2.04, 3.71], 1.0)
    assert "test-other: WER 5.00 %, expected 3.71" in found
    assert "test-clean" not in found


# --- Speeds
@pytest.mark.parametrize(("speed", "samples"), [(0.9, 17778), (1.1, 14545), (2.0, 8000)])
def test_length_and_pitch_follow_the_speed(speed: float, samples: int) -> None:
    wave_S = np.sin(2 * np.pi * 400 * np.arange(16000) / 16000).astype(np.float32)
    changed = script("train_set").perturbed(wave_S, speed)
    assert changed.shape == (samples,)
    loudest = np.abs(np.fft.rfft(changed)).argmax() * 16000 / samples
    assert loudest == pytest.approx(400 * speed, abs=2)


def test_halves_are_rounded_up() -> None:
    assert script("train_set").samples_at(3, 2.0) == 2


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Three utterances of 0.4, 1 and 3 s."""
    wavs, texts, counts = {}, {}, {}
    for index, seconds in enumerate((0.4, 1.0, 3.0)):
        key = f"1-2-{index:04d}"
        wavs[key] = str(tmp_path / f"{key}.flac")
        counts[key] = int(16000 * seconds)
        soundfile.write(wavs[key], 0.1 * np.ones(counts[key]), 16000)
        texts[key] = "A B"
    data = KaldiDir(wavs, dict.fromkeys(wavs, "1"), texts, counts)
    write_kaldi_dir(tmp_path / "split", data)
    return tmp_path / "split"


def options(split: Path, **others: object) -> argparse.Namespace:
    values = {"folders": [split], "out": split.parent / "train", "speeds": [1.0, 2.0],
              "min_seconds": 0.5, "max_seconds": 2.0, "bpemodel": None, "threads": 2}  # fmt: skip
    return argparse.Namespace(**{**values, **others})


def test_training_set(split: Path) -> None:
    """Limits count after the change of speed, as published."""
    train_set = script("train_set")
    assert "3 left out" in train_set.make(options(split)), "0.4 s, 3 s; 0.2 s"
    data = load_tables(split.parent / "train")
    assert data.num_samples == {
        "1-2-0001": 16000,
        "sp2-1-2-0001": 8000,
        "sp2-1-2-0002": 24000,
    }
    assert soundfile.info(data.wav_scp["sp2-1-2-0002"]).frames == 24000
    assert data.utt2spk["sp2-1-2-0002"] == "sp2-1"
    assert data.text["sp2-1-2-0002"] == "A B"
    assert "kept" in train_set.make(options(split))
    assert "kept" not in train_set.make(options(split, max_seconds=4.0))


def test_recordings_of_a_stopped_run_are_kept(split: Path) -> None:
    train_set = script("train_set")
    train_set.make(options(split))
    train = split.parent / "train"
    (train / "made_of.json").unlink()
    flac = train / "audio" / "sp2-1-2-0001.flac"
    before = flac.stat().st_mtime_ns
    train_set.make(options(split))
    assert flac.stat().st_mtime_ns == before


def test_as_many_frames_as_tokens(split: Path) -> None:
    class Tokens:
        def encode(self, text: str) -> list[int]:
            return list(range(24))

    args = options(split)
    is_wanted = script("train_set").is_wanted
    assert is_wanted(16000, "A B", args, Tokens())  # 100 frames, (99 // 2 - 1) // 2 = 24
    assert not is_wanted(15360, "A B", args, Tokens())


# --- Tokens and tables
def test_tokens_are_those_of_espnet(tmp_path: Path) -> None:
    texts = ["YES NO", "NO UP", "UP GO"] * 3
    count = script("train_bpe").train(texts, 14, tmp_path / "bpe")
    tokens = (tmp_path / "bpe" / "tokens.txt").read_text().splitlines()
    assert count == len(tokens) == len(set(tokens))
    assert (tokens[0], tokens[1], tokens[-1]) == ("<blank>", "<unk>", "<sos/eos>")
    assert any(token.startswith("▁") for token in tokens)


def test_published_figures_beside_ours() -> None:
    rates = {"test-clean": ErrorRates(1, 100, 90, 10, 0, 0, 1)}
    table = script("collect").beside(rates, "baseline_960h")
    assert "| this run | 10.00 |" in table
    assert "| published, baseline_960h_30epochs | 2.63 |" in table
    assert "mvq" not in table


def test_what_only_trains_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = script("export_model")
    states = {
        "encoder.w": torch.ones(3),
        "codebook_loss.w": torch.ones(5),
        "am_proj.w": torch.ones(2),
    }
    torch.save(states, tmp_path / "1epoch.pth")
    words = [
        "x",
        tmp_path / "1epoch.pth",
        "--out",
        tmp_path / "m.pth",
        "--json",
        tmp_path / "m.json",
    ]
    monkeypatch.setattr("sys.argv", list(map(str, words)))
    export.main()
    assert list(torch.load(tmp_path / "m.pth")) == ["encoder.w"]
    assert '"total": 3' in (tmp_path / "m.json").read_text()
    torch.save({"encoder.w": torch.tensor([float("nan")])}, tmp_path / "1epoch.pth")
    with pytest.raises(SystemExit, match=r"NaN or infinity in encoder\.w"):
        export.main()


def test_texts_of_empty_hypotheses_are_read(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a \nb YES\n")
    assert read_text(tmp_path / "text") == {"a": "", "b": "YES"}
