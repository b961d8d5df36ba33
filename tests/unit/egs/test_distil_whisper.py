"""egs/mini/distil_whisper1: how its speech is shared out, what it collects, its configurations."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from egs.TEMPLATE import create_whisper
from espnet_kd.data.kaldi_dir import KaldiDir, load_tables, write_kaldi_dir
from espnet_kd.errors import MissingDependencyError
from espnet_kd.evaluation.runs import load_run
from espnet_kd.whisper import load_whisper
from espnet_kd.whisper.tokenizer import assets

RECIPE = Path(__file__).resolve().parents[3] / "egs" / "mini" / "distil_whisper1"
SYSTEMS = ("teacher", "distil", "udistil", "distil_scratch", "udistil_scratch")


def script(name: str) -> ModuleType:
    path = RECIPE / "local" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"distil_whisper_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- Data
@pytest.fixture
def prepared(tmp_path) -> Path:
    """Two training splits of 12 and 8 utterances of 1 to 5 s, and two others."""
    for split, count in (("a", 12), ("b", 8), ("dev", 3), ("test", 3)):
        keys = [f"{split}-{number:02d}" for number in range(count)]
        data = KaldiDir(
            {key: f"{key}.flac" for key in keys},
            dict.fromkeys(keys, "x"),
            {key: f"WORD {key.upper()}" for key in keys},
            {key: 16000 * (1 + number % 5) for number, key in enumerate(keys)},
        )
        write_kaldi_dir(tmp_path / split, data)
    return tmp_path


def run_split(data: Path, monkeypatch, *words: str) -> dict[str, KaldiDir]:
    command = ["--data", str(data), "--train", "a", "b", "--valid", "dev", "--test", "test"]
    monkeypatch.setattr(sys, "argv", ["split.py", *command, *words])
    script("split").main()
    folders = sorted((data / "whisper").glob("*/"))
    return {folder.name: load_tables(folder) for folder in folders if folder.is_dir()}


def test_speech_is_shared_out(prepared, monkeypatch, capsys):
    parts = run_split(prepared, monkeypatch, "--seconds", "4", "--shares", "0.5", "0.25")
    training = ("teacher", "transcribed", "untranscribed")
    assert parts.keys() == {*training, "valid", "test"}
    keys = [key for name in training for key in parts[name].wav_scp]
    assert len(keys) == len(set(keys)) == 20 - 3, "no utterance is in two parts"
    assert [len(parts[name]) for name in training] == [8, 5, 4]
    assert {key[0] for key in parts["teacher"].wav_scp} == {"a", "b"}
    assert parts["untranscribed"].text == {}
    assert not (prepared / "whisper" / "untranscribed" / "text").exists()
    assert set(parts["test"].text.values()) == {f"word test-0{number}" for number in range(3)}
    assert all(max(part.num_samples.values()) <= 64000 for part in parts.values())
    lines = (prepared / "whisper" / "left_out.txt").read_text().splitlines()
    assert lines == [f"train: {key} lasts 5.00 s" for key in ("a-04", "a-09", "b-04")]
    assert "untranscribed: 4 utterances, 0.1 min, without transcripts" in capsys.readouterr().out


def test_the_seed_decides_the_parts(prepared, monkeypatch):
    found = [
        sorted(run_split(prepared, monkeypatch, "--seed", seed)["teacher"].text)
        for seed in ("0", "0", "1")
    ]
    assert found[0] == found[1] != found[2]
    assert (prepared / "whisper" / "seconds").read_text() == "5\n", "all utterances fit"
    assert (prepared / "whisper" / "left_out.txt").read_text() == ""


def test_bad_splits_are_refused(prepared, monkeypatch):
    with pytest.raises(SystemExit, match="leave something over"):
        run_split(prepared, monkeypatch, "--shares", "0.5", "0.5")
    (prepared / "b" / "text").unlink()
    with pytest.raises(SystemExit, match="stage 1 needs transcripts"):
        run_split(prepared, monkeypatch)
    table = prepared / "a" / "utt2num_samples"
    table.write_text("".join(f"{line.split()[0]} 99999\n" for line in table.open()))
    with pytest.raises(SystemExit, match="no utterance is left"):
        run_split(prepared, monkeypatch, "--seconds", "2", "--train", "a")


# --- Teacher
def log_wer(folder: Path, *values: float) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "valid")) as writer:
        for step, value in enumerate(values):
            writer.add_scalar("wer", value, step)


def check(monkeypatch, folder: Path, smoke: str = "false") -> None:
    monkeypatch.setattr(sys, "argv", ["check_teacher.py", str(folder), "--smoke", smoke])
    script("check_teacher").main()


def test_a_teacher_must_recognise_speech(tmp_path, monkeypatch, capsys):
    log_wer(tmp_path, 90.0, 40.0, 60.0)
    check(monkeypatch, tmp_path)
    assert "best validation WER 40.0 %" in capsys.readouterr().out
    log_wer(tmp_path / "bad", 90.0, 80.0)
    check(monkeypatch, tmp_path / "bad", smoke="true")
    with pytest.raises(SystemExit, match=r"above 50 %: train it longer"):
        check(monkeypatch, tmp_path / "bad")
    with pytest.raises(SystemExit, match="no training curves"):
        check(monkeypatch, tmp_path / "nowhere")


def test_models_of_one_shape(tmp_path, monkeypatch):
    try:
        assets()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    sizes = {"ranks": 300, "encoder_layers": 1, "decoder_layers": 2, "d_model": 8}
    conf = tmp_path / "small.yaml"
    conf.write_text(yaml.safe_dump({**sizes, "attention_heads": 2}))
    for out, words in (
        ("a", ["--conf", str(conf), "--seconds", "2", "--seed", "0"]),
        ("b", ["--like", str(tmp_path / "a"), "--seed", "1"]),
    ):
        monkeypatch.setattr(sys, "argv", ["x", *words, "--out", str(tmp_path / out)])
        create_whisper.main()
    one, other = (load_whisper(tmp_path / name) for name in "ab")
    assert one.model.config.to_dict() == other.model.config.to_dict()
    assert one.model.config.max_source_positions == 100
    assert len(one.tokenizer) == len(other.tokenizer) == 300 + 1608
    first, second = (bundle.model.model.decoder.embed_tokens.weight for bundle in (one, other))
    assert not first.equal(second)


# --- Results
@pytest.fixture
def seed_dir(tmp_path) -> Path:
    """What stages 3 to 6 leave: labels with one error in five words, one of two kept."""
    label = {"reference": "one two three", "text": "One, two three."}
    bad = {"id": "b", "reference": "four five", "text": "four nine"}
    lines = [json.dumps({"id": "a", **label}), json.dumps(bad)]
    lines.append(json.dumps({"id": "c", "reference": None, "text": "six"}))
    for folder, kept in (
        ("labels/transcribed", lines),
        ("filtered/wer/kept", lines[:1]),
        ("filtered/free_transcribed/kept", lines[1:]),
        ("filtered/free_untranscribed/kept", lines[2:]),
    ):
        file = tmp_path / folder / "labels.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(kept) + "\n")
        total = {"kept": len(kept), "total": 4}
        file.with_name("summary.json").write_text(json.dumps(total))
        file.parent.with_name("summary.json").write_text(json.dumps(total))
    draft = {"assistant": "distil", "utterances": 4, "identical": 3, "speed_ratio": 1.25}
    for number, name in enumerate(SYSTEMS):
        metrics = {"WER": 10.0 + number, "wer_raw": 20.0, "rtfx": 30.0, "parameters": 1000 + number}
        folder = tmp_path / ("draft" if name == "teacher" else "scores")
        folder.mkdir(exist_ok=True)
        if name == "teacher":
            metrics["draft"] = draft
        (folder / f"{name}_mini_test_metrics.json").write_text(json.dumps(metrics))
    return tmp_path


def collect(seed_dir: Path, monkeypatch) -> None:
    words = ["--seed_dir", str(seed_dir), "--seed", "3", "--corpus", "x", "--command", "./run.sh"]
    monkeypatch.setattr(sys, "argv", ["collect.py", *words])
    script("collect").main()


def test_runs_are_collected(seed_dir, monkeypatch):
    collect(seed_dir, monkeypatch)
    for name in SYSTEMS:
        (seed_dir / name / "tensorboard").mkdir(parents=True)
    runs = {name: load_run(seed_dir / "results" / f"{name}.json") for name in SYSTEMS}
    values = {name: {s.label: s.value for s in run.scores} for name, run in runs.items()}
    assert [values[name]["ASR WER % ↓"] for name in SYSTEMS] == [10, 11, 12, 13, 14]
    assert values["distil"]["drafting identical texts % ↑"] == 75
    assert values["distil"]["drafting speed x ↑"] == 1.25
    assert "drafting speed x ↑" not in values["udistil"]
    assert runs["teacher"].profile == {"parameters": {"total": 1000}, "labels": {"wer": 20.0}}
    assert runs["distil"].profile["labels"] == {"wer": 0.0, "kept": 2 / 8}
    assert runs["udistil_scratch"].profile["labels"] == {"wer": 50.0, "kept": 3 / 8}
    assert {run.role for name, run in runs.items() if "scratch" in name} == {"baseline"}


def test_missing_scores_name_the_stage(seed_dir, monkeypatch):
    (seed_dir / "scores" / "udistil_mini_test_metrics.json").unlink()
    with pytest.raises(SystemExit, match=r"udistil_mini.*--stage 6"):
        collect(seed_dir, monkeypatch)


# --- Configurations
def parsed(name: str) -> tuple[argparse.Namespace, list[str]]:
    from espnet_kd.tasks.whisper_distill import WhisperDistillTask
    from espnet_kd.tasks.yaml_check import parse

    words = ["--config", str(RECIPE / "conf" / f"{name}.yaml"), "--student", "s"]
    words += ["--train_dir", "a", "--valid_dir", "b"]
    if "distil" in name:
        words += ["--teacher", "t"]
    args, problems = parse(WhisperDistillTask.get_parser(), words)
    return args, problems + WhisperDistillTask.problems(args)


def test_configurations_are_understood_and_fair():
    files = {path.stem for path in (RECIPE / "conf").glob("*.yaml")}
    assert files == {"teacher", "train_teacher", "distil", "udistil", "scratch"}
    found = {name: parsed(name) for name in sorted(files - {"teacher"})}
    assert [problems for _, problems in found.values()] == [[]] * 4
    args = {name: args for name, (args, _) in found.items()}
    for name in ("distil", "udistil"):
        for key in ("max_epoch", "num_iters_per_epoch", "batch_size", "accum_grad"):
            assert getattr(args[name], key) == getattr(args["scratch"], key), "as many updates"
        assert args[name].kd_conf.get("kl_weight", 1.0) > 0
    assert args["distil"].kd_conf["freeze_encoder"]
    assert "freeze_encoder" not in args["udistil"].kd_conf
    assert args["scratch"].kd_conf["kl_weight"] == 0
    assert args["scratch"].optim_conf["lr"] == args["train_teacher"].optim_conf["lr"]
