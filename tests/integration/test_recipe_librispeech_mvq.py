"""egs/librispeech/mvq1 on a toy corpus: every stage, a kill in the middle, published codes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.integration.running import Result, joined, killed_when, ran
from tests.integration.toy_mvq import make_conf, make_fine_tuned, make_published_codes, make_speech

# A group of its own: its commands run in forks of one process that has the toolkits.
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("recipes"),
]

RECIPE = Path(__file__).resolve().parents[2] / "egs" / "librispeech" / "mvq1"
EPOCHS = 4
TEACHER = "hubert_xtralarge_ll60k_finetune_ls960"
TRAIN_SET = "mvq_100h_1.0_1.1_0.5_20.0_15"
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mvq")
    make_speech(root / "LibriSpeech")
    make_fine_tuned(root / "teacher" / f"{TEACHER}.pt")
    make_conf(root / "conf.yaml")
    make_published_codes(root / "codes", (1.0, 1.1), 2)
    return root


def command(root: Path, python: Path, *options: str) -> list[str]:
    values = {
        "python": python, "teacher": root / "teacher" / f"{TEACHER}.pt", "conf": root / "conf.yaml",
        "dictionary": root / "teacher" / "dict.ltr.txt", "librispeech": root / "LibriSpeech",
        "datadir": root / "data", "expdir": root / "exp", "speeds": "1.0 1.1", "min_seconds": 0.5,
        "embedding_layer": 2, "num-codebooks": 2, "distillation_layer": 1, "vocab_size": 15,
        "num_epochs": EPOCHS, "seconds_per_update": 8, "max_duration": 4, "avg": 2, "ngpu": 0,
        "num_workers": 0, "nj": 2, "beam_size": 1, "proof_tolerance": 1000,
        "quantizer_args": "--alternations 1 --logit_steps 2",
    }  # fmt: skip
    return [
        str(RECIPE / "run.sh"),
        *(f"--{name}={value}" for name, value in values.items()),
        *options,
    ]


@pytest.fixture(scope="module")
def run(root: Path, warm_python: Path) -> Run:
    """``run(*options)`` from a folder that is not the recipe's; output joined."""
    return lambda *options: joined(command(root, warm_python, *options), root)


@pytest.fixture(scope="module")
def prepared(run: Run) -> str:
    """Output of stages 0 to 2."""
    return ran(run("--stop_stage", "2"))


@pytest.fixture(scope="module")
def exp(root: Path) -> Path:
    return root / "exp" / "mvq_100h"


@pytest.fixture(scope="module")
def killed(prepared: str, root: Path, warm_python: Path, exp: Path) -> int:
    """Stage 3, killed after an epoch; returns the epochs that were saved."""
    words = command(root, warm_python, "--stage", "3", "--stop_stage", "3")
    killed_when(words, root, (exp / "train" / "1epoch.pth").exists)
    assert not (exp / "train" / ".done").exists()
    return len(list((exp / "train").glob("*epoch.pth")))


@pytest.fixture(scope="module")
def finished(killed: int, run: Run) -> str:
    """Output of stages 3 to 7."""
    return ran(run("--stage", "3"))


def test_teacher_is_proved_and_makes_codes(root: Path, prepared: str) -> None:
    assert "the teacher is proved" in prepared
    rates = json.loads((root / "exp" / "mvq_100h" / "teacher_wer.json").read_text())
    assert set(rates) == {"test-clean", "test-other"}
    layer = root / "exp" / "vq" / f"{TEACHER}_layer2_cb2"
    info = json.loads((layer / f"codes_{TRAIN_SET}" / "codes.json").read_text())
    assert (info["utterances"], info["num_codebooks"]) == (16, 2)


def test_training_set_has_both_speeds(root: Path, prepared: str) -> None:
    lines = (root / "data" / TRAIN_SET / "utt2num_samples").read_text().splitlines()
    samples = dict(line.split() for line in lines)
    assert samples["1-10-0003"] == "16000"
    assert samples["sp1.1-1-10-0003"] == "14545", "16000 / 1.1, rounded"
    speakers = (root / "data" / TRAIN_SET / "utt2spk").read_text()
    assert "sp1.1-1-10-0003 sp1.1-1\n" in speakers


def test_a_bad_teacher_is_found(prepared: str, run: Run) -> None:
    result = run("--stage", "1", "--stop_stage", "1", "--proof_tolerance", "1")
    assert result.returncode == 1
    assert "expected 2.04" in result.stdout


