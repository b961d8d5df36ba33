"""Whisper models over Kaldi folders: predictions, metrics, drafts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from espnet_kd.bin import whisper_evaluate
from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir
from espnet_kd.errors import WhisperError
from espnet_kd.evaluation.whisper_runs import DataSet, EvaluationPlan, evaluate, file_stem
from espnet_kd.whisper.load import load_whisper, save_whisper
from espnet_kd.whisper.transcribe import DecodeOptions
from tests.unit.whisper import tiny

RATE = 16000
DECODING = ("--language", "en", "--normaliser", "basic", "--max_length", 10, "--temperatures", 0)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "teacher"
    return tiny.tiny_whisper(folder, max_source_positions=100, max_target_positions=24)


@pytest.fixture(scope="module")
def student(teacher):
    bundle = load_whisper(teacher)
    bundle.model.model.decoder.layers = bundle.model.model.decoder.layers[:1]
    bundle.model.config.decoder_layers = 1
    save_whisper(bundle, teacher.with_name("student"))
    return teacher.with_name("student")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three utterances of one window, one that is longer."""
    folder = tmp_path_factory.mktemp("corpus") / "test"
    kaldi = KaldiDir({}, {})
    for number, seconds in enumerate((1.0, 0.5, 3.5, 1.5)):
        key, path = f"u{number}", folder.parent / f"u{number}.wav"
        noise = 0.1 * np.random.default_rng(number).standard_normal(round(seconds * RATE))
        soundfile.write(path, noise.astype(np.float32), RATE)
        kaldi.wav_scp[key], kaldi.utt2spk[key], kaldi.text[key] = str(path), "s", "one two"
    write_kaldi_dir(folder, kaldi)
    return folder


def run(*words: object) -> int:
    return whisper_evaluate.main([str(word) for word in words])


