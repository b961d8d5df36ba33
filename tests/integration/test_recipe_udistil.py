"""egs/masc/udistil1: every stage on toy videos, two shapes and three filters."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.running import Result, joined, ran
from tests.integration.toy_whisper import Toy, make_toy, second_recogniser

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("recipes"),
]

RECIPE = Path(__file__).resolve().parents[2] / "egs" / "masc" / "udistil1"
Run = Callable[..., Result]
LAYERS, FILTERS = "2-1 1-2", "none wer proxy conf"
STUDENTS = {("2-1", "proxy"), ("2-1", "wer"), ("1-2", "none")}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, warm_python: Path) -> Toy:
    return make_toy(tmp_path_factory.mktemp("masc"), warm_python)


@pytest.fixture(scope="module")
def run(toy: Toy) -> Run:
    """``run(*options)`` of the recipe from a folder that is not its own; output joined."""

    def start(*options: str) -> Result:
        own = toy.options(
            train_source=f"table:{toy.root}/masc/clean_train.csv",
            valid_source=f"table:{toy.root}/masc/clean_dev.csv",
            tests=f"own=kaldi:{toy.root}/own",
            test_columns="",
            proxy_text=toy.root / "second.txt",
            limits="wer=1000000 proxy=1000000 conf@0.5",
        )
        return joined([RECIPE / "run.sh", *own, *options], toy.root)

    return start


def exp_of(toy: Toy) -> Path:
    return toy.root / "exp" / "udistil_100K"


@pytest.fixture(scope="module")
def labelled(toy: Toy, run: Run) -> str:
    """Output of stages 0 to 2; the second recogniser hears what the teacher wrote."""
    said = ran(run("--stop_stage", "2", "--filters", "none", "--judge", "false"))
    second_recogniser(exp_of(toy) / "labels" / "train" / "labels.jsonl", toy.root / "second.txt")
    return said


@pytest.fixture(scope="module")
def filtered(labelled: str, run: Run) -> str:
    """Output of stage 2 with all filters."""
    return ran(run("--stage", "2", "--stop_stage", "2", "--filters", FILTERS))


@pytest.fixture(scope="module")
def trained(filtered: str, run: Run) -> str:
    """Stages 3 to 7 of one student, then of two more of other shapes and filters."""
    said = ran(run("--stage", "3", "--layers", "2-1", "--filters", "proxy wer"))
    return said + ran(run("--stage", "3", "--layers", "1-2", "--filters", "none"))


def test_stretches_of_videos_are_utterances(toy: Toy, labelled: str) -> None:
    assert "train: 6 utterances" in labelled
    assert "valid: 2 utterances" in labelled
    assert "test/own: 2 utterances" in labelled
    labels = (exp_of(toy) / "labels/train/labels.jsonl").read_text().splitlines()
    assert len(labels) == 6, "nothing is joined"
    assert {json.loads(line)["language"] for line in labels} == {"ar"}


def test_every_filter_leaves_its_labels(toy: Toy, filtered: str) -> None:
    folder = exp_of(toy) / "filtered"
    kept = {name: len((folder / name / "kept/labels.jsonl").read_text().splitlines())
            for name in ("wer", "proxy", "conf")}  # fmt: skip
    assert kept["wer"] == 6
    assert kept["conf"] == 3, "the better half"
    decisions = [json.loads(x) for x in (folder / "proxy/decisions.jsonl").read_text().splitlines()]
    assert {decision["scores"]["proxy"] for decision in decisions} >= {0.0}
    assert not (folder / "none").exists()
    assert "| proxy |" in filtered
    assert "| conf |" in filtered


def test_every_other_measure_filters_too(toy: Toy, filtered: str, run: Run) -> None:
    measures = ["entropy", "nnll", "sonar", "mcd", "compression", "repetition"]
    measures += ["pesq"] if importlib.util.find_spec("pesq") else []
    models = f"--embedder {toy.root}/clap --tts_wav_scp {toy.root}/spoken.scp"
    checks = "--keep_truncated --keep_bad_timestamps --max_repeats 0 --max_compression 0"
    ran(run("--stage", "2", "--stop_stage", "2", "--filters", " ".join(measures), "--judge",
            "false", "--lm", str(toy.root / "lm"), "--filter_args", f"{models} {checks}",
            ))  # fmt: skip
    for name in measures:
        folder = exp_of(toy) / "filtered" / name
        assert f'"{name}"' in (folder / "summary.json").read_text()
        assert (folder / "kept" / "labels.jsonl").exists(), name


def test_students_of_all_shapes(toy: Toy, trained: str) -> None:
    exp = exp_of(toy)
    for layers, name in STUDENTS:
        config = json.loads((exp / f"students/udw_{layers}_100K_{name}/config.json").read_text())
        assert f"{config['encoder_layers']}-{config['decoder_layers']}" == layers
        metrics = (
            exp
            / f"decode/udw_{layers}_100K_{name}/udw_{layers}_100K_{name}_arabic_own_metrics.json"
        )
        found = json.loads(metrics.read_text())
        assert (found["normaliser"], found["num_long"]) == ("arabic", 1)
        with zipfile.ZipFile(exp / f"udw_{layers}_100K_{name}.zip") as archive:
            assert "generation_config.json" in archive.namelist()
    supervised = (exp / "train/udw_2-1_100K_wer/config.yaml").read_text()
    assert "wer_threshold: 1000000" in supervised
    assert "wer_threshold" not in (
        exp / "train/udw_2-1_100K_proxy/config.yaml"
    ).read_text().replace("wer_threshold: null", "")
    assert "udw_2-1_100K_proxy own WER " in trained
    assert "own CER" in (exp / "report" / "RESULTS.md").read_text()
    assert "--layers 1-2 --filters none" in (exp / "report" / "RESULTS.md").read_text()


def test_again_is_done_already(toy: Toy, trained: str, run: Run) -> None:
    said = ran(run("--layers", "2-1", "--filters", "proxy wer", "--judge", "false"))
    # teacher; proof, labels, 2 filters; start twice, 2 trainings; 2 exports; 3 evaluations
    assert said.count("done already with the same options") == 14
    assert said.count("with transcripts, kept") == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set_up", "5K"), "choose 100K, 500K, 1M or all"),
        (("--layers", "16"), "16 is not ENCODER-DECODER"),
        (("--judge", "maybe"), "choose auto, true or false"),
        (
            ("--stage", "2", "--filters", "nnll", "--judge", "false"),
            "the filter nnll needs --lm DIR",
        ),
        (("--set_up", "all", "--train_source="), "--set_up all needs a --train_source"),
        (("--stage", "3", "--filters", "agreement"), "(labels), which stage 2 makes"),
        (("--stage", "8", "--stop_stage", "8"), "stage 8 needs --hf_repo"),
    ],
)
def test_wrong_options(labelled: str, run: Run, options: tuple[str, ...], message: str) -> None:
    result = run(*options)
    assert result.returncode != 0
    assert message in result.stdout
