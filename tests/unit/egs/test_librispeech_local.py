"""The LibriSpeech recipes' own scripts, on small inputs and without a network."""

from __future__ import annotations

import importlib.util
import json
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from egs.TEMPLATE import model_card, pack_student
from espnet_kd import load_model
from espnet_kd.data.kaldi_dir import KaldiDir, load_tables, write_kaldi_dir
from espnet_kd.evaluation.runs import Run, Score, load_run
from tests.integration.toy_librispeech import make_teacher

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "egs" / "librispeech"
COMMON = RECIPES / "common"
ARMHUBERT, DPHUBERT = (RECIPES / name / "local" for name in ("armhubert1", "dphubert1"))


def script(name: str, folder: Path = COMMON) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"librispeech_{name}", folder / f"{name}.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(module: ModuleType, monkeypatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, words)])
    module.main()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "teacher"
    make_teacher(folder)
    return folder


# --- Batches
@pytest.mark.parametrize(
    ("processes", "expected"),
    [(1, (18, 8)), (2, (36, 4)), (3, (48, 3)), (4, (72, 2)), (5, (72, 2)), (8, (144, 1)),
     (64, (144, 1))],
)  # fmt: skip
def test_published_utterances_per_update(processes, expected):
    assert script("batch_plan", ARMHUBERT).plan(144, processes, 18) == expected


def test_more_gpus_than_utterances():
    with pytest.raises(ValueError, match=r"36 utterances .* 40 processes.*--utterances_per_update"):
        script("batch_plan", ARMHUBERT).plan(36, 40, 6)


@pytest.mark.parametrize(
    "config", sorted((ROOT / "conf").glob("[ams][art]*/*_*h.yaml")), ids=lambda path: path.stem
)
def test_every_experiment_has_a_plan_and_a_published_row(config, monkeypatch, capsys):
    call(script("batch_plan", ARMHUBERT), monkeypatch, "--config", config, "--processes", 8)
    batch, accumulate = map(int, capsys.readouterr().out.split())
    assert batch * accumulate == (36 if "100h" in config.stem else 144)
    published = yaml.safe_load((COMMON / "published.yaml").read_text())
    assert config.stem in published or config.stem == "armwavlm_s_100h"


@pytest.mark.parametrize(
    ("processes", "expected"),
    [(1, (160, 4)), (2, (160, 2)), (3, (640 / 6, 2)), (4, (160, 1)), (8, (80, 1)), (40, (16, 1))],
)
def test_published_seconds_per_update(processes, expected):
    assert script("seconds_plan", DPHUBERT).plan(640, processes, 160, 15.625) == expected


def test_more_gpus_than_seconds():
    with pytest.raises(ValueError, match=r"64 processes .* 10 s for a batch.*use fewer GPUs"):
        script("seconds_plan", DPHUBERT).plan(640, 64, 160, 15.625)


@pytest.mark.parametrize(
    "config", sorted((ROOT / "conf" / "dphubert").glob("*.yaml")), ids=lambda path: path.stem
)
def test_updates_are_the_published_ones_on_any_number_of_gpus(config, monkeypatch, capsys):
    words = ["--config", config, "--processes", 2]
    call(script("seconds_plan", DPHUBERT), monkeypatch, *words)
    assert capsys.readouterr().out == "160 2 2000\n"
    call(script("seconds_plan", DPHUBERT), monkeypatch, *words, "--per_gpu", 40)
    assert capsys.readouterr().out == "40 8 8000\n"


def test_a_group_of_layers_publishes_its_projection_for_each():
    own = {f"projections.{i}.{part}": torch.full((1,), i) for i in (0, 1)
           for part in ("weight", "bias")}  # fmt: skip
    publish = script("publish", DPHUBERT).published_projections
    groups = {name: int(value) for name, value in publish(own, {}).items() if "bias" in name}
    assert groups == {"0.bias": 0, "1.bias": 1, "2.bias": 1, "3.bias": 1}
    assert publish(own, {"distill_mode": "predlayer"}) == {}


# --- Downloads
def archive_of(folder: Path, inside: str) -> Path:
    source = folder / "source"
    (source / inside).mkdir(parents=True)
    (source / inside / "a.txt").write_text("words")
    return source


@pytest.fixture
def mirror(tmp_path):
    """A folder with dev-clean.tar.gz in the published layout, as a URL."""
    source = archive_of(tmp_path, "LibriSpeech/dev-clean")
    with tarfile.open(tmp_path / "dev-clean.tar.gz", "w:gz") as tar:
        tar.add(source / "LibriSpeech", "LibriSpeech")
    return tmp_path.as_uri()


