"""Every experiment file of Whisper is understood by the real task, down to the last key."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import yaml

from espnet_kd.tasks.whisper_distill import DEFAULTS, WhisperDistillTask
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.tasks.yaml_check import parse

CONF = Path(__file__).resolve().parents[3] / "conf"
FILES = sorted(path for name in ("distil_whisper", "udistil_whisper")
               for path in (CONF / name).rglob("*.y*ml"))  # fmt: skip
PUBLISHED = {
    # updates (None: epochs of the data), utterances per update, peak rate, warm-up, epochs
    "distil_english": (80000, 256, 1e-4, 500, 16),
    "pseudo_labels_alone": (10000, 256, 1e-4, 50, 2),
    "distil_hindi": (5000, 32, 1e-4, 50, 5),
    "udistil_supervised": (None, 128, 1e-4, 50, 10),
    "udistil_label_free": (None, 128, 1e-4, 50, 10),
    "fine_tune": (4000, 16, 1e-5, 500, 4),
}
WITHOUT_TEACHER = ("pseudo_labels_alone", "fine_tune")


def parsed(path: Path) -> tuple[argparse.Namespace, list[str]]:
    words = ["--config", str(path), "--student", "s", "--train_dir", "a", "--valid_dir", "b"]
    if path.stem not in WITHOUT_TEACHER:
        words += ["--teacher", "t"]
    return parse(WhisperDistillTask.get_parser(), words)


def test_no_file_is_overlooked() -> None:
    assert {path.stem for path in FILES} == PUBLISHED.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_understood(path: Path) -> None:
    args, problems = parsed(path)
    assert problems + WhisperDistillTask.problems(args) == []
    updates, batch, rate, warmup, epochs = PUBLISHED[path.stem]
    assert args.batch_size * args.accum_grad == batch
    assert args.optim_conf == {"lr": rate}
    assert args.scheduler_conf == {"warmup_steps": warmup}
    assert args.max_epoch == epochs
    if updates is not None:
        assert args.max_epoch * args.num_iters_per_epoch // args.accum_grad == updates
    assert args.use_amp
    assert args.grad_clip == 1.0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_source_of_the_numbers_is_named(path: Path) -> None:
    """A paper, a file of a public repository or a page; or that a number is our own."""
    comment = path.read_text().partition("kd_conf:")[0]
    assert re.search(r"arXiv \d{4}\.\d{5}|github\.com/[\w-]+/[\w-]+|huggingface\.co/blog/", comment)
    assert re.search(r"numbers", comment)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_differences_from_the_defaults_are_stated(path: Path) -> None:
    stated = yaml.safe_load(path.read_text())
    parser = WhisperDistillTask.get_parser()
    assert not [key for key in stated if stated[key] == parser.get_default(key)]
    assert not list(stated.keys() & DEFAULTS.keys() - {"max_epoch", "scheduler"})
    default = WhisperDistillConfig()
    same = [key for key, value in stated["kd_conf"].items() if value == getattr(default, key)]
    assert same == []


def test_published_losses_and_labels() -> None:
    kd = {
        path.stem: WhisperDistillConfig.from_dict(yaml.safe_load(path.read_text())["kd_conf"])
        for path in FILES
    }
    for name in ("distil_english", "distil_hindi"):
        assert (kd[name].kl_weight, kd[name].temperature, kd[name].ce_weight) == (1.0, 2.0, None)
        assert kd[name].freeze_encoder
    assert kd["distil_english"].timestamp_probability == 0.5
    assert (kd["distil_english"].wer_threshold, kd["distil_hindi"].wer_threshold) == (10.0, 20.0)
    for name in ("udistil_supervised", "udistil_label_free"):
        assert not kd[name].freeze_encoder
        assert kd[name].longest_label(448) == 225
    assert not kd["pseudo_labels_alone"].needs_teacher()
    assert not kd["fine_tune"].use_pseudo_labels
    assert kd["fine_tune"].generation_max_length == 225


@pytest.mark.parametrize("level", ["", "kd_conf", "student_conf", "teacher_conf", "scheduler_conf"])
def test_an_unknown_key_at_any_level_is_found(level: str, tmp_path: Path) -> None:
    conf = yaml.safe_load(FILES[0].read_text())
    block = conf.setdefault(level, {}) if level else conf
    block["unknwon"] = 1
    path = tmp_path / "distil_english.yaml"
    path.write_text(yaml.safe_dump(conf))
    args, problems = parsed(path)
    assert len(problems + WhisperDistillTask.problems(args)) == 1
