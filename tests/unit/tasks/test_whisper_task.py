"""Command lines of WhisperDistillTask: all problems at once, and what the options mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from espnet_kd.errors import ConfigError, DataDirError, KDError
from espnet_kd.tasks.whisper_distill import WhisperDistillTask
from espnet_kd.tasks.whisper_folders import folders_of, names_of
from espnet_kd.tasks.whisper_model import WhisperDistillModel
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.tasks.yaml_check import parse
from tests.unit.tasks.whisper_corpus import labelled, tiny_student

GOOD = ("--student", "s", "--teacher", "t", "--train_dir", "a", "b", "--valid_dir", "c")


def problems(*words: str) -> tuple[argparse.Namespace, str]:
    """The options and all that is wrong with them, as one text."""
    args, found = parse(WhisperDistillTask.get_parser(), ["--output_dir", "x", *words])
    WhisperDistillTask.complete(args)
    return args, "\n".join(found + WhisperDistillTask.problems(args))


def test_a_good_command_line() -> None:
    args, found = problems(*GOOD)
    assert found == ""
    assert folders_of(args, "train") == [Path("a"), Path("b")]
    assert args.best_model_criterion == [["valid", "wer", "min"]]
    assert (args.grad_clip, args.scheduler, args.optim) == (1.0, "linear_with_warmup", "adamw")


def test_all_problems_at_once() -> None:
    _, found = problems(
        *("--kd_conf", "temperature=0", "--student_conf", "dropuot=0.1"),
        *("--teacher_conf", "dtype=int8", "--batch_type", "numel", "--multiple_iterator", "true"),
        *("--optim_conf", "learning_rate=1", "--valid_dir", "c", "--collect_stats", "true"),
    )
    for part in (
        "kd_conf: temperature is 0.0",
        "student_conf: unknown key dropuot; did you mean dropout",
        "teacher_conf: dtype is 'int8'",
        "no --train_dir is given",
        "no --student is given",
        "batch_type is numel",
        "multiple_iterator",
        "unknown key optim_conf.learning_rate",
        "needs no statistics",
    ):
        assert part in found


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--teacher", "none"), "set kd_conf.kl_weight: 0"),
        (("--teacher", "none", "--kd_conf", "mse_weight=1"), "mse_weight needs a --teacher"),
        (("--teacher", "none", "--kd_conf", "use_pseudo_labels=false"), ""),
        (("--teacher", "none", "--kd_conf", "kl_weight=0"), ""),
        (("--optim_conf", "lr=-1"), "optim_conf: Invalid learning rate: -1"),
        (("--kd_conf", "train_dataset_samples=[1,2,3]"), "3 weight(s) for 2 folder(s)"),
        (("--kd_conf", "train_dataset_samples=[1,2]"), ""),
        (("--best_model_criterion", "valid,wers,min"), "names valid wers, which no epoch has"),
        (("--best_model_criterion", "dev,wer,min"), "names dev wer, which no epoch has"),
        (("--best_model_criterion", "valid,wer_d,min", "--valid_dir", "c", "d"), ""),
        (("--early_stopping_criterion", "valid", "lossy", "min"), ""),
        (
            ("--patience", "1", "--early_stopping_criterion", "valid", "lossy", "min"),
            "early_stopping_criterion names valid lossy",
        ),
        (("--kd_conf", "predict_with_generate=false"), ""),
        (
            ("--train_data_path_and_name_and_type", "d/wav.scp,speech,sound"),
            "are both given; leave one out",
        ),
    ],
)
def test_options_that_depend_on_each_other(words: tuple[str, ...], part: str) -> None:
    args, found = problems(*GOOD, *words)
    assert part in found if part else not found
    if "predict_with_generate=false" in words:
        assert args.best_model_criterion == [["valid", "loss", "min"]]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--batch_size", "0"), "batch_size is 0; it must be at least 1"),
        (("--accum_grad", "0"), "accum_grad is 0"),
        (("--seed", "-1"), "seed is -1; it must be at least 0"),
        (("--ngpu", "99"), "ngpu is 99, but torch sees"),
    ],
)
def test_numbers_out_of_range(words: tuple[str, ...], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WhisperDistillTask.main(cmd=["--output_dir", "x", *GOOD, *words])
    assert part in str(caught.value)


def test_a_run_that_goes_on_with_another_teacher_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    args, _ = parse(WhisperDistillTask.get_parser(), [*GOOD, "--output_dir", str(tmp_path)])
    (tmp_path / "checkpoint.pth").touch()
    for teacher, told in ((args.teacher, False), ("another", True)):
        before = {"student": args.student, "teacher": teacher, "kd_conf": args.kd_conf}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(before))
        WhisperDistillTask._tell_changes(args)
        assert (f"teacher: another -> {args.teacher}" in caplog.text) == told


def test_a_criterion_that_is_never_computed() -> None:
    args, _ = parse(WhisperDistillTask.get_parser(), [*GOOD])
    args.kd_conf, args.best_model_criterion = {"predict_with_generate": False}, [
        ["valid", "wer", "min"], ["valid", "loss", "min"],
    ]  # fmt: skip
    assert any("names valid wer" in text for text in WhisperDistillTask.problems(args))


def test_espnets_streams_are_a_long_way_to_name_a_folder() -> None:
    def streams(*paths: str) -> tuple[str, ...]:
        return tuple(w for p in paths for w in ("--train_data_path_and_name_and_type", p))

    valid = ("--student", "s", "--teacher", "t", "--valid_dir", "c")
    args, found = problems(*valid, *streams("d/wav.scp,speech,sound", "d/text,text,text"))
    assert found == ""
    assert folders_of(args, "train") == [Path("d")]
    _, found = problems(*valid, *streams("d/feats.scp,speech,npy", "e/codes,codes,text_int"))
    for part in ("no FOLDER/wav.scp", "stream codes is not used", "files of one folder"):
        assert part in found


def test_names_of_folders_differ() -> None:
    assert names_of([Path("x/dev"), Path("x/test")]) == ["dev", "test"]
    assert names_of([Path("x/dev"), Path("y/dev")]) == ["0_dev", "1_dev"]


def test_models_and_recordings_are_looked_at_before_the_run(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "labels", 2)
    args, _ = problems(*GOOD)
    args.student, args.teacher = str(tmp_path), str(tmp_path / "no" / "teacher")
    with pytest.raises(KDError, match=r"teacher .*no/teacher: no such folder"):
        WhisperDistillTask.check_before_training(args)
    args.teacher, args.train_dir, args.valid_dir = None, [str(folder)], [str(tmp_path / "gone")]
    with pytest.raises(DataDirError, match=r"gone.wav\.scp: no such file"):
        WhisperDistillTask.check_before_training(args)
    (tmp_path / "labels_wav" / "u01.wav").write_bytes(b"noise")
    args.valid_dir = [str(folder)]
    with pytest.raises(DataDirError, match=r"u01.*not readable as audio"):
        WhisperDistillTask.check_before_training(args)
    args.check_data = False
    WhisperDistillTask.check_before_training(args)


@pytest.mark.parametrize("optim", ["adamw", "sgd"])
def test_optimiser_groups(optim: str) -> None:
    kd = WhisperDistillConfig(freeze_encoder=True)
    model = WhisperDistillModel(tiny_student(), kd, with_teacher=False)
    args = argparse.Namespace(
        optim=optim, optim_conf={"weight_decay": 0.01}, exclude_weight_decay=False
    )
    (optimizer,) = WhisperDistillTask.build_optimizers(args, model)
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    assert decays == [0.01, 0.0]
    assert optimizer.param_groups[0]["lr"] == 5e-5
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}
    assert not trained & {id(p) for p in model.student.model.encoder.parameters()}


def test_a_student_that_is_no_whisper(tmp_path: Path) -> None:
    args: Any = argparse.Namespace(student=str(tmp_path), student_conf={}, kd_conf={}, teacher=None)
    with pytest.raises(KDError, match=r"config\.json does not exist"):
        WhisperDistillTask.build_model(args)
    args.student_conf = {"nothing": 1}
    with pytest.raises(ConfigError, match="unknown key nothing"):
        WhisperDistillTask.build_model(args)


def test_changes_to_the_students_configuration(tmp_path: Path) -> None:
    from espnet_kd.whisper import save_whisper

    save_whisper(tiny_student(), tmp_path / "s")
    conf = {"dropout": 0.3, "decoder_layerdrop": 0.1}
    args: Any = argparse.Namespace(
        student=str(tmp_path / "s"), student_conf=conf, kd_conf={}, teacher=None,
        unused_parameters=False,
    )  # fmt: skip
    args.kd_conf = {"max_label_length": 448, "generation_max_length": 400}
    with pytest.raises(ConfigError, match=r"takes 48 tokens(.|\n)*generation: max_label_length"):
        WhisperDistillTask.build_model(args)
    args.kd_conf = {}
    model = WhisperDistillTask.build_model(args)
    assert model.student.model.decoder.layers[0].dropout == 0.3
    assert args.unused_parameters
    assert args.kd_task == "whisper_distill"
    assert WhisperDistillTask.student_of(args) is model.bundle
    assert WhisperDistillTask.build_model(args) is not model
    name = "model.decoder.layers.0.fc1.weight"
    assert torch.equal(model.student.state_dict()[name], tiny_student().model.state_dict()[name])
