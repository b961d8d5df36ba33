"""egs/commonvoice/distil_whisper1: every stage on a toy release, a kill in the middle, again."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.running import Result, joined, killed_when, ran
from tests.integration.toy_whisper import Toy, make_toy

# A group of its own: its commands run in forks of one process that has the toolkits.
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("recipes"),
]

RECIPE = Path(__file__).resolve().parents[2] / "egs" / "commonvoice" / "distil_whisper1"
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, warm_python: Path) -> Toy:
    return make_toy(tmp_path_factory.mktemp("commonvoice"), warm_python)


def command(toy: Toy, *options: str) -> list[str]:
    own = toy.options(
        corpus=f"commonvoice:{toy.root}/cv-corpus",
        encoder_layers=2,
        ood_test=f"kaldi:{toy.root}/own",
        ood_columns="",
        long_seconds=1,
        wer_threshold="1000000",
        chunk_seconds=1,
        draft_utterances=1,
    )
    return [str(RECIPE / "run.sh"), *own, *options]


@pytest.fixture(scope="module")
def run(toy: Toy) -> Run:
    """``run(*options)`` of the recipe from a folder that is not its own; output joined."""

    def start(*options: str) -> Result:
        return joined(command(toy, *options), toy.root)

    return start


@pytest.fixture(scope="module")
def prepared(run: Run) -> str:
    """Output of stages 0 to 2."""
    return ran(run("--stop_stage", "2"))


@pytest.fixture(scope="module")
def killed(prepared: str, toy: Toy) -> int:
    """Stage 3, everything of it killed after an epoch; returns the epochs that were saved."""
    train = toy.root / "exp" / "distil_whisper_hi" / "train"
    words = command(toy, "--stage", "3", "--stop_stage", "3")
    killed_when(words, toy.root, (train / "1epoch.pth").exists)
    assert not (train / ".done").exists()
    return len(list(train.glob("*epoch.pth")))


@pytest.fixture(scope="module")
def finished(killed: int, run: Run) -> str:
    """Output of stages 3 to 7, started again."""
    return ran(run("--stage", "3"))


def exp_of(toy: Toy) -> Path:
    return toy.root / "exp" / "distil_whisper_hi"


def test_a_missing_input_names_its_stage(toy: Toy, run: Run) -> None:
    result = run("--stage", "3", "--tag", "none")
    assert result.returncode == 1
    assert (
        "filtered/train/kept/labels.jsonl (labels of train), which stage 2 makes" in result.stdout
    )
    assert "run ./run.sh --stage 2" in result.stdout


def test_data_are_16_khz_once(toy: Toy, prepared: str) -> None:
    assert "train: 5 utterances" in prepared
    assert "with transcripts, prepared" in prepared
    folder = toy.root / "data" / "hi"
    wavs = (folder / "train" / "wav.scp").read_text().split()
    assert all(Path(path).suffix == ".flac" for path in wavs[1::2])
    assert wavs[0].startswith("speaker")
    text = (folder / "train" / "text").read_text(encoding="utf-8")
    assert '"एक दो' in text, "quotation marks of the table are kept"
    assert "long: 2 recordings of at least 1 s" in prepared


def test_teacher_labels_and_filter(toy: Toy, prepared: str) -> None:
    assert "2-3 layers of width 32, it hears" in prepared
    assert "teacher: WER " in prepared
    exp = exp_of(toy)
    labels = [json.loads(x) for x in (exp / "labels/train/labels.jsonl").read_text().splitlines()]
    assert {label["language"] for label in labels} == {"hi"}
    assert sum(len(label["source_ids"]) for label in labels) == 5
    assert len(labels) < 5, "utterances are joined to the window, whoever speaks"
    summary = json.loads((exp / "filtered/train/summary.json").read_text())
    assert "wer" in json.dumps(summary)
    assert (exp / "filtered/train/kept/labels.jsonl").exists()


def test_training_resumes_after_a_kill(toy: Toy, killed: int, finished: str) -> None:
    assert killed >= 1
    log = (exp_of(toy) / "train.log").read_text()
    epochs = [int(line.split("epoch results")[0].split()[-1]) for line in log.splitlines()
              if "epoch results" in line]  # fmt: skip
    assert epochs == list(range(killed + 1, 3)), "an epoch that was saved is not trained again"
    assert "2 utterances per batch over 1 process(es), 2 batch(es) per update" in finished


def test_student_scores_and_package(toy: Toy, finished: str) -> None:
    exp = exp_of(toy)
    config = json.loads((exp / "student" / "config.json").read_text())
    assert (config["encoder_layers"], config["decoder_layers"]) == (2, 2)
    for kind, names in {
        "short": {"teacher_commonvoice_hi_test", "student_commonvoice_hi_test",
                  "teacher_commonvoice_hi_ood", "student_commonvoice_hi_ood"},
        "sequential": {"teacher_commonvoice_hi_long", "student_commonvoice_hi_long"},
        "chunked": {"teacher_commonvoice_hi_long", "student_commonvoice_hi_long"},
        "draft": {"teacher_commonvoice_hi_draft"},
    }.items():  # fmt: skip
        found = {
            p.name.removesuffix("_metrics.json")
            for p in (exp / "decode" / kind).glob("*_metrics.json")
        }
        assert found == names, kind
    draft = json.loads((exp / "decode/draft/teacher_commonvoice_hi_draft_metrics.json").read_text())
    assert draft["draft"]["identical"] == draft["draft"]["utterances"] == 1
    assert "distil_whisper_hi test WER " in finished
    assert "distil_whisper_hi draft identical texts 100.00 %" in finished
    results = (exp / "report" / "RESULTS.md").read_text()
    assert "long sequential WER" in results
    assert "run.sh --language hi" in results
    with zipfile.ZipFile(exp / "distil_whisper_hi.zip") as archive:
        names = set(archive.namelist())
        card = archive.read("README.md").decode()
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "README.md"}
    assert names >= {"tokenizer.json", "preprocessor_config.json", "RESULTS.md", "meta.json"}
    assert "language: hi" in card
    assert "A Whisper of 2-2 layers of width 32" in card
    assert str(toy.root) not in card


def test_everything_again_is_done_already(toy: Toy, finished: str, run: Run) -> None:
    exp = exp_of(toy)
    patterns = ("train/*.pth", "decode/*/*.jsonl", "labels/*/labels.jsonl", "student/*.safetensors")
    kept = [path for pattern in patterns for path in exp.glob(pattern)]
    kept.append(toy.root / "data" / "hi" / "train" / "wav.scp")
    before = {path: path.stat().st_mtime_ns for path in kept}
    said = ran(run())
    assert said.count("done already with the same options") == 11
    assert said.count("with transcripts, kept") == 6
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_splits_as_published(toy: Toy, prepared: str, run: Run) -> None:
    """Train and dev train, 7 : 4, and test validates."""
    splits = ("--train_splits", "train dev", "--train_samples", "7 4", "--valid_split", "test")
    said = ran(run("--tag", "both", "--stage", "2", "--stop_stage", "3", *splits))
    assert "2epoch results" in said
    log = (toy.root / "exp" / "distil_whisper_hi_both" / "train.log").read_text()
    assert "an epoch has 3 of 0_kept (which has 4), 2 of 1_kept (which has 1)" in log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stage", "9"), "this recipe has the stages 0 to 8"),
        (("--unknown", "1"), "unknown option --unknown; known are: --stage --stop_stage"),
        (
            ("--corpus", "librispeech:x", "--stage", "1"),
            "write commonvoice:DIR, kaldi:DIR or dataset",
        ),
        (("--config", "none.yaml"), "none.yaml: no such file"),
        (("--stage", "8", "--stop_stage", "8"), "stage 8 needs --hf_repo"),
    ],
)
def test_wrong_options(run: Run, options: tuple[str, ...], message: str) -> None:
    result = run(*options)
    assert result.returncode != 0
    assert message in result.stdout


def test_labels_of_another_teacher_are_put_aside(toy: Toy, finished: str, run: Run) -> None:
    """Machine options change nothing, others do."""
    said = ran(run("--stage", "2", "--stop_stage", "2", "--label_args",
                   "--max_label_length 11 --dataloader_num_workers 1"))  # fmt: skip
    assert "labels/train.old now" in said
    assert (exp_of(toy) / "labels" / "train.old" / "labels.jsonl").exists()
    assert (exp_of(toy) / "filtered" / "train" / "kept" / "labels.jsonl").exists()
