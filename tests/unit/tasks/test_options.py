"""kd_conf: defaults, and all problems at once."""

from __future__ import annotations

import pytest

from espnet_kd.errors import ConfigError
from espnet_kd.tasks.options import DistillConfig


def test_default_is_the_published_method() -> None:
    config = DistillConfig.from_dict({})
    assert list(config.objectives.chosen()) == ["masking_distill"]
    assert config.mask.mask_prob == 0.8
    assert config.objectives.masking_distill.random_layer_weight == 0.1


def test_choosing_an_objective_switches_the_default_off() -> None:
    config = DistillConfig.from_dict({"objectives": {"temporal_relation": {"weight": 2}}})
    assert list(config.objectives.chosen()) == ["temporal_relation"]
    assert config.objectives.temporal_relation.weight == 2.0


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        DistillConfig.from_dict(
            {
                "objectives": {"masking_distil": {}, "masked_prediction": {"num_clases": 3}},
                "mask": {"mask_prob": 3},
                "mask_prob_schedule": [1, 2, 3],
                "max_bad_steps": "many",
                "seed": 1,
            }
        )
    text = str(caught.value)
    for part in (
        "objectives.masking_distil; did you mean masking_distill",
        "objectives.masked_prediction.num_clases; did you mean num_classes",
        "mask.mask_prob is 3",
        "mask_prob_schedule",
        "max_bad_steps is 'many'",
        "unknown key seed",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("conf", "part"),
    [
        ({"objectives": {}}, "none is chosen"),
        ({"objectives": {"masking_distill": {"rec_loss_type": "l3"}}}, "choose mse or l1"),
        ({"objectives": {"masking_distill": {"padded_frames": "drop"}}}, "exclude or count"),
        (
            {"objectives": {"masking_distill": {"rec_loss_weight": -1}}},
            "rec_loss_weight is negative",
        ),
        ({"objectives": {"masking_distill": {"distil_random_layer": -1}}}, "0 for no hints"),
        ({"objectives": {"masking_distill": {"weight": 0}}}, "must be positive"),
        ({"objectives": {"masking_distill": {"weight": float("inf")}}}, "must be positive"),
        ({"objectives": {"temporal_relation": {"layer_weight": float("nan")}}}, "weight is nan"),
        (
            {"objectives": {"masking_distill": {"rec_loss_weight": 0, "random_layer_weight": 0}}},
            "must not both be 0",
        ),
        ({"objectives": {"masked_prediction": {"num_classes": 1}}}, "at least 2"),
        ({"crop": {"max_seconds": -1}}, "crop.max_seconds"),
        ({"max_bad_steps": 0}, "at least 1"),
        ({"batching": {"seconds_per_batch": 0}}, "batching.seconds_per_batch is 0.*be positive"),
        ({"batching": {"seconds_per_batch": 9}}, "must hold the longest utterance"),
        ({"batching": {"min_seconds": -1}}, "batching.min_seconds is -1.*0 or more"),
        ({"batching": {"min_seconds": float("nan")}}, "min_seconds is nan"),
        ({"batching": {"max_seconds": 1}}, "less than min_seconds"),
        ({"batching": {"max_seconds": float("inf")}}, "max_seconds is inf"),
        ({"batching": {"quirks": "faithful"}}, "choose repaired or published"),
        ({"batching": {}, "crop": {"to_shortest": True}}, "crop: batching crops already"),
        (
            {
                "batching": {"quirks": "published"},
                "objectives": {"masked_prediction": {}},
            },
            "batching.quirks: published crops start between frames",
        ),
    ],
)
def test_impossible_values(conf: dict, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        DistillConfig.from_dict(conf)


def test_published_batching_is_the_default_but_for_its_quirks() -> None:
    assert DistillConfig.from_dict({}).batching is None
    batching = DistillConfig.from_dict({"batching": {}}).batching
    assert not batching.published
    limits = batching.limits(16000)
    assert (limits.shortest, limits.longest, limits.per_batch) == (32000, 250000, 2560000)
    assert limits.crop_longer


def test_all_problems_of_batching_at_once() -> None:
    wrong = {"seconds_per_batch": 5, "min_seconds": -1, "quirks": "x", "max_secs": 3}
    with pytest.raises(ConfigError, match="did you mean max_seconds"):
        DistillConfig.from_dict({"batching": wrong})
    del wrong["max_secs"]
    with pytest.raises(ConfigError) as caught:
        DistillConfig.from_dict({"batching": wrong})
    assert len(caught.value.problems) == 3