def test_a_kill_loses_nothing(exp: Path, killed: int, finished: str, run: Run) -> None:
    assert 1 <= killed < EPOCHS
    ran(run("--stage", "3", "--stop_stage", "4", "--tag", "unbroken"))
    one, other = (torch.load(e / "model.pth") for e in (exp, exp.with_name("mvq_100h_unbroken")))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not [name for name in one if name.startswith("codebook_loss")]


def test_the_published_training(exp: Path, finished: str) -> None:
    assert "4 s per batch of all 1 process(es), 2 batch(es) per update" in finished
    conf = yaml.safe_load((exp / "train" / "config.yaml").read_text())
    assert (conf["optim"], conf["scheduler"], conf["decoder"]) == ("eve", "eden", "kd_stateless")
    assert (conf["batch_bins"], conf["accum_grad"]) == (64000, 2)
    states = torch.load(exp / "train" / "checkpoint.pth", weights_only=False)
    schedule = states["schedulers"][0]
    assert schedule["epochs_done"] == EPOCHS - 1
    assert schedule["updates_done"] >= EPOCHS
    log = (exp / "train.log").read_text()
    assert "loss_codebook=" in log


def test_scores_stand_beside_the_published_ones(exp: Path, finished: str) -> None:
    assert "| published, mvq_100h_20epochs | 5.82 | 15.98 |" in finished
    run = json.loads((exp / "results" / "mvq_100h.json").read_text())
    assert [score["task"] for score in run["scores"]] == ["ASR test-clean", "ASR test-other"]
    assert (exp / "report" / "RESULTS.md").is_file()
    with zipfile.ZipFile(exp / "packed" / "mvq_100h.zip") as archive:
        assert [name for name in archive.namelist() if name.endswith("model.pth")]


def test_stages_again_do_nothing(exp: Path, finished: str, run: Run) -> None:
    kept = [exp / "train" / "checkpoint.pth", exp / "model.pth", exp / "decode/test-clean/text"]
    before = [path.stat().st_mtime_ns for path in kept]
    assert "done already" in ran(run("--stage", "2", "--stop_stage", "5"))
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_published_codes_and_the_baseline(root: Path, finished: str, run: Run) -> None:
    options = [f"--codes_dir={root / 'codes'}", "--use_extracted_codebook=true"]
    said = ran(run(*options, "--stage", "2", "--stop_stage", "2"))
    assert "16 utterances" in said
    assert (root / "exp" / "vq" / "extracted" / f"codes_{TRAIN_SET}" / "codes.scp").is_file()
    baseline = ["--enable_distillation=false", "--context_size=1", "--num_epochs=1", "--stage=3"]
    ran(run(*baseline, "--skip_stages=7"))
    conf = yaml.safe_load((root / "exp" / "baseline_100h" / "train" / "config.yaml").read_text())
    assert conf["decoder"] == "stateless"
    report = (root / "exp" / "baseline_100h" / "report" / "RESULTS.md").read_text()
    assert "mvq_100h" in report
    assert "baseline_100h" in report


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--conf", "nowhere.yaml"), "--conf nowhere.yaml: no such file"),
        (("--quantizer_method", "magic"), "choose kmeans or published"),
        (("--max_duration", "4.5"), "are whole seconds"),
        (("--stage", "3", "--vocab_size", "30"), "(the statistics), which stage 2 makes"),
        (
            ("--stage", "3", "--codebook-loss-scale", "-1", "--tag", "bad"),
            "codebook_loss_scale is -1",
        ),
        (("--stage", "4", "--tag", "new"), "(the end of the training), which stage 3 makes"),
        (("--stage", "2", "--vocab_size", "3000"), "--vocab_size 3000: "),
        (("--stage", "8", "--stop_stage", "8"), "stage 8 needs --hf_repo"),
    ],
)
def test_wrong_options(prepared: str, run: Run, options: tuple[str, ...], message: str) -> None:
    result = run(*options)
    assert result.returncode != 0
    assert message in result.stdout


def test_other_codes_are_not_taken_for_the_same(root: Path, finished: str, run: Run) -> None:
    """Another seed makes another quantiser, whose codes an old training must not go on with."""
    result = run("--stage", "2", "--stop_stage", "3", "--seed", "1")
    assert result.returncode == 1
    codes = root / "exp" / "vq" / f"{TEACHER}_layer2_cb2" / f"codes_{TRAIN_SET}"
    assert f"the old one is now {codes}.old" in result.stdout
    assert "was trained on other speech, tokens or codes: remove it" in result.stdout
    assert (codes.with_name(f"{codes.name}.old") / "codes.scp").is_file()
