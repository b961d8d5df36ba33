"""All mistakes of command line and configuration file at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from espnet_kd.errors import ConfigError
from espnet_kd.tasks.distill_task import read_numbers, trainer_problems
from espnet_kd.tasks.ssl_distill import SSLDistillTask
from espnet_kd.tasks.yaml_check import keyword_problems, parse, read_yaml


def parsed(*words: object) -> tuple:
    return parse(SSLDistillTask.get_parser(), [str(word) for word in words])


def problems_of(tmp_path: Path, conf: dict, *words: object) -> list[str]:
    path = tmp_path / "conf.yaml"
    path.write_text(yaml.safe_dump(conf))
    args, problems = parsed("--config", path, *words)
    return problems + SSLDistillTask.problems(args)


def test_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("max_epoch: 7\nkd_conf: {mask: {mask_prob: 0.4, mask_length: 5}}\n")
    args, problems = parsed("--config", path, "--kd_conf", "mask.mask_prob=0.6", "--seed", 3)
    assert not problems
    assert (args.max_epoch, args.seed, args.config) == (7, 3, str(path))
    assert args.kd_conf == {"mask": {"mask_prob": 0.6, "mask_length": 5}}
    assert args.resume is True  # our default


def test_every_level_is_checked(tmp_path: Path) -> None:
    conf = {
        "student": "armhubart",
        "max_epoch": "ten",
        "optim": "sgdd",
        "batchsize": 3,
        "grad_clip": {"a": 1},
        "kd_conf": {"objectives": {"masking_distil": {}}, "mask": {"mask_prob": 2}},
        "teacher_conf": {"frame_paddin": "chunked"},
        "scheduler_conf": {"warmup": 3},
    }
    found = "\n".join(problems_of(tmp_path, conf, "--outpt_dir", "x"))
    for part in (
        "unknown key armhubart; did you mean armhubert",
        "max_epoch is 'ten'",
        "optim is 'sgdd'; choose one of",
        "unknown key batchsize; did you mean batch_size",
        "grad_clip is a mapping",
        "kd_conf: unknown key objectives.masking_distil; did you mean masking_distill",
        "kd_conf: mask.mask_prob is 2",
        "teacher_conf: unknown key frame_paddin; did you mean frame_padding",
        "unknown key scheduler_conf.warmup",
        "unknown key outpt_dir; did you mean output_dir",
    ):
        assert part in found


@pytest.mark.parametrize("value", [[1], "x", 3])
def test_blocks_must_be_mappings(tmp_path: Path, value: object) -> None:
    assert any("kd_conf is" in problem for problem in problems_of(tmp_path, {"kd_conf": value}))


def test_null_and_lists_are_left_to_espnet(tmp_path: Path) -> None:
    conf = {
        "patience": None,
        "keep_nbest_models": [5],
        "best_model_criterion": [["valid", "loss", "min"]],
    }
    assert problems_of(tmp_path, conf) == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: a is given twice"),
        ("kd_conf:\n  mask: {}\n  mask: {}\n", "line 3: mask is given twice"),
        ("- 1\n", "must be a mapping"),
        ("a: [1\n", "expected"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_unusable_files(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=part) as caught:
        read_yaml(str(path))
    assert str(path) in str(caught.value)


def test_empty_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    assert read_yaml(str(tmp_path / "empty.yaml")) == {}
    with pytest.raises(ConfigError, match="No such file"):
        read_yaml(str(tmp_path / "missing.yaml"))


def test_nothing_is_written_when_the_configuration_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="command line: 1 problem"):
        SSLDistillTask.main(cmd=["--output_dir", str(tmp_path / "exp"), "--kd_conf", "x=1"])
    assert not (tmp_path / "exp").exists()


def test_keywords_of_open_classes_cannot_be_checked() -> None:
    class Open:
        def __init__(self, params: list, **anything: object) -> None: ...

    class Closed:
        def __init__(self, params: list, rate: float = 1.0) -> None: ...

    assert keyword_problems("optim_conf", Open, {"x": 1}, ("params",)) == []
    assert keyword_problems("optim_conf", Closed, {"rate": 1}, ("params",)) == []
    (problem,) = keyword_problems("optim_conf", Closed, {"rat": 1, "rate": 2}, ("params",))
    assert problem == "unknown key optim_conf.rat; did you mean rate? (known: rate)"


def test_numbers_as_yaml_and_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("optim_conf: {lr: 5e-3}\nscheduler_conf: {warmup_steps: many}\n")
    args, problems = parsed("--config", path)
    read_numbers(args)
    assert args.optim_conf == {"lr": 0.005}
    assert not problems + trainer_problems(args)
    assert SSLDistillTask.problems(args) == [
        "scheduler_conf.warmup_steps is 'many'; a number is needed"
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 0), ("accum_grad", 0), ("max_epoch", -1), ("num_iters_per_epoch", 0),
     ("seed", -1), ("num_workers", -1), ("grad_clip", 0), ("grad_clip", -1), ("grad_clip", "nan")],
)  # fmt: skip
def test_numbers_of_the_trainer(name: str, value: object) -> None:
    args, _ = parsed(f"--{name}", value)
    assert len(trainer_problems(args)) == 1
    assert f"{name} is {value}" in trainer_problems(args)[0]


def test_a_criterion_that_is_none() -> None:
    args, _ = parsed("--best_model_criterion", "valid,loss,mim", "test,loss,min")
    assert len(trainer_problems(args)) == 2
