"""Any configuration that validates can be built, run and saved."""

from __future__ import annotations

import json
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from tests.unit.encoder.tiny import all_close, build, waves

convolutions = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=4
)


@st.composite
def configs(draw: st.DrawFn) -> SpeechEncoderConfig:
    heads, head_dim = draw(st.integers(1, 3)), draw(st.integers(1, 3)) * 2
    width, buckets = heads * head_dim, draw(st.sampled_from([0, 8]))
    records: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 4))):
        kinds = ["full", "none"] if buckets or not index else ["full", "reused", "none"]
        kind = draw(st.sampled_from(kinds)) if index else "full"
        records.append(
            {
                "attention": kind,
                "num_heads": heads,
                "head_dim": head_dim,
                "ffn_dim": draw(st.integers(0, 5)),
                "time_reduction": 1 if kind == "reused" else draw(st.sampled_from([1, 1, 2, 3])),
                "time_reduction_kernel": draw(st.integers(1, 4)),
            }
        )
        if kind != "full" and records[-1]["time_reduction"] > 1:
            # A lower frame rate needs a new map before it can be reused.
            records[-1].update(attention="full")
    head_width = draw(st.sampled_from([0, width, 5]))
    return SpeechEncoderConfig.from_dict(
        {
            "conv_layers": [list(conv) for conv in draw(convolutions)],
            "extractor_norm": draw(st.sampled_from(["group_norm", "layer_norm"])),
            "conv_bias": draw(st.booleans()),
            "normalize_waveform": draw(st.booleans()),
            "feature_layer_norm": draw(st.booleans()),
            "embed_dim": width,
            "pos_conv_kernel": draw(st.integers(1, 6)),
            "pos_conv_groups": draw(st.sampled_from([1, width])),
            "frame_padding": draw(st.sampled_from(["conv", "chunked"])),
            "layers": records,
            "norm_first": draw(st.booleans()),
            "activation": draw(st.sampled_from(["gelu", "relu", "silu"])),
            "reuse_mode": draw(st.sampled_from(["fixed", "ref", "single"])),
            "layer_grad_scale": draw(st.booleans()),
            "num_buckets": buckets,
            "max_distance": 20,
            "head_dim": head_width,
            "hidden_states": draw(
                st.sampled_from(["layers", "transformers", *(["heads"] if head_width else [])])
            ),
        }
    )


@torch.no_grad()
@settings(max_examples=50)
@given(configs(), st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_random_configurations(
    config: SpeechEncoderConfig, more: int, fewer: int, maps: bool
) -> None:
    model = build(config)
    longest = config.receptive_field + more
    x_BS, lengths_B = waves(longest, max(config.receptive_field, longest - fewer))
    output = model(x_BS, lengths_B, return_attention_maps=maps)
    frames = model.frame_count(longest)
    for state in output.hidden_states:
        assert state.shape == (2, frames, model.output_dim)
        assert torch.isfinite(state).all()
    restored = SpeechEncoderConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    twin = SpeechEncoder(restored).eval()
    twin.load_state_dict(model.state_dict())
    all_close(twin(x_BS, lengths_B, return_attention_maps=maps).hidden_states, output.hidden_states)