def test_missing_split_is_fetched_and_unpacked(tmp_path, mirror, monkeypatch, capsys):
    out = tmp_path / "downloads" / "LibriSpeech"
    (out / "test-clean").mkdir(parents=True)
    words = ["librispeech", "--out", out, "--url", mirror, "--splits", "test-clean", "dev-clean"]
    call(script("download"), monkeypatch, *words)
    assert (out / "dev-clean" / "a.txt").read_text() == "words"
    assert sorted(path.name for path in out.iterdir()) == ["dev-clean", "test-clean"]
    assert [path.name for path in out.parent.iterdir()] == ["LibriSpeech"], "archive is removed"
    assert "test-clean: kept" in capsys.readouterr().out
    call(script("download"), monkeypatch, *words[:4], "nowhere:", *words[5:])


def test_an_archive_that_climbs_out_is_refused(tmp_path, monkeypatch):
    source = archive_of(tmp_path, "x")
    with tarfile.open(tmp_path / "dev-clean.tar.gz", "w:gz") as tar:
        tar.add(source / "x", "../evil")
    words = ["librispeech", "--out", tmp_path / "d" / "L", "--splits", "dev-clean"]
    with pytest.raises(SystemExit, match="outside"):
        call(script("download"), monkeypatch, *words, "--url", tmp_path.as_uri())
    assert not list(tmp_path.rglob("evil"))


def test_teacher_of_the_hub_is_pinned(tmp_path, monkeypatch):
    asked = []
    module = script("download")
    monkeypatch.setattr(module, "fetch", lambda url, out, sha256="": asked.append((url, sha256)))
    call(module, monkeypatch, "teacher", "--name", "hubert_base", "--out", tmp_path)
    revision = module.HUB_MODELS["hubert_base"][1]
    assert all(f"/resolve/{revision}/" in url for url, _ in asked)
    assert asked[-1][1] == module.HUB_SHA256["hubert_base"]
    asked.clear()
    words = ["teacher", "--name", "hubert_base", "--out", tmp_path, "--revision", "abc"]
    call(module, monkeypatch, *words)
    assert asked[-1] == (asked[-1][0], ""), "another revision has another checksum"


# --- Teacher
def test_fine_tuned_teacher_and_its_letters(tmp_path, monkeypatch):
    module = script("download")
    asked = []
    monkeypatch.setattr(module, "fetch", lambda url, out, sha256="": asked.append((url, out)))
    name = "hubert_xtralarge_ll60k_finetune_ls960"
    words = ["--name", name, "--out", tmp_path / name]
    call(module, monkeypatch, "teacher", *words, "--source", "fairseq")
    call(module, monkeypatch, "labels", "--out", tmp_path)
    assert asked[0] == (module.FAIRSEQ[name], tmp_path / f"{name}.pt")
    assert asked[1][1] == tmp_path / "dict.ltr.txt"
    with pytest.raises(SystemExit, match="give --teacher_source fairseq"):
        call(module, monkeypatch, "teacher", *words)


def test_published_codes_of_the_splits(tmp_path, monkeypatch):
    module = script("download")
    asked = []
    files = ["a-clean-100-1.h5", "a-clean-100.jsonl.gz", "a-clean-360-1.h5", "README.md"]

    def fetch(url, out, sha256=""):
        asked.append(out.name)
        if url.startswith("https://mirror/api/"):
            out.write_text(json.dumps({"siblings": [{"rfilename": name} for name in files]}))

    monkeypatch.setattr(module, "fetch", fetch)
    words = ["codes", "--name", next(iter(module.CODES)), "--out", tmp_path]
    words += ["--url", "https://mirror", "--splits"]
    call(module, monkeypatch, *words, "train-clean-100")
    assert asked == [".files.json", *files[:2]]
    with pytest.raises(SystemExit, match="no manifest or HDF5 file of train-other-500"):
        call(module, monkeypatch, *words, "train-other-500")
    files.append("../clean-100.h5")
    with pytest.raises(SystemExit, match="not a file of its folder"):
        call(module, monkeypatch, *words, "train-clean-100")


def test_a_good_teacher(teacher):
    prove = script("prove_teacher")
    model = load_model(teacher)
    assert prove.problems_of(model, 4684) == []
    assert prove.problems_of(model, 94_371_712) == [
        "4,684 parameters, the published model has 94,371,712"
    ]