def records(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_command(teacher, student, data, tmp_path, capsys):
    arguments = ("--models", teacher, student, "--data", data, "--dataset_id", "noise",
                 "--out", tmp_path, "--batch_size", 2, *DECODING)  # fmt: skip
    assert run(*arguments) == 0
    metrics = json.loads((tmp_path / "teacher_noise_test_metrics.json").read_text())
    assert {"WER", "CER", "model_id", "dataset_id", "split", "num_samples"} <= metrics.keys()
    assert (metrics["dataset_id"], metrics["split"]) == ("noise", "test")
    assert (metrics["num_samples"], metrics["num_long"]) == (4, 1)
    assert metrics["audio_seconds"] == 6.5
    assert metrics["rtfx"] == pytest.approx(6.5 / metrics["generate_seconds"], rel=0.01)
    found = records(tmp_path / "teacher_noise_test_predictions.jsonl")
    assert {r["id"]: r["form"] for r in found} == {
        "u0": "short", "u1": "short", "u2": "sequential", "u3": "short",
    }  # fmt: skip
    assert all(r["reference"] == "one two" for r in found)
    table = (tmp_path / "results.md").read_text()
    assert table.count("\n| ") == 2
    assert table in capsys.readouterr().out
    fewer = json.loads((tmp_path / "student_noise_test_metrics.json").read_text())["parameters"]
    assert fewer < metrics["parameters"]


def plan(**changes) -> EvaluationPlan:
    decode = DecodeOptions(language="en", max_length=10, temperatures=(0.0,))
    return EvaluationPlan(decode=decode, normaliser="basic", **changes)


def test_a_stopped_run_goes_on(teacher, data, tmp_path, monkeypatch):
    bundle, corpus = load_whisper(teacher), DataSet.of(data, "noise")
    whole = evaluate(bundle, "teacher", corpus, tmp_path, plan(batch_size=1))
    path = tmp_path / f"{file_stem(bundle.name, corpus)}_predictions.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:10])
    calls = []
    generate = bundle.model.generate

    def counted(features, **arguments):
        calls.append(arguments["max_new_tokens"])
        return generate(features, **arguments)

    monkeypatch.setattr(bundle.model, "generate", counted)
    resumed = evaluate(bundle, "teacher", corpus, tmp_path, plan(batch_size=1))
    assert len(calls) == 3  # one to warm up, and the two that were missing
    assert resumed["WER"] == whole["WER"]
    assert len(records(path)) == 4
    calls.clear()
    evaluate(bundle, "teacher", corpus, tmp_path, plan(batch_size=1))
    assert calls == []
    evaluate(bundle, "teacher", corpus, tmp_path, plan(batch_size=2))
    assert calls  # other settings, other predictions
    calls.clear()
    bundle.model.model.decoder.layer_norm.weight.data.mul_(1.1)  # trained again, in its place
    evaluate(bundle, "teacher", corpus, tmp_path, plan(batch_size=2))
    assert calls


def test_batches_do_not_change_predictions(teacher, data, tmp_path):
    bundle, corpus = load_whisper(teacher), DataSet.of(data)
    texts = []
    for size in (1, 3):
        evaluate(bundle, "teacher", corpus, tmp_path / str(size), plan(batch_size=size))
        (path,) = (tmp_path / str(size)).glob("*_predictions.jsonl")
        texts.append({r["id"]: r["prediction"] for r in records(path)})
    assert texts[0] == texts[1]


def test_chunked_long_form(teacher, data, tmp_path):
    metrics = evaluate(
        load_whisper(teacher), "m", DataSet.of(data), tmp_path, plan(long_form="chunked")
    )
    assert (metrics["num_long"], metrics["long_form"]) == (1, "chunked")


def test_chunks_that_do_not_fit_are_told_before_the_first_utterance(teacher, data, tmp_path):
    wrong = plan(long_form="chunked", chunk_seconds=60.0)
    with pytest.raises(WhisperError, match="chunks of 60 s do not fit"):
        evaluate(load_whisper(teacher), "m", DataSet.of(data), tmp_path, wrong)
    assert not list(tmp_path.iterdir())


def test_long_audio_can_be_refused(teacher, data, tmp_path):
    with pytest.raises(WhisperError, match=r"u2 lasts 3\.5 s.*--long_form"):
        evaluate(load_whisper(teacher), "m", DataSet.of(data), tmp_path, plan(long_form="refuse"))


def test_without_transcripts_there_are_predictions_and_speed(teacher, data, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("wav.scp", "utt2spk"):
        (folder / name).write_text((data / name).read_text())
    metrics = evaluate(load_whisper(teacher), "m", DataSet.of(folder), tmp_path / "out", plan())
    assert "WER" not in metrics
    assert metrics["rtfx"] > 0


def test_drafted_decoding_is_compared(teacher, student, data, tmp_path):
    arguments = ("--models", teacher, "--data", data, "--dataset_id", "noise", "--out", tmp_path,
                 "--assistant", student, *DECODING)  # fmt: skip
    assert run(*arguments) == 0
    draft = json.loads((tmp_path / "teacher_noise_test_metrics.json").read_text())["draft"]
    assert (draft["utterances"], draft["identical"], draft["skipped_long"]) == (3, 3, 1)
    assert draft["shared_encoder"] is True
    assert draft["speed_ratio"] == pytest.approx(
        draft["plain_seconds"] / draft["drafted_seconds"], rel=0.05
    )
    assert "| 3 of 3 |" in (tmp_path / "results.md").read_text()


def test_two_results_of_one_name(teacher, data, tmp_path, capsys):
    assert run("--models", teacher, teacher, "--data", data, "--out", tmp_path) == 1
    assert "would both be called" in capsys.readouterr().err


def test_missing_model(data, tmp_path, capsys):
    assert run("--models", tmp_path / "no-such/model/here", "--data", data, "--out", tmp_path) == 1
    assert "is not a directory" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_told_before_anything_is_loaded(data, tmp_path, capsys):
    command = ("--models", tmp_path / "none", "--data", data, "--out", tmp_path)
    assert run(*command, "--device", "cuda:99") == 1
    assert "error: --device cuda:99, but torch sees" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--batch_size", "--num_beams"])
def test_numbers_out_of_range_are_told_before_anything_is_loaded(data, tmp_path, capsys, option):
    command = ("--models", tmp_path / "none", "--data", data, "--out", tmp_path)
    assert run(*command, option, 0) == 1
    assert f"{option[2:]} is 0; it must be at least 1" in capsys.readouterr().err


def test_recordings_that_cannot_be_used_are_told_before_anything_is_loaded(data, tmp_path, capsys):
    folder = tmp_path / "test"
    folder.mkdir()
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.zeros((RATE, 2), np.float32), RATE)
    for name, last in (("wav.scp", stereo), ("utt2spk", "s")):
        (folder / name).write_text((data / name).read_text() + f"u9 {last}\n")
    assert run("--models", tmp_path / "none", "--data", data, folder, "--out", tmp_path / "o") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: 1 utterance(s) cannot be used:\n  - utterance u9: ")
    assert "has 2 channels" in error
