"""Every experiment file of ours is understood by the real task, down to the last key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from espnet_kd.encoder.architectures import architecture
from espnet_kd.tasks.options import DistillConfig
from espnet_kd.tasks.ssl_distill import DEFAULTS, SSLDistillTask
from espnet_kd.tasks.yaml_check import parse

CONF = Path(__file__).resolve().parents[3] / "conf"
OTHERS = {"superb"}
"""Folders that other programs read."""

FILES = sorted(
    path for path in CONF.rglob("*.y*ml") if path.relative_to(CONF).parts[0] not in OTHERS
)
PUBLISHED_UPDATE = {"960h": 144, "100h": 36}
"""Utterances per update of the published runs."""


def test_no_file_is_overlooked() -> None:
    assert len(FILES) == 9
    assert {path.relative_to(CONF).parts[0] for path in FILES} == {
        *("armhubert", "armwavlm", "maskhubert", "starhubert"),
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_understood(path: Path) -> None:
    args, problems = parse(SSLDistillTask.get_parser(), ["--config", str(path)])
    assert problems + SSLDistillTask.problems(args) == []
    hours = path.stem.rpartition("_")[2]
    assert args.batch_size * args.accum_grad == PUBLISHED_UPDATE[hours]
    kd = DistillConfig.from_dict(args.kd_conf)
    assert kd.mask.mask_prob == (0.4 if "mask" in args.kd_conf else 0.8)
    assert path.stem.startswith(args.student)
    assert architecture(args.student).num_layers == 12


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_differences_from_the_defaults_are_stated(path: Path) -> None:
    """What makes the run (student, length, learning rate) may be stated although it is a
    default."""
    stated = yaml.safe_load(path.read_text())
    named = {"student", "max_epoch", "optim_conf"}
    defaults = {key: SSLDistillTask.get_parser().get_default(key) for key in stated}
    assert not [key for key in stated.keys() - named if stated[key] == defaults[key]]
    assert not list(stated.keys() & DEFAULTS.keys() - named)


@pytest.mark.parametrize("level", ["", "kd_conf", "student_conf", "teacher_conf", "optim_conf"])
def test_an_unknown_key_at_any_level_is_found(level: str, tmp_path: Path) -> None:
    conf = yaml.safe_load(FILES[0].read_text())
    block = conf.setdefault(level, {}) if level else conf
    block["unknwon"] = 1
    path = tmp_path / "conf.yaml"
    path.write_text(yaml.safe_dump(conf))
    args, problems = parse(SSLDistillTask.get_parser(), ["--config", str(path)])
    assert len(problems + SSLDistillTask.problems(args)) == 1
