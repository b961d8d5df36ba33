"""SUPERB's MACs by a closed form that knows nothing of the counter, and the published figures.

S samples, T frames, D width, F feed-forward units, H heads.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_kd.encoder import LayerConfig, SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.architectures import architecture
from espnet_kd.evaluation.macs import SUPERB_SAMPLES, attention_extras, count_macs, meta_encoder
from espnet_kd.evaluation.parameters import count_by_part
from espnet_kd.evaluation.superb import Scores
from espnet_kd.evaluation.superb.costs import with_costs
from espnet_kd.evaluation.superb.models import Model
from espnet_kd.evaluation.superb.published import published_models

ROWS = {model.name: model.macs for model in published_models()}


def front_end(config: SpeechEncoderConfig, samples: int) -> tuple[int, int]:
    """MACs of the convolutions, and the frames they leave."""
    length, channels, macs = samples, 1, 0
    for width, kernel, stride in config.conv_layers:
        length = (length - kernel) // stride + 1
        macs += length * kernel * channels * width
        channels = width
    return macs, length


def layer_macs(layer: LayerConfig, D: int, T: int, gated: bool) -> int:
    width = layer.num_heads * layer.head_dim
    projections, products = (2, 1) if layer.attention == "reused" else (4, 2)
    attention = projections * T * D * width + products * width * T**2
    gates = T * layer.num_heads * layer.head_dim * 8 if gated else 0
    return attention + gates + 2 * T * D * layer.ffn_dim


def closed_form(config: SpeechEncoderConfig, samples: int) -> int:
    """MACs of one utterance (published shapes only)."""
    macs, T = front_end(config, samples)
    D, last = config.embed_dim, config.conv_layers[-1][0]
    macs += T * last * D if config.feature_projection else 0
    macs += (T + 1) * config.pos_conv_kernel * D * D // config.pos_conv_groups
    macs += len(config.layers) * T * D * config.head_dim
    return macs + sum(layer_macs(lay, D, T, config.num_buckets > 0) for lay in config.layers)


def extras(config: SpeechEncoderConfig, samples: int) -> int:
    """What the leaderboard's tool adds for torch's own attention function."""
    _, T = front_end(config, samples)
    return sum(4 * T * config.embed_dim + 4 * lay.num_heads * T**2 for lay in config.layers)


def superb(config: SpeechEncoderConfig, with_extras: bool = False) -> float:
    """Sum over the leaderboard's utterances in 1e9."""
    counts = [closed_form(config, samples) for samples in SUPERB_SAMPLES]
    more = [extras(config, samples) for samples in SUPERB_SAMPLES] if with_extras else [0]
    return (sum(counts) + sum(more)) / 1e9


@pytest.mark.parametrize("name", ["hubert_base", "wavlm_base", "armhubert", "starhubert"])
def test_the_counter_agrees(name: str) -> None:
    config = architecture(name)
    assert sum(count_macs(config, 20560).values()) == closed_form(config, 20560)
    assert attention_extras(meta_encoder(config), 20560) == extras(config, 20560)


def test_costs_of_a_row_are_counted_from_its_model(tmp_path: Path) -> None:
    layers = [LayerConfig(num_heads=2, head_dim=4, ffn_dim=16)]
    convs = [[4, 10, 5], [4, 3, 2], [4, 3, 2], [8, 8, 8]]
    config = SpeechEncoderConfig(
        conv_layers=convs, embed_dim=8, pos_conv_kernel=4, pos_conv_groups=2, layers=layers
    )
    encoder = SpeechEncoder.from_config(config)
    encoder.save_pretrained(tmp_path / "model")
    model = with_costs(Model("tiny", Scores(), rtf=0.1), str(tmp_path / "model"))
    assert model.parameters == pytest.approx(sum(p.numel() for p in encoder.parameters()) / 1e6)
    assert model.macs == pytest.approx(superb(config), rel=1e-12)
    assert model.rtf == 0.1


def test_hubert_base_as_the_leaderboards_tool_prints_it() -> None:
    config = architecture("hubert_base")
    counts = [closed_form(config, s) + extras(config, s) for s in SUPERB_SAMPLES]
    assert sum(counts) == 1_669_156_022_848
    assert ROWS["HuBERT Base"] == round(sum(counts) / 1e9, 3)
    rates = [16000 * macs / s for macs, s in zip(counts, SUPERB_SAMPLES, strict=True)]
    assert (round(max(rates), 2), round(min(rates), 2)) == (7_922_013_353.62, 7_002_466_614.79)


def test_printed_for_students() -> None:
    """STaRHuBERT to the last printed digit; ARMHuBERT-S is printed 0.12 % lower."""
    assert round(superb(architecture("starhubert")), 1) == ROWS["STaRHuBERT"] == 463.5
    ours = superb(architecture("armhubert_s"))
    assert (round(ours, 1), ROWS["ARMHuBERT-S"]) == (449.9, 449.4)


@pytest.mark.parametrize(
    ("name", "row", "with_extras"),
    [
        ("armhubert", "ARMHuBERT", False),
        ("armwavlm_s", "ARMwavLM-S", False),
        ("maskhubert", "MaskHuBERT", False),
        ("wavlm_base", "WavLM Base", True),
        ("wavlm_base", "WavLM Base+", True),
        ("wavlm_large", "WavLM Large", True),
    ],
)
def test_counted_figures_of_the_published_table(name: str, row: str, with_extras: bool) -> None:
    assert round(superb(architecture(name), with_extras), 1) == ROWS[row]


def test_the_printed_macs_tell_the_shape_of_starhubert_l() -> None:
    """Both shapes have the printed 26.63 M parameters; only one has the printed 511.9 G."""
    starhubert = architecture("starhubert")
    layers = [LayerConfig(num_heads=12, head_dim=36, ffn_dim=1392) for _ in range(12)]
    deeper = starhubert.replace(layers=layers)
    parameters = sum(count_by_part(meta_encoder(deeper)).values())
    assert round(parameters / 1e6, 2) == 26.63
    assert round(superb(deeper), 1) == ROWS["STaRHuBERT-L"] == 511.9


def test_what_was_removed_decides_the_macs_of_a_pruned_model() -> None:
    """HuBERT Base cut to DPHuBERT's size elsewhere has two thirds of its printed 654.1 G."""
    channels = [220, 300, 310, 320, 320, 300, 300]
    heads = [2, 3, 4, 5, 5, 5, 5, 5, 4, 4, 3, 3]
    units = [420, 460, 460, 440, 420, 400, 400, 400, 400, 420, 440, 381]
    base = architecture("hubert_base")
    convs = [[n, k, s] for n, (_, k, s) in zip(channels, base.conv_layers, strict=True)]
    layers = [
        LayerConfig(num_heads=h, head_dim=64, ffn_dim=f) for h, f in zip(heads, units, strict=True)
    ]
    pruned = base.replace(conv_layers=convs, layers=layers)
    assert round(sum(count_by_part(meta_encoder(pruned)).values()) / 1e6, 1) == 23.7
    assert round(superb(pruned), 1) == 452.7
