"""MACs of full-size models, on the meta device, against the published and measured tables."""

from __future__ import annotations

import pytest

from espnet_kd.encoder import LayerConfig, SpeechEncoderConfig
from espnet_kd.encoder.architectures import architecture
from espnet_kd.evaluation import macs as counting
from espnet_kd.evaluation.macs import (
    SUPERB_SAMPLES,
    count_macs,
    macs_summary,
    meta_encoder,
    superb_macs,
    totals,
)

# Giga-MACs at 1, 4, 10 and 16 s, measured on the reference implementations (heads included).
TABLE = {
    "armhubert": (2.014, 8.390, 22.309, 37.782),
    "armhubert_s": (1.807, 7.525, 20.011, 33.896),
    "maskhubert": (2.030, 8.541, 23.118, 39.768),
    "hubert_base": (6.911, 28.467, 74.067, 122.984),
}


@pytest.mark.parametrize("name", TABLE)
def test_published_architectures(name: str) -> None:
    config = architecture(name)
    counted = [macs_summary(config, seconds)["total"] / 1e9 for seconds in (1, 4, 10, 16)]
    assert counted == pytest.approx(TABLE[name], abs=6e-4)


def test_parts_of_armhubert() -> None:
    parts = count_macs(architecture("armhubert"), 160_000)
    rounded = {part: round(macs / 1e9, 2) for part, macs in parts.items()}
    layers = round(6 * (1.113 + 0.763), 2)
    assert rounded == pytest.approx(
        {"front end": 7.92, "positional conv": 0.92, "layers": layers, "heads": 12 * 0.184},
        abs=0.01,
    )


def test_superb_hubert_base_is_exact() -> None:
    macs = superb_macs(architecture("hubert_base"))
    assert macs["total"] == 1_665_522_780_160
    assert macs["with_extras"] == 1_669_156_022_848
    assert macs["groups_with_extras"] == [
        149_255_103_040, 261_280_279_552, 422_366_359_296, 836_254_280_960,
    ]  # fmt: skip
    rate = macs["per_second_with_extras"]
    assert round(rate["max"], 2) == 7_922_013_353.62
    assert round(rate["min"], 2) == 7_002_466_614.79
    assert macs["per_second"]["max"] < rate["max"]


def test_superb_list() -> None:
    assert len(SUPERB_SAMPLES) == 32
    assert sum(SUPERB_SAMPLES) / 16000 == pytest.approx(224.86)


def _tiny(**changes: object) -> SpeechEncoderConfig:
    layers = [LayerConfig(num_heads=2, head_dim=4, ffn_dim=16) for _ in range(2)]
    values = {
        "conv_layers": [[8, 10, 5], [8, 3, 2]],
        "embed_dim": 8,
        "pos_conv_kernel": 4,
        "pos_conv_groups": 2,
        "layers": layers,
        **changes,
    }
    return SpeechEncoderConfig(**values)  # type: ignore[arg-type]


def _by_hand(samples: int, full: int, reused: int) -> int:
    first = (samples - 10) // 5 + 1
    frames = (first - 3) // 2 + 1
    front = first * 10 * 8 + frames * 3 * 64 + frames * 64
    positions = (frames + 1) * 4 * 64 // 2
    ffn = (full + reused) * 2 * frames * 8 * 16
    attention = full * (4 * frames * 64 + 2 * 8 * frames**2)
    return front + positions + ffn + attention + reused * (2 * frames * 64 + 8 * frames**2)


@pytest.mark.parametrize("samples", [400, 1234])
def test_closed_form(samples: int) -> None:
    assert sum(count_macs(_tiny(), samples).values()) == _by_hand(samples, full=2, reused=0)
    config = _tiny()
    config.layers[1].attention = "reused"
    assert sum(count_macs(config, samples).values()) == _by_hand(samples, full=1, reused=1)


REUSED = [LayerConfig(num_heads=2, head_dim=4, ffn_dim=16) for _ in range(3)]
REUSED[1].attention = "reused"
CUT = [LayerConfig(num_heads=1, head_dim=3, ffn_dim=5), LayerConfig(attention="none", ffn_dim=7)]
SLOWER = [LayerConfig(num_heads=2, head_dim=4, ffn_dim=16, time_reduction=2) for _ in range(2)]


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, 4),
        ({"layers": REUSED, "head_dim": 5, "hidden_states": "heads"}, 4),
        ({"layers": CUT, "conv_layers": [[3, 10, 5], [5, 3, 2]]}, 4),
        ({"num_buckets": 8}, 4),
        ({"layers": SLOWER}, 6),
    ],
)
def test_many_lengths_from_few_passes(
    changes: dict[str, object], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [400, 1234, 977, 2000, 2007, 3999]
    config = _tiny(**changes)
    expected = [sum(count_macs(config, samples).values()) for samples in lengths]
    counted, count = [], counting._count
    monkeypatch.setattr(counting, "_count", lambda *a: counted.append(a) or count(*a))
    assert totals(meta_encoder(config), lengths) == expected
    assert len(counted) == passes


def test_what_is_no_parabola_is_counted_length_by_length(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [400, 1234, 977, 2000, 2007, 3999]
    expected = [sum(count_macs(_tiny(), samples).values()) for samples in lengths]
    monkeypatch.setattr(counting, "_convolutions", lambda encoder, samples: samples**3 % 997)
    assert totals(meta_encoder(_tiny()), lengths) == expected


@pytest.mark.parametrize("lengths", [[400], [400, 400, 407, 800], [400, 400, 600, 800, 1000, 1200]])
def test_few_lengths(lengths: list[int]) -> None:
    expected = [sum(count_macs(_tiny(), samples).values()) for samples in lengths]
    assert totals(meta_encoder(_tiny()), lengths) == expected


def test_position_bias_and_layer_norm_fronts_can_be_counted() -> None:
    plain = sum(count_macs(_tiny(), 1000).values())
    assert sum(count_macs(_tiny(num_buckets=8), 1000).values()) > plain
    assert sum(count_macs(_tiny(extractor_norm="layer_norm"), 1000).values()) == plain
