"""egs/librispeech/dphubert1 and egs/librispeech/dpwavlm1 on a toy corpus, killed in both phases."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from espnet_kd import load_model
from espnet_kd.checkpoints.dphubert import read_projections
from tests.integration.running import Result, joined, killed_when, ran
from tests.integration.toy_librispeech import Toy, make_teacher, make_toy

# A group of its own: its commands run in forks of one process that has the toolkits.
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("recipes"),
]

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "egs" / "librispeech"
EPOCHS = 4
Run = Callable[..., Result]


def make_conf(folder: Path) -> None:
    """The published files for a teacher of two layers, utterances below a second, few updates."""
    folder.mkdir()
    for file in (ROOT / "conf" / "dphubert").glob("dp*_960h_phase?.yaml"):
        conf = yaml.safe_load(file.read_text())
        kd = conf["kd_conf"]
        kd["objectives"]["layer_distill"] = {"distill_layers": "0.1,2"}
        kd["batching"].update(seconds_per_batch=2.0, min_seconds=0.1, max_seconds=1.0)
        if file.stem.endswith("phase1"):
            options = {"target_sparsity": 0.3, "sparsity_warmup": 4, "log_every": 1}
            kd["pruning"].update(options)
        conf.update(max_epoch=EPOCHS, num_iters_per_epoch=2, scheduler_conf={"warmup_steps": 2})
        conf.update(use_tensorboard=False, use_matplotlib=False)
        (folder / file.name).write_text(yaml.safe_dump(conf))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, warm_python: Path) -> Toy:
    root = tmp_path_factory.mktemp("librispeech")
    toy = make_toy(root, warm_python)
    make_teacher(root / "wavlm", "wavlm_base")
    make_conf(root / "conf")
    return toy


@pytest.fixture(scope="module")
def exp(toy: Toy) -> Path:
    return toy.root / "exp" / "dphubert_960h"


def command(toy: Toy, *options: str, recipe: str = "dphubert1") -> list[str]:
    folders = {
        "teacher": "teacher", "librispeech": "LibriSpeech", "conf": "conf", "datadir": "data",
        "expdir": "exp", "superb_conf": "superb",
    }  # fmt: skip
    words = [f"--{name}={toy.root / folder}" for name, folder in folders.items()]
    words += [f"--python={toy.python}", "--ngpu=0", "--num_workers=0", "--superb_tasks="]
    return [str(RECIPES / recipe / "run.sh"), *words, *options]


@pytest.fixture(scope="module")
def run(toy: Toy) -> Run:
    """``run(*options, recipe=...)`` from a folder that is not the recipe's; output joined."""

    def start(*options: str, recipe: str = "dphubert1") -> Result:
        return joined(command(toy, *options, recipe=recipe), toy.root)

    return start


@pytest.fixture(scope="module")
def killed_at(toy: Toy) -> Callable[..., None]:
    """``killed_at(file, *options)``: kill the recipe and all of it when a file appears."""

    def kill(file: Path, *options: str) -> None:
        killed_when(command(toy, *options), toy.root, file.exists)

    return kill


@pytest.fixture(scope="module")
def prepared(run: Run) -> str:
    """Output of stages 0 to 2."""
    return ran(run("--stop_stage", "2"))


@pytest.fixture(scope="module")
def killed(prepared: str, exp: Path, killed_at: Callable[..., None]) -> list[int]:
    """Killed in phase 1, started again, killed in phase 2; returns the epochs that were saved."""
    saved = []
    for phase in ("phase1", "phase2"):
        killed_at(exp / phase / "2epoch.pth", "--stage", "3")
        assert not (exp / phase / ".done").exists()
        saved.append(len(list((exp / phase).glob("*epoch.pth"))))
    return saved


@pytest.fixture(scope="module")
def finished(killed: list[int], run: Run) -> str:
    """Output of stages 4 to 7."""
    return ran(run("--stage", "4"))


def test_teacher_and_data(toy: Toy, prepared: str) -> None:
    assert "the teacher is proved" in prepared
    sets = {"train-960": 4 + 3 + 3, "dev": 2 + 2}
    for name, size in sets.items():
        assert len((toy.root / "data" / name / "wav.scp").read_text().splitlines()) == size


