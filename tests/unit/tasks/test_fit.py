"""Every misfit of teacher and student is found before the run."""

from __future__ import annotations

import pytest
from tiny_models import tiny_student

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import ConfigError
from espnet_kd.tasks.fit import fit_teacher
from espnet_kd.tasks.objectives import build_objectives
from espnet_kd.tasks.options import DistillConfig
from espnet_kd.tasks.teacher import EncoderTeacher

STAR = {"temporal_relation": {}}


def fit(teacher: EncoderTeacher | None, conf: dict, **changes: object) -> None:
    kd = DistillConfig.from_dict(conf)
    student = SpeechEncoder.from_config(tiny_student(**changes))
    fit_teacher(student, teacher, kd, build_objectives(kd.objectives, student.config, 0).values())


def test_matching_models_use_all_layers(teacher: EncoderTeacher) -> None:
    fit(teacher, {})
    assert teacher.layers == [0, 1, 2]


def test_layer_map(teacher: EncoderTeacher) -> None:
    layers = {"num_layers": 2, "num_heads": 2, "head_dim": 6, "ffn_dim": 8}
    fit(teacher, {"teacher_layers": [0, 2]}, layers=layers)
    assert teacher.layers == [0, 2]
    with pytest.raises(ConfigError, match=r"teacher_layers: \[1, 2\]"):
        fit(teacher, {}, layers=layers)
    with pytest.raises(ConfigError, match="lists 3 layers, the student has 2"):
        fit(teacher, {"teacher_layers": [0, 1, 2]}, layers=layers)
    with pytest.raises(ConfigError, match="has layers 0 to 2"):
        fit(teacher, {"teacher_layers": [0, 3]}, layers=layers)


@pytest.mark.parametrize(
    "conv_layers",
    [
        [[8, 10, 5], *[[8, 3, 2]] * 4, [12, 2, 2]],  # half the stride
        [[8, 10, 5], *[[8, 3, 2]] * 4, [12, 2, 2], [12, 4, 2]],  # same stride, more context
    ],
    ids=["stride", "kernel"],
)
def test_other_frames(teacher: EncoderTeacher, conv_layers: list) -> None:
    with pytest.raises(ConfigError, match="choose a student whose conv_layers"):
        fit(teacher, {"objectives": STAR}, conv_layers=conv_layers)


def test_relations_need_neither_heads_nor_equal_widths(teacher: EncoderTeacher) -> None:
    fit(teacher, {"objectives": STAR}, head_dim=0, hidden_states="layers", mask_embedding=False)


@pytest.mark.parametrize("name", ["masking_distill", "temporal_relation"])
def test_objectives_with_a_teacher_say_so(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} needs a teacher"):
        fit(None, {"objectives": {name: {}}})


def test_prediction_needs_none() -> None:
    fit(None, {"objectives": {"masked_prediction": {}}})
    with pytest.raises(ConfigError, match="no mask embedding"):
        fit(None, {"objectives": {"masked_prediction": {}}}, mask_embedding=False)
