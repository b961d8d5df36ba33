"""kd_conf of a Whisper distillation: defaults, and all problems at once."""

from __future__ import annotations

from typing import Any

import pytest

from espnet_kd.errors import ConfigError
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.tasks.whisper_student import StudentOptions
from espnet_kd.tasks.whisper_teacher import TeacherOptions


def test_defaults_are_the_published_ones() -> None:
    kd = WhisperDistillConfig.from_dict({})
    assert (kd.temperature, kd.kl_weight, kd.ce_weight) == (2.0, 1.0, None)
    assert (kd.timestamp_probability, kd.condition_on_prev_probability) == (0.2, 0.2)
    assert kd.max_duration_in_seconds == 30.0
    assert kd.longest_label(448) == 448
    assert kd.label_options(448).max_label_length == 448
    assert kd.freezing.freeze_encoder is False


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        WhisperDistillConfig.from_dict(
            {
                "temperatur": 1.0,
                "temperature": 0,
                "kl_weight": "high",
                "timestamp_probability": 2,
                "task": "summarise",
                "share_hidden_states": True,
                "drop_flagged": ["loops"],
                "max_duration_in_seconds": 1,
                "min_duration_in_seconds": 2,
            }
        )
    text = str(caught.value)
    for part in (
        "unknown key temperatur; did you mean temperature",
        "temperature is 0.0; it must be positive",
        "kl_weight is 'high'",
        "timestamp_probability is 2.0; it must lie between 0 and 1",
        "task is 'summarise'; choose transcribe or translate",
        "encoders only stay equal with freeze_encoder: true",
        "drop_flagged names loops",
        "max_duration_in_seconds is 1.0",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("conf", "part"),
    [
        ({"kl_weight": -1}, "kl_weight is -1.0"),
        ({"kl_weight": float("inf")}, "kl_weight is inf; it must be at least 0, and finite"),
        ({"temperature": float("inf")}, "temperature is inf; it must be positive and finite"),
        ({"kl_weight": 0, "ce_weight": 0}, "nothing is learnt"),
        ({"max_label_length": 3}, "max_label_length is 3; it must be at least 8"),
        ({"average_over": "epoch"}, "update or micro_batch"),
        ({"rate_policy": "guess"}, "error or resample"),
        ({"use_pseudo_labels": False, "wer_threshold": 10}, "wer_threshold is for pseudo-labels"),
        ({"train_dataset_samples": [1, 0]}, "positive weights"),
        ({"train_dataset_samples": []}, "positive weights"),
        ({"normaliser": "klingon"}, "normaliser is 'klingon'"),
        ({"max_bad_steps": 0}, "max_bad_steps is 0"),
        ({"save_best_total_limit": -1}, "save_best_total_limit is -1"),
        ({"save_total_limit": -1}, "save_total_limit is -1"),
    ],
)
def test_impossible_values(conf: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        WhisperDistillConfig.from_dict(conf)


def test_options_that_need_each_other_are_fine_together() -> None:
    conf = {"freeze_encoder": True, "share_hidden_states": True, "max_duration_in_seconds": 2,
            "min_duration_in_seconds": 1, "drop_flagged": []}  # fmt: skip
    kd = WhisperDistillConfig.from_dict(conf)
    assert kd.flags_to_drop == set()
    assert WhisperDistillConfig().flags_to_drop == {"truncated"}


def test_weights_of_folders_may_be_written_as_published() -> None:
    assert WhisperDistillConfig.from_dict(
        {"train_dataset_samples": "10+2.5"}
    ).train_dataset_samples == [10.0, 2.5]
    with pytest.raises(ConfigError) as caught:
        WhisperDistillConfig.from_dict({"train_dataset_samples": "10+", "temperature": 0})
    first, second = caught.value.problems
    assert first.startswith("train_dataset_samples: '10+' are no positive numbers")
    assert second.startswith("temperature")


def test_models_options() -> None:
    assert TeacherOptions.from_dict({"dtype": "bfloat16"}).dtype == "bfloat16"
    with pytest.raises(ConfigError, match="dtype is 'int8'"):
        TeacherOptions.from_dict({"dtype": "int8"})
    assert StudentOptions.from_dict({"dropout": 0.1}).changes() == {"dropout": 0.1}
    with pytest.raises(ConfigError, match="dropout is 2"):
        StudentOptions.from_dict({"dropout": 2.0})
    with pytest.raises(ConfigError, match="mask_time_length is 0; it must be at least 1"):
        StudentOptions.from_dict({"mask_time_length": 0})
    with pytest.raises(ConfigError, match="unknown key d_model"):
        StudentOptions.from_dict({"d_model": 7})