def test_kills_lose_nothing(exp: Path, killed: list[int], finished: str, run: Run) -> None:
    """Both phases end with the very weights of a run that nobody disturbed."""
    assert all(1 <= epochs < EPOCHS for epochs in killed)
    for phase in ("phase1", "phase2"):
        assert (exp / f"{phase}.log.1").exists(), "the killed run's log"
    said = ran(run("--stage", "3", "--stop_stage", "4", "--tag", "unbroken"))
    assert "target: 30.00% of the params removed" in said
    unbroken = exp.with_name("dphubert_960h_unbroken")
    for name in ("pruned/model.safetensors", "pruned/distill_projections.safetensors",
                 "student/model.safetensors", "phase1/pruning.jsonl"):  # fmt: skip
        assert (exp / name).read_bytes() == (unbroken / name).read_bytes(), name


def test_seconds_and_updates_are_the_published_ones(exp: Path, finished: str) -> None:
    assert "2 s per batch over 1 process(es), 4 batch(es) per update" in finished
    log = (exp / "phase1" / "pruning.jsonl").read_text().splitlines()
    assert [json.loads(line)["updates"] for line in log] == list(range(1, 2 * EPOCHS + 1))
    for phase in ("phase1", "phase2"):
        conf = yaml.safe_load((exp / phase / "config.yaml").read_text())
        assert (conf["accum_grad"], conf["num_iters_per_epoch"]) == (4, 8)


def test_pruned_student_in_both_layouts(toy: Toy, exp: Path, finished: str) -> None:
    teacher, student, published = map(
        load_model, (toy.root / "teacher", exp / "student", exp / "dphubert_960h.pth")
    )
    sizes = [sum(p.numel() for p in model.parameters()) for model in (teacher, student)]
    assert sizes[1] < sizes[0]
    assert "removed (as published figures count them)" in finished
    x_BS = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        states, others = student(x_BS).hidden_states, published(x_BS).hidden_states
    assert len(states) == 3, "the projected features come first"
    torch.testing.assert_close(states, others)
    projections = read_projections(exp / "dphubert_960h.pth")
    assert set(projections) == {f"{j}.{part}" for j in range(3) for part in ("weight", "bias")}
    assert torch.equal(projections["1.weight"], projections["2.weight"]), "one group"


def test_score_and_package(exp: Path, finished: str) -> None:
    score = json.loads((exp / "downstream" / "student" / "asr" / "score.json").read_text())
    assert f"WER {score['value']:.2f} % (published 10.47)" in finished
    with zipfile.ZipFile(exp / "dphubert_960h.zip") as archive:
        card = archive.read("README.md").decode()
    assert "## Training, phase 2" in card
    assert "layer 1 units" in (exp / "report" / "report.html").read_text(), "what pruning removed"
    assert str(exp) not in card


def test_everything_again_is_done_already(exp: Path, finished: str, run: Run) -> None:
    kept = [*exp.glob("phase?/*.pth"), *exp.glob("*/model.safetensors")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    said = ran(run("--stage", "3"))
    assert said.count("done already with the same options") == 4, "phase, pruning, phase, export"
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_a_second_phase_keeps_to_its_student(exp: Path, finished: str, run: Run) -> None:
    result = run("--stage", "4", "--exact", "true")
    assert result.returncode == 1
    assert f"{exp / 'phase2'} goes on from another pruned student" in result.stdout


def test_the_other_folder_is_wavlm(toy: Toy, prepared: str, run: Run) -> None:
    options = [f"--teacher={toy.root / 'wavlm'}", "--sparsity=0.2", "--phase1_args=--max_epoch 2"]
    options += ["--phase2_args=--max_epoch 2", "--stage=3", "--stop_stage=4"]
    assert "target: 20.00% of the params removed" in ran(run(*options, recipe="dpwavlm1"))
    exp = toy.root / "exp" / "dpwavlm_960h_sp0.2"
    assert load_model(exp / "dpwavlm_960h.pth").config.num_buckets == 320


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--student", "armhubert"), "armhubert_960h_phase1.yaml is missing; there are: ./dp"),
        (("--stage", "3", "--num_nodes", "12"), "use fewer GPUs, or raise --seconds_per_update"),
        (("--stage", "3", "--datadir", "nowhere"), "(the training set), which stage 2 makes"),
        (("--stage", "4", "--tag", "new"), "(the weights to prune), which stage 3 makes"),
        (("--stage", "3", "--sparsity", "0.999"), "target_sparsity 0.999 cannot be reached"),
        (("--stage", "8", "--stop_stage", "8"), "stage 8 needs --hf_repo"),
    ],
)
def test_wrong_options(prepared: str, run: Run, options: tuple[str, ...], message: str) -> None:
    result = run(*options)
    assert result.returncode != 0
    assert message in result.stdout
