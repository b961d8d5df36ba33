"""egs/librispeech/armhubert1: every stage on a toy corpus, a kill in the middle, stages again."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.running import Result, joined, killed_when, ran
from tests.integration.toy_librispeech import STUDENT, Toy, make_toy

# A group of its own: its commands run in forks of one process that has the toolkits.
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("recipes"),
]

RECIPE = Path(__file__).resolve().parents[2] / "egs" / "librispeech" / "armhubert1"
EPOCHS = 12


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, warm_python: Path) -> Toy:
    return make_toy(tmp_path_factory.mktemp("librispeech"), warm_python)


def command(toy: Toy, *options: str) -> list[str]:
    words = [str(RECIPE / "run.sh"), f"--python={toy.python}", *toy.options]
    return [*words, *options]


@pytest.fixture(scope="module")
def run(toy: Toy) -> Callable[..., Result]:
    """``run(*options)`` of the recipe from a folder that is not its own; output joined."""

    def start(*options: str) -> Result:
        return joined(command(toy, *options), toy.root)

    return start


@pytest.fixture(scope="module")
def prepared(run) -> str:
    """Output of stages 0 to 2."""
    return ran(run("--stop_stage", "2"))


@pytest.fixture(scope="module")
def killed(prepared: str, toy: Toy) -> int:
    """Stage 3, everything of it killed after an epoch; returns the epochs that were saved."""
    train = toy.root / "exp" / "armhubert_960h" / "train"
    words = command(toy, "--stage", "3", "--stop_stage", "3")
    killed_when(words, toy.root, (train / "2epoch.pth").exists)
    assert not (train / ".done").exists()
    return len(list(train.glob("*epoch.pth")))


@pytest.fixture(scope="module")
def resumed(killed: int, run) -> str:
    """Output of stage 3, started again alone."""
    return ran(run("--stage", "3", "--stop_stage", "3"))


@pytest.fixture(scope="module")
def finished(resumed: str, run) -> str:
    """Output of stages 4 to 7."""
    return ran(run("--stage", "4"))


def test_a_missing_input_names_its_stage(toy, run):
    result = run("--stage", "3", "--datadir", str(toy.root / "elsewhere"))
    assert result.returncode == 1
    assert "elsewhere/train-960/utt2num_samples (the training set), which stage 2" in result.stdout
    assert "run ./run.sh --stage 2" in result.stdout
    result = run("--stage", "3", "--teacher=")
    assert "(the teacher), which stage 0 makes" in result.stdout


def test_teacher_data_and_tables(toy, prepared):
    assert "4,684" in prepared, "parameters of the teacher"
    assert "the teacher is proved" in prepared
    assert "train-other-500: 3 utterances" in prepared
    whole = (toy.root / "data" / "train-960" / "wav.scp").read_text().splitlines()
    assert len(whole) == 4 + 3 + 3
    tables = {path.stem for path in (toy.root / "data" / "bucket").glob("*.csv")}
    assert tables == {"train-clean-100", "dev-clean", "test-clean"}


def test_stage_3_resumes_after_a_kill(toy, killed, resumed):
    assert 1 <= killed < EPOCHS
    log = (toy.root / "exp" / "armhubert_960h" / "train.log").read_text()
    epochs = [int(line.split("epoch results")[0].split()[-1]) for line in log.splitlines()
              if "epoch results" in line]  # fmt: skip
    assert epochs[-1] == EPOCHS
    assert epochs[0] >= killed, "an epoch that was saved is not trained again"
    assert (toy.root / "exp" / "armhubert_960h" / "train.log.1").exists(), "the killed run's log"
    assert f"{EPOCHS}epoch results: train loss" in resumed
    assert "4 utterances per batch over 1 process(es), 2 batches per update" in resumed


def test_student_scores_and_package(toy, finished):
    exp = toy.root / "exp" / "armhubert_960h"
    config = json.loads((exp / "student" / "config.json").read_text())["encoder"]
    assert [layer["attention"] for layer in config["layers"]] == ["full", "reused"]
    assert config["embed_dim"] == STUDENT["embed_dim"]
    profile = json.loads((exp / "student.profile.json").read_text())
    assert profile["parameters"]["total"] == 6160
    scores = {
        p.parent.name: json.loads(p.read_text()) for p in exp.glob("downstream/*/*/score.json")
    }
    assert {task: score["metric"] for task, score in scores.items()} == {
        "asr": "WER", "pr": "PER", "ks": "accuracy", "sid": "accuracy",
    }  # fmt: skip
    assert f"WER {scores['asr']['value']:.2f} % (published 9.96)" in finished
    results = (exp / "report" / "RESULTS.md").read_text()
    assert "ASR WER" in results
    assert "run.sh --student armhubert --hours 960" in results
    with zipfile.ZipFile(exp / "armhubert_960h.zip") as archive:
        names = set(archive.namelist())
        card = archive.read("README.md").decode()
    assert names == {
        "config.json", "model.safetensors", "README.md", "RESULTS.md", "train_config.yaml",
        "meta.json",
    }  # fmt: skip
    assert "teacher: teacher\n" in card, "the teacher's name, not where it lies"


def test_everything_again_is_done_already(toy, finished, run):
    exp = toy.root / "exp" / "armhubert_960h"
    kept = [*exp.glob("train/*.pth"), *exp.glob("downstream/*/*/*.ckpt"),
            exp / "student" / "model.safetensors",
            toy.root / "data" / "train-960" / "wav.scp"]  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in kept}
    package = (exp / "armhubert_960h.zip").read_bytes()
    said = ran(run())
    assert said.count("done already with the same options") == 3, "teacher, training, export"
    assert "1 of 1 jobs are done already" in said
    assert "3 of 3 jobs are done already" in said
    assert said.count(" min, kept") == 5, "Kaldi folders"
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert (exp / "armhubert_960h.zip").read_bytes() == package


def test_several_hosts(toy, prepared, tmp_path, monkeypatch):
    """ESPnet's launcher sends each process's command through ssh (one that writes it down)."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/sent\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = ["--stage=3", "--stop_stage=3", "--tag=hosts", "--hosts=one:0:1,two:3", "--per_gpu=2"]
    result = subprocess.run(
        command(toy, *options), capture_output=True, text=True, check=False, cwd=toy.root
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "4 utterances per batch over 3 process(es), 2 batches per update" in result.stderr
    lines = (tmp_path / "sent").read_text().splitlines()
    sent = [shlex.split(line) for line in lines if "ssl_distill_train" in line]
    assert sorted(line[:3] for line in lines if "bash <<" in line) == ["one", "one", "two"]
    ranks = {words[words.index("--dist_rank") + 1] for words in sent}
    assert ranks == {"0", "1", "2"}
    for words in sent:
        assert json.loads(words[words.index("--student_conf") + 1]) == STUDENT
        assert words[words.index("--dist_world_size") + 1] == "3"


def test_interruption_ends_the_training(toy, finished):
    """Ctrl-C or a scheduler's TERM reaches the training, which says how to go on."""
    log = toy.root / "exp" / "armhubert_960h_stop" / "train.log"
    process = subprocess.Popen(
        command(toy, "--stage", "3", "--tag", "stop"),
        cwd=toy.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not (log.exists() and "# started" in log.read_text()):
        time.sleep(0.01)
    process.terminate()
    said, _ = process.communicate()
    assert process.returncode == 143
    assert "stage 3 failed; mend it and go on with ./run.sh --stage 3" in said
    assert "# ended (code" in log.read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stage", "9"), "this recipe has the stages 0 to 8"),
        (("--skip_stages", "1,12"), "12 is not one of the stages"),
        (("--unknown", "1"), "unknown option --unknown; known are: --stage --stop_stage"),
        (("--student", "armhubert", "--hours", "100"), "was not published; there are:"),
        (("--stage", "8", "--stop_stage", "8"), "stage 8 needs --hf_repo"),
    ],
)
def test_wrong_options(run, options, message):
    result = run(*options)
    assert result.returncode != 0
    assert message in result.stdout
