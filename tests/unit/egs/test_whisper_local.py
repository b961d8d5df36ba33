"""What the Whisper recipes run besides the package's own commands, on small inputs, no network."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from egs.TEMPLATE import (
    check_wer,
    collect_whisper,
    convert_ctranslate2,
    fetch_whisper,
    join_recordings,
    model_card,
    pack_student,
    prove_whisper,
    unpack,
    update_plan,
)
from espnet_kd.data.kaldi_dir import KaldiDir, load_tables, write_kaldi_dir
from espnet_kd.data.recording import write_audio
from espnet_kd.evaluation.runs import load_run
from tests.unit.whisper.tiny import tiny_bundle, tiny_whisper

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "egs" / "commonvoice" / "distil_whisper1", ROOT / "egs" / "masc" / "udistil1"


def call(module, monkeypatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, words)])
    module.main()


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("models") / "whisper", max_source_positions=50)


# --- Updates
@pytest.mark.parametrize(
    ("name", "processes", "per_gpu", "expected"),
    [
        ("distil_whisper/distil_hindi", 1, 32, "32 1 1000"),
        ("distil_whisper/distil_hindi", 2, 8, "16 2 2000"),
        ("udistil_whisper/udistil_supervised", 8, 16, "128 1 none"),
        ("udistil_whisper/udistil_supervised", 1, 16, "16 8 none"),
        ("distil_whisper/distil_english", 4, 64, "256 1 5000"),
    ],
)
def test_published_updates_on_any_number_of_gpus(
    name, processes, per_gpu, expected, monkeypatch, capsys
):
    words = ["--config", ROOT / "conf" / f"{name}.yaml", "--processes", processes]
    call(update_plan, monkeypatch, *words, "--per_gpu", per_gpu)
    assert capsys.readouterr().out == f"{expected}\n"


def test_more_gpus_than_utterances(monkeypatch):
    words = ["--config", ROOT / "conf/distil_whisper/distil_hindi.yaml", "--processes", 40]
    with pytest.raises(SystemExit, match=r"32 utterances .* 40 processes.*use fewer GPUs"):
        call(update_plan, monkeypatch, *words, "--per_gpu", 8)


# --- Teacher
SHAPES = {
    # encoder and decoder layers, width, heads, mel bins, vocabulary
    "whisper-tiny": (4, 4, 384, 6, 80, 51865),
    "whisper-base": (6, 6, 512, 8, 80, 51865),
    "whisper-small": (12, 12, 768, 12, 80, 51865),
    "whisper-medium": (24, 24, 1024, 16, 80, 51865),
    "whisper-large-v2": (32, 32, 1280, 20, 80, 51865),
    "whisper-large-v3": (32, 32, 1280, 20, 128, 51866),
    "whisper-large-v3-turbo": (32, 4, 1280, 20, 128, 51866),
}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_parameters_of_published_models(name):
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    encoder, decoder, width, heads, mels, vocabulary = SHAPES[name]
    config = WhisperConfig(
        encoder_layers=encoder, decoder_layers=decoder, d_model=width, num_mel_bins=mels,
        encoder_attention_heads=heads, decoder_attention_heads=heads, vocab_size=vocabulary,
        encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
    )  # fmt: skip
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    model.tie_weights()
    assert sum(p.numel() for p in model.parameters()) == prove_whisper.PARAMETERS[name]


def test_a_good_teacher(whisper, tmp_path, monkeypatch, capsys):
    words = [whisper, "--expect", "own", "--language", "hi", "--json", tmp_path / "a.json"]
    call(prove_whisper, monkeypatch, *words)
    assert "2-2 layers of width 32, it hears" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["encoder_layers"] == 2


def test_teachers_that_cannot_teach(whisper, tmp_path, monkeypatch):
    words = [whisper, "--expect", "whisper-tiny", "--language", "xx", "--json", tmp_path / "a.json"]
    with pytest.raises(SystemExit) as stop:
        call(prove_whisper, monkeypatch, *words)
    assert "the published model has 37,760,640" in str(stop.value)
    assert "language 'xx' is none of this model's" in str(stop.value)
    with pytest.raises(SystemExit, match=r"prove_whisper\.py: .*none"):
        call(prove_whisper, monkeypatch, tmp_path / "none", "--json", tmp_path / "a.json")


@pytest.mark.parametrize(
    ("factor", "problem"), [(0.0, "no difference between noise"), (float("nan"), "NaN or infinity")]
)
def test_a_deaf_teacher(factor, problem):
    bundle = tiny_bundle(max_source_positions=50)
    with torch.no_grad():
        for parameter in bundle.model.model.encoder.parameters():
            parameter.mul_(factor)
    assert problem in prove_whisper.deafness(bundle)[0]


def test_an_english_teacher_labels_english():
    bundle = tiny_bundle(max_source_positions=50, multilingual=False)
    assert prove_whisper.problems_of(bundle, 0, "en") == []
    assert prove_whisper.problems_of(bundle, 0, "hi") == ["it is English-only and cannot label hi"]


def test_a_teacher_is_fetched_without_what_is_not_needed(tmp_path, monkeypatch, capsys):
    import huggingface_hub

    asked = {}

    def snapshot(repository, **options):
        asked.update(options, repository=repository)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    words = ["openai/whisper-large-v3", "--out", tmp_path / "teacher"]
    call(fetch_whisper, monkeypatch, *words)
    assert asked["repository"] == "openai/whisper-large-v3"
    assert asked["revision"] is None
    assert "model.fp32*" in asked["ignore_patterns"]
    assert "config.json" in asked["allow_patterns"]
    assert "fetched" in capsys.readouterr().out

    def refuse(repository, **options):
        raise OSError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(SystemExit, match=r"cannot be fetched: no network\. .*give a folder"):
        call(fetch_whisper, monkeypatch, *words)
    with pytest.raises(SystemExit, match="no such folder, and no OWNER/NAME"):
        call(fetch_whisper, monkeypatch, "exp/teacher/student", "--out", tmp_path)


def metrics(folder: Path, model: str, split: str, **values: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"model_id": f"somewhere/{model}", "split": split, "num_samples": 4, "rtfx": 2.0,
               "parameters": 1000, **values}  # fmt: skip
    (folder / f"{model}_x_{split}_metrics.json").write_text(json.dumps(content))


def test_the_teachers_wer(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="no metrics"):
        call(check_wer, monkeypatch, tmp_path)
    metrics(tmp_path, "teacher", "dev", WER=41.5)
    call(check_wer, monkeypatch, tmp_path)
    assert capsys.readouterr().out == "teacher: WER 41.50 % on 4 utterances\n"
    call(check_wer, monkeypatch, tmp_path, "--at_most", "41.5")
    with pytest.raises(SystemExit, match=r"above 40 %.*--teacher_max_wer 0"):
        call(check_wer, monkeypatch, tmp_path, "--at_most", "40")
    metrics(tmp_path, "teacher", "dev")
    call(check_wer, monkeypatch, tmp_path, "--at_most", "40")
    assert "has no transcripts" in capsys.readouterr().out


# --- Data
def test_long_recordings_are_made_of_short_ones(tmp_path, monkeypatch, capsys):
    data = KaldiDir({}, {})
    for index, samples in enumerate((8000, 12000, 9000)):
        path = tmp_path / f"u{index}.flac"
        write_audio(path, 0.1 * torch.randn(samples).numpy())
        data.wav_scp[f"u{index}"], data.utt2spk[f"u{index}"] = str(path), "s"
        data.text[f"u{index}"], data.num_samples[f"u{index}"] = f"word{index}", samples
    write_kaldi_dir(tmp_path / "short", data)
    words = [tmp_path / "short", "--out", tmp_path / "long", "--seconds", 2]
    call(join_recordings, monkeypatch, *words)
    long = load_tables(tmp_path / "long")
    assert long.text == {"long-00000": "word0 word1"}, "what is left over is too short"
    assert long.num_samples == {"long-00000": 8000 + 12000 + 2 * 8000}
    assert "1 recordings of at least 2 s" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="do not make one of 60 s"):
        call(join_recordings, monkeypatch, *words[:-1], 60)
    (tmp_path / "short" / "utt2num_samples").unlink()
    with pytest.raises(SystemExit, match="no utt2num_samples"):
        call(join_recordings, monkeypatch, *words)


def test_a_release_is_unpacked_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "cv" / "hi").mkdir(parents=True)
    (tmp_path / "cv" / "hi" / "train.tsv").write_text("path\n")
    with tarfile.open(tmp_path / "cv.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "cv", "cv-corpus")
    address = (tmp_path / "cv.tar.gz").as_uri()
    call(unpack, monkeypatch, address, "--out", tmp_path / "there" / "release")
    assert (tmp_path / "there" / "release" / "cv-corpus" / "hi" / "train.tsv").exists()
    call(unpack, monkeypatch, "gone.tar", "--out", tmp_path / "there" / "release")
    assert "kept" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"unpack\.py: gone\.tar: "):
        call(unpack, monkeypatch, "gone.tar", "--out", tmp_path / "other")


# --- Scores
def test_scores_stand_beside_the_published_ones(tmp_path, monkeypatch, capsys):
    short, draft = tmp_path / "short", tmp_path / "draft"
    for split, wer in (("a", 10.0), ("b", 20.0)):
        metrics(short, "student", split, WER=wer, CER=wer / 2)
    metrics(short, "other", "a", WER=1.0)
    drafted = {"assistant": "student", "utterances": 4, "identical": 3, "speed_ratio": 1.5}
    metrics(draft, "teacher", "a", WER=5.0, draft=drafted)
    (tmp_path / "p.yaml").write_text("mine: {mean WER: 12.0, a WER: 11.0}\n")
    words = ["--folders", f"short={short}", f"draft={draft}", "--corpus", "toy", "--rates", "WER",
             "CER", "--average", "mean=a,b", "more=a,c", "--published", tmp_path / "p.yaml",
             "--out", tmp_path / "results"]  # fmt: skip
    call(collect_whisper, monkeypatch, *words, "--models", "student:mine=student",
         "--description", "mine=2-1 layers")  # fmt: skip
    said = capsys.readouterr().out.splitlines()
    assert "mine a WER 10.00 % (published 11.0)" in said
    assert "mine mean WER 15.00 % (published 12.0)" in said
    assert "mine draft identical texts 75.00 %" in said
    assert not [line for line in said if "more" in line or "RTFx" in line]
    run = load_run(tmp_path / "results" / "mine.json")
    assert (run.role, run.description) == ("student", "2-1 layers")
    assert run.profile == {"parameters": {"total": 1000}}
    assert ("a", "RTFx", 2.0) in [(score.task, score.metric, score.value) for score in run.scores]
    with pytest.raises(SystemExit, match=r"no score of none in .*run stage 5"):
        call(collect_whisper, monkeypatch, *words, "--models", "student:mine=none")
    with pytest.raises(SystemExit, match="write ROLE:NAME=FOLDER"):
        call(collect_whisper, monkeypatch, *words, "--models", "mine")


def test_published_figures_have_the_names_that_the_recipes_use():
    hindi, arabic = (yaml.safe_load((recipe / "published.yaml").read_text()) for recipe in RECIPES)
    assert hindi == {"whisper-large-v3": {"test WER": 17.2}}
    assert {key for row in arabic.values() for key in row} == {"bench WER", "sada WER"}
    students = [name for name in arabic if name.startswith("udw_")]
    assert len(students) == 22
    assert {name.split("_")[2] for name in students} == {"100K", "500K"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_results_say_what_was_not_run(recipe):
    text = (recipe / "RESULTS.md").read_text(encoding="utf-8")
    assert "Our own run at full size has not been made" in text
    assert "arxiv.org/abs/" in text
    tables = yaml.safe_load((recipe / "published.yaml").read_text())
    figures = [str(value) for row in tables.values() for value in row.values()]
    assert [figure for figure in figures if figure not in text] == []


# --- Card and package
def test_card_and_package(whisper, tmp_path, monkeypatch):
    for file in whisper.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = {"student": "/secret/start/2-2", "teacher": "/secret/whisper-large-v3", "seed": 1}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    words = ["--model", tmp_path, "--name", "toy", "--config", tmp_path / "c.yaml"]
    call(model_card, monkeypatch, *words, "--language", "hi", "--base_model", "whisper-large-v3")
    card = (tmp_path / "README.md").read_text()
    head = next(yaml.safe_load_all(card))
    assert (head["language"], head["library_name"]) == ("hi", "transformers")
    assert (
        "A Whisper of 2-2 layers of width 32, distilled with\nespnet_kd from whisper-large-v3."
        in (card)
    )
    assert "secret" not in card
    words = ["--model", tmp_path, "--out", tmp_path / "a.zip"]
    call(pack_student, monkeypatch, *words)
    first = (tmp_path / "a.zip").read_bytes()
    call(pack_student, monkeypatch, *words)
    assert (tmp_path / "a.zip").read_bytes() == first, "the same student, the same file"
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert archive.read("model.safetensors") == (tmp_path / "model.safetensors").read_bytes()
        assert {"generation_config.json", "tokenizer.json", "preprocessor_config.json"} <= set(
            archive.namelist()
        )
        assert "c.yaml" not in archive.namelist()


def test_a_student_for_faster_whisper(whisper, tmp_path, monkeypatch, capsys):
    pytest.importorskip("ctranslate2", reason="the extra faster-whisper is not installed")
    call(convert_ctranslate2, monkeypatch, whisper, "--out", tmp_path / "ct2")
    assert (tmp_path / "ct2" / "model.bin").exists()
    assert "WhisperModel reads it" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"convert_ctranslate2\.py: "):
        call(convert_ctranslate2, monkeypatch, tmp_path / "none", "--out", tmp_path / "other")


# --- Options of udistil1
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--limits", "proxi=60"), "--limits: proxi=60 is not MEASURE=NUMBER or MEASURE@SHARE"),
        (("--limits", "proxy:60"), "--limits: proxy:60 is not"),
        (("--filters", "wer prxy"), "--filters: prxy is unknown; choose none wer proxy sonar"),
        (
            ("--limits", "proxy=60 sonar@0.8"),
            "sonar@0.8 is not used, as sonar is none of --filters",
        ),
    ],
)
def test_limits_that_set_nothing(tmp_path, options, message):
    command = [RECIPES[1] / "run.sh", "--python", sys.executable, "--stage", "7", *options]
    places = ["--expdir", tmp_path / "exp", "--datadir", tmp_path / "data"]
    result = subprocess.run([*command, *places], capture_output=True, text=True, check=False)
    assert result.returncode == 1  # at the latest because there is no student
    assert message in result.stderr