@pytest.mark.parametrize(
    ("factor", "problem"),
    [(0.0, "layer 1: the same vector at every time"), (float("nan"), "layer 1: NaN or infinity")],
)
def test_a_dead_teacher(teacher, factor, problem):
    model = load_model(teacher)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layers." in name:
                parameter.mul_(factor)
    assert any(line.startswith(problem) for line in script("prove_teacher").problems_of(model, 0))


# --- Data
def part_of(folder: Path, speaker: str) -> Path:
    names = [f"{speaker}-1-000{index}" for index in range(2)]
    audio = folder.parent / "a.flac"
    audio.touch()
    write_kaldi_dir(
        folder,
        KaldiDir(
            dict.fromkeys(names, str(audio)),
            dict.fromkeys(names, speaker),
            dict.fromkeys(names, "A"),
            dict.fromkeys(names, 16000),
        ),
    )
    return folder


def test_splits_are_joined_once(tmp_path, monkeypatch, capsys):
    parts = [part_of(tmp_path / name, name[-1]) for name in ("part1", "part2")]
    words = [*parts, "--out", tmp_path / "whole"]
    call(script("combine"), monkeypatch, *words)
    assert len(load_tables(tmp_path / "whole")) == 4
    capsys.readouterr()
    call(script("combine"), monkeypatch, *words)
    assert "kept" in capsys.readouterr().out


# --- Scores, card, package
def scored(folder: Path, task: str, value: float) -> None:
    folder.mkdir(parents=True)
    score = {"task": task, "metric": "WER", "value": value, "direction": "lower", "unit": "%"}
    (folder / "score.json").write_text(json.dumps({**score, "split": "test-clean"}))


def test_scores_stand_beside_the_published_ones(tmp_path, monkeypatch, capsys):
    scored(tmp_path / "downstream" / "student" / "asr", "ASR", 10.25)
    words = ["--exp", tmp_path, "--system", "armhubert_960h", "--teacher", "hubert_base"]
    call(script("collect"), monkeypatch, *words, "--models", "student")
    assert capsys.readouterr().out == "armhubert_960h ASR WER 10.25 % (published 9.96)\n"
    run = load_run(tmp_path / "results" / "student.json")
    assert (run.role, run.scores[0].value) == ("student", 10.25)
    with pytest.raises(SystemExit, match=r"no score of teacher .* --stage 5"):
        call(script("collect"), monkeypatch, *words, "--models", "teacher")


def test_card_of_several_phases_names_no_place(tmp_path):
    for number, student in enumerate(("hubert_base", "/secret/exp/pruned"), start=1):
        conf = {"student": student, "kd_conf": {"objectives": {"a": {"projections": student}}}}
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(conf))
    text = model_card.training([tmp_path / "1.yaml", tmp_path / "2.yaml"])
    assert "## Training, phase 2" in text
    assert "projections: pruned" in text
    assert "secret" not in text


def test_card_and_package(tmp_path, teacher, monkeypatch):
    for file in teacher.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = {"student": "armhubert", "teacher": "/secret/place/hubert", "seed": 1, "lr": 2}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    score = Score("ASR", "WER", 9.5, "lower", "%")
    Run("toy", "student", (score,), command="run.sh", profile={"parameters": {"total": 4684}}).save(
        tmp_path / "run.json"
    )
    words = ["--model", tmp_path, "--name", "toy", "--config", tmp_path / "c.yaml"]
    call(model_card, monkeypatch, *words, "--runs", tmp_path / "run.json", "--license", "mit")
    card = (tmp_path / "README.md").read_text()
    head = next(yaml.safe_load_all(card))
    assert head["license"] == "mit"
    assert "2 layers of width 12, 0.00 M parameters" in card
    assert "| toy | ASR | WER | 9.50 % |" in card
    assert "teacher: hubert\n" in card
    assert "secret" not in card
    words = ["--model", tmp_path, "--out", tmp_path / "a.zip"]
    call(pack_student, monkeypatch, *words)
    first = (tmp_path / "a.zip").read_bytes()
    call(pack_student, monkeypatch, *words)
    assert (tmp_path / "a.zip").read_bytes() == first, "the same student, the same file"
    with pytest.raises(SystemExit, match=r"missing: .*none\.md"):
        call(pack_student, monkeypatch, *words, "--results", tmp_path / "none.md")
