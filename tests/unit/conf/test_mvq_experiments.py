"""The experiment files of MVQ-KD: understood by the task, and what was published."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml

from espnet_kd.tasks.mvq import MVQTransducerTask
from espnet_kd.tasks.mvq_options import MVQConfig
from espnet_kd.tasks.yaml_check import parse

FILES = sorted((Path(__file__).resolve().parents[3] / "conf" / "mvq").glob("*.yaml"))
EPOCHS = {"100h": 20, "960h": 30}


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    """A new one each time: reading a file changes a parser's defaults."""
    return MVQTransducerTask.get_parser()


def test_no_file_is_overlooked() -> None:
    assert [path.stem for path in FILES] == ["conformer_100h", "conformer_960h"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_understood(path: Path, parser: argparse.ArgumentParser) -> None:
    args, problems = parse(parser, ["--config", str(path)])
    assert problems + MVQTransducerTask.problems(args) == []
    assert MVQConfig.from_dict(args.kd_conf) == MVQConfig(), "the defaults are the published values"
    assert args.max_epoch == EPOCHS[path.stem.rpartition("_")[2]]
    assert args.batch_bins * args.accum_grad == 16000 * 2400, "8 GPUs x 300 s"
    assert (args.optim, args.optim_conf["lr"], args.scheduler) == ("eve", 3e-3, "eden")
    assert args.scheduler_conf["warmup_batches"] == MVQConfig().model_warm_step
    assert args.encoder_conf["main_conf"]["blockdrop_rate"] == 0.075
    assert args.unused_parameters, "or several GPUs stop at the first dropped layer"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_model_is_the_published_one(path: Path) -> None:
    conf = yaml.safe_load(path.read_text())
    (body,) = conf["encoder_conf"]["body_conf"]
    sizes = ("num_blocks", "hidden_size", "heads", "linear_size", "conv_mod_kernel_size")
    assert [body[name] for name in sizes] == [12, 512, 8, 2048, 31]
    assert MVQConfig().distillation_layer < body["num_blocks"]
    assert conf["decoder_conf"]["embed_size"] == 512
    assert conf["joint_network_conf"]["joint_space_size"] == 512
    assert conf["model_conf"]["k2_pruned_loss_args"] == {
        "prune_range": 5,
        "lm_scale": 0.25,
        "am_scale": 0.0,
        "simple_loss_scaling": 0.5,
    }


def test_both_files_differ_by_their_length_alone() -> None:
    small, large = (yaml.safe_load(path.read_text()) for path in FILES)
    assert {name for name in small if small[name] != large[name]} == {"max_epoch"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_differences_from_the_defaults_are_stated(
    path: Path, parser: argparse.ArgumentParser
) -> None:
    stated = yaml.safe_load(path.read_text())
    assert [key for key in stated if stated[key] == parser.get_default(key)] == ["kd_conf"]
