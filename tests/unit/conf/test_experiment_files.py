"""Every experiment file of ours is understood by the real task, down to the last key."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.architectures import architecture
from espnet_kd.losses.layer_distill import parse_layers
from espnet_kd.pruning import StructuredPruning
from espnet_kd.pruning.config import PruningConfig
from espnet_kd.tasks.options import DistillConfig
from espnet_kd.tasks.ssl_distill import DEFAULTS, SSLDistillTask
from espnet_kd.tasks.students import student_config
from espnet_kd.tasks.yaml_check import parse

CONF = Path(__file__).resolve().parents[3] / "conf"
OTHERS = {"superb", "distil_whisper", "udistil_whisper", "mvq"}
"""Folders that other programs read; test_{whisper,mvq}_experiments.py have two programs' files."""

FILES = sorted(
    path for path in CONF.rglob("*.y*ml") if path.relative_to(CONF).parts[0] not in OTHERS
)
PRUNED = [path for path in FILES if path.parent.name == "dphubert"]
"""Two phases each; the student is a folder that the command line names."""
DISTILLED = [path for path in FILES if path not in PRUNED]
PUBLISHED_UPDATE = {"960h": 144, "100h": 36}
"""Utterances per update of the published runs."""
PUBLISHED_PHASES = {
    "phase1": {"lr": 2e-4, "warmup_steps": 15000, "updates": 50000},
    "phase2": {"lr": 1e-4, "warmup_steps": 5000, "updates": 25000},
}


def test_no_file_is_overlooked() -> None:
    assert (len(DISTILLED), len(PRUNED)) == (9, 9)
    assert {path.relative_to(CONF).parts[0] for path in FILES} == {
        *("armhubert", "armwavlm", "dphubert", "maskhubert", "starhubert"),
    }


@pytest.mark.parametrize("path", DISTILLED, ids=lambda path: path.stem)
def test_file_is_understood(path: Path) -> None:
    args, problems = parse(SSLDistillTask.get_parser(), ["--config", str(path)])
    assert problems + SSLDistillTask.problems(args) == []
    hours = path.stem.rpartition("_")[2]
    assert args.batch_size * args.accum_grad == PUBLISHED_UPDATE[hours]
    kd = DistillConfig.from_dict(args.kd_conf)
    assert kd.mask.mask_prob == (0.4 if "mask" in args.kd_conf else 0.8)
    assert path.stem.startswith(args.student)
    assert architecture(args.student).num_layers == 12


def teacher_of(path: Path) -> str:
    family = "wavlm" if path.stem.startswith("dpwavlm") else "hubert"
    return f"{family}_{'large' if 'large' in path.stem else 'base'}"


@pytest.mark.parametrize("path", PRUNED, ids=lambda path: path.stem)
def test_pruning_file_is_understood(path: Path) -> None:
    words = ["--config", str(path), "--student", teacher_of(path)]
    args, problems = parse(SSLDistillTask.get_parser(), words)
    assert problems + SSLDistillTask.problems(args) == []
    published = PUBLISHED_PHASES[path.stem.rpartition("_")[2]]
    assert args.optim_conf == {"lr": published["lr"], "weight_decay": 0.0}
    assert args.scheduler_conf == {"warmup_steps": published["warmup_steps"]}
    updates = args.max_epoch * args.num_iters_per_epoch // args.accum_grad
    assert updates == published["updates"]
    assert args.grad_clip == 10.0
    kd, config = DistillConfig.from_dict(args.kd_conf), student_config(teacher_of(path), {})
    assert kd.batching is not None
    assert kd.batching.seconds_per_batch * args.accum_grad * 4 == 640
    objective = kd.objectives.layer_distill
    assert objective is not None
    depths = parse_layers(objective.distill_layers)
    assert [3 * depth / config.num_layers for depth in [*depths[0], *depths[1]]] == [0, 1, 2, 3]


@pytest.mark.parametrize("path", PRUNED, ids=lambda path: path.stem)
def test_first_phases_reach_their_target(path: Path) -> None:
    """Without weights, which would take seconds: sizes are formulas."""
    args, _ = parse(SSLDistillTask.get_parser(), ["--config", str(path)])
    kd = DistillConfig.from_dict(args.kd_conf)
    if path.stem.endswith("phase2"):
        assert kd.pruning is None
        return
    assert kd.pruning == PruningConfig(target="macs" if "macs" in path.stem else "params")
    config = student_config(teacher_of(path), args.student_conf)
    assert (config.layerdrop, config.feature_grad_mult) == (0.0, 1.0)
    with torch.device("meta"):
        pruning = StructuredPruning(SpeechEncoder.from_config(config), kd.pruning)
    assert pruning.original > 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_differences_from_the_defaults_are_stated(path: Path) -> None:
    """What makes the run (student, length, learning rate) may be stated although it is a
    default."""
    stated = yaml.safe_load(path.read_text())
    named = {"student", "max_epoch", "optim_conf"}
    parser = SSLDistillTask.get_parser()
    assert not [key for key in stated.keys() - named if stated[key] == parser.get_default(key)]
    changed = {"optim", "grad_clip", "keep_nbest_models"} if path in PRUNED else set()
    assert not list(stated.keys() & DEFAULTS.keys() - named - changed)


@pytest.mark.parametrize("level", ["", "kd_conf", "student_conf", "teacher_conf", "optim_conf"])
def test_an_unknown_key_at_any_level_is_found(level: str, tmp_path: Path) -> None:
    conf = yaml.safe_load(FILES[0].read_text())
    block = conf.setdefault(level, {}) if level else conf
    block["unknwon"] = 1
    path = tmp_path / "conf.yaml"
    path.write_text(yaml.safe_dump(conf))
    args, problems = parse(SSLDistillTask.get_parser(), ["--config", str(path)])
    assert len(problems + SSLDistillTask.problems(args)) == 1
