"""Bad data and misfits: one message that names the culprit and the remedy, before or instead of
harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from children import Outcome

pytestmark = pytest.mark.integration


def data(root: Path) -> list[object]:
    """Options that use another training list."""
    return [
        *("--train_data_path_and_name_and_type", f"{root / 'train' / 'wav.scp'},speech,sound"),
        *("--train_shape_file", root / "train" / "utt2num_samples"),
    ]


@pytest.fixture
def train_on(
    train: Callable[..., Outcome], command: Callable[..., list[str]], forked: Callable[..., Outcome]
) -> Callable[..., Outcome]:
    """A run whose training data is replaced."""

    def run(root: Path, output_dir: Path, *extra: object) -> Outcome:
        words = command(output_dir)
        position = words.index("--train_data_path_and_name_and_type")
        words[position : position + 4] = [str(word) for word in data(root)]

        def child() -> int:
            from espnet_kd.bin.ssl_distill_train import main

            return main([*words, *(str(word) for word in extra)])

        return forked(child)

    return run


def wave(size: int = 8000, channels: int = 1) -> np.ndarray:
    return np.random.RandomState(0).uniform(-0.1, 0.1, (size, channels)).astype("float32")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "0 bytes"),
    "text": (lambda path: path.write_text("not audio"), "not readable as audio"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:2000]), "truncated"),
    "short": (lambda path: soundfile.write(path, wave(399), 16000), "399 sample(s)"),
    "rate": (lambda path: soundfile.write(path, wave(), 8000), "sampled at 8000 Hz"),
    "stereo": (lambda path: soundfile.write(path, wave(channels=2), 16000), "2 channels"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_bad_recording_is_found_before_training(
    train_on, bad_corpus: Path, tmp_path: Path, kind: str
) -> None:
    damage, message = DAMAGE[kind]
    damage(bad_corpus / "train" / "u03.wav")
    outcome = train_on(bad_corpus, tmp_path / "exp")
    assert outcome.code == 1
    assert "utterance u03: " in outcome.output
    assert message in outcome.output
    assert "Traceback" not in outcome.output
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_nan_samples_are_named(train_on, bad_corpus: Path, tmp_path: Path, workers: int) -> None:
    """No header shows them: they are found when the utterance is read."""
    samples = wave()
    samples[100] = np.nan
    soundfile.write(bad_corpus / "train" / "u05.wav", samples, 16000, subtype="FLOAT")
    outcome = train_on(bad_corpus, tmp_path / "exp", "--num_workers", workers)
    assert outcome.code == 1
    assert "error: utterance u05: " in outcome.output
    assert "1 sample(s) are NaN or infinite, the first at 100" in outcome.output
    assert "Traceback" not in outcome.output


@pytest.mark.parametrize(
    ("check", "message"),
    [("true", "2 channels"), ("false", "u04 (")],
    ids=["header", "reading"],
)
def test_stereo_is_refused_at_both_doors(
    train_on, bad_corpus: Path, tmp_path: Path, check: str, message: str
) -> None:
    soundfile.write(bad_corpus / "train" / "u04.wav", wave(channels=2), 16000)
    outcome = train_on(bad_corpus, tmp_path / "exp", "--check_data", check)
    assert outcome.code == 1
    assert message in outcome.output
    assert "mix it down" in outcome.output


def test_all_problems_of_the_lists_at_once(train_on, bad_corpus: Path, tmp_path: Path) -> None:
    table = bad_corpus / "train" / "wav.scp"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:5], lines[0], *lines[6:]]) + "\n")
    outcome = train_on(bad_corpus, tmp_path / "exp")
    assert outcome.code == 1
    assert f"{table}:6: u00 is a duplicate of line 1" in outcome.output
    assert "1 utterance(s) of the shape file are not in it, e.g. u05" in outcome.output


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"head_dim": 24}, ["is 32 wide, the student has heads of width 24", "head_dim: 32"]),
        ({"head_dim": 0, "hidden_states": "layers"}, ["the student has no heads"]),
        (
            {"layers": {"num_layers": 3, "num_heads": 2, "head_dim": 12, "ffn_dim": 8}},
            ["the student has 3 layers, teacher", "has 2", "kd_conf.teacher_layers: ["],
        ),
        (
            {"conv_layers": [[16, 10, 5], *[[16, 3, 2]] * 4, [24, 2, 2]], "head_dim": 1},
            ["frames in the student", "conv_layers", "head_dim: 32"],
        ),
    ],
    ids=["width", "no heads", "layers", "hop and width"],
)
def test_teacher_that_does_not_fit(
    train, tmp_path: Path, changes: dict, messages: list[str]
) -> None:
    outcome = train(tmp_path / "exp", "--student_conf", changes)
    assert outcome.code == 1
    assert all(message in outcome.output for message in messages), outcome.output
    assert "Traceback" not in outcome.output
    assert not list((tmp_path / "exp").glob("*.pth"))


def test_fewer_student_layers_by_a_layer_map(train, tmp_path: Path) -> None:
    layers = {"num_layers": 1, "num_heads": 2, "head_dim": 12, "ffn_dim": 8}
    extra = ("--student_conf", {"layers": layers}, "--kd_conf", {"teacher_layers": [1]})
    outcome = train(tmp_path / "exp", *extra)
    assert outcome.code == 0, outcome.output


def test_no_teacher_and_missing_teacher(train, tmp_path: Path) -> None:
    none = train(tmp_path / "exp", "--teacher", "none")
    assert "masking_distill needs a teacher: give --teacher" in none.output
    gone = train(tmp_path / "exp", "--teacher", "/nowhere/teacher")
    assert "error: teacher /nowhere/teacher: no such file or folder" in gone.output
    assert none.code == gone.code == 1


def test_codes_of_another_frame_rate(train, corpus: Path, tmp_path: Path) -> None:
    codes = tmp_path / "codes"
    rows = (corpus / "train" / "codes").read_text().splitlines()
    codes.write_text("".join(f"{row} {row.partition(' ')[2]}\n" for row in rows))
    outcome = train(
        tmp_path / "exp",
        *(
            "--kd_conf",
            {"objectives": {"masked_prediction": {"num_classes": 5}}},
            "--teacher",
            "none",
        ),
        *("--train_data_path_and_name_and_type", f"{codes},codes,text_int"),
        *("--valid_data_path_and_name_and_type", f"{corpus}/valid/codes,codes,text_int"),
    )
    assert outcome.code == 1
    assert "codes for" in outcome.output
    assert "at the student's frame rate" in outcome.output


def test_teacher_with_nan_is_blamed_and_the_run_stops(train, teacher: Path, tmp_path: Path) -> None:
    from espnet_kd import load_model

    broken = load_model(teacher)
    with torch.no_grad():
        broken.layers[1].feed_forward.output.bias[0] = torch.nan
    broken.save_pretrained(tmp_path / "broken")
    folder = tmp_path / "exp"
    extra = ("--teacher", tmp_path / "broken", "--kd_conf", "max_bad_steps=2")
    outcome = train(folder, *extra)
    assert outcome.code == 1
    assert "the last 2 updates were skipped because of NaN or infinity" in outcome.output
    assert "the TEACHER's output is NaN or infinite for u" in outcome.output
    assert (folder / "stopped.pth").exists()


def test_one_bad_batch_is_skipped(train, tmp_path: Path) -> None:
    def one_nan() -> None:
        from espnet_kd.losses import MaskingDistillLoss

        count, before = 0, MaskingDistillLoss.forward

        def forward(self: MaskingDistillLoss, *args: object, **kwargs: object) -> dict:
            nonlocal count
            count += 1
            terms = before(self, *args, **kwargs)
            return {**terms, "loss": terms["loss"] * float("nan")} if count == 2 else terms

        MaskingDistillLoss.forward = forward

    folder = tmp_path / "exp"
    outcome = train(folder, before=one_nan)
    assert outcome.code == 0, outcome.output
    assert "batch skipped (1 so far): u" in outcome.output
    assert "the student's loss is nan" in outcome.output
    saved = torch.load(folder / "checkpoint.pth", weights_only=False)["model"]
    assert int(saved["num_updates"]) == 5
    assert all(bool(torch.isfinite(x).all()) for x in saved.values())


def test_several_gpus_in_one_process_are_refused(train, tmp_path: Path) -> None:
    def pretend() -> None:
        from espnet2.train.distributed_utils import DistributedOption

        from espnet_kd.tasks.trainer import KDTrainer

        run = KDTrainer.run.__func__

        def with_two_gpus(
            cls: type, *, distributed_option: DistributedOption, **kwargs: object
        ) -> None:
            distributed_option.ngpu = 2
            run(cls, distributed_option=distributed_option, **kwargs)

        KDTrainer.run = classmethod(with_two_gpus)

    outcome = train(tmp_path / "exp", before=pretend)
    assert outcome.code == 1
    assert "add --multiprocessing_distributed true" in outcome.output


def test_best_epochs_by_a_value_that_is_none(train, tmp_path: Path) -> None:
    outcome = train(tmp_path / "exp", "--best_model_criterion", "valid,acc,max")
    assert outcome.code == 1
    assert (
        "valid acc is no value of an epoch; valid has hint_loss, loss, rec_loss" in outcome.output
    )
    assert train(tmp_path / "exp").code == 0  # and nothing is lost
    assert (tmp_path / "exp" / "1epoch.pth").exists()
