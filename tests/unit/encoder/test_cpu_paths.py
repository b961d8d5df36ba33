"""The faster ways that CPUs take give what the plain ones give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.encoder import (
    LayerConfig,
    SpeechEncoder,
    SpeechEncoderConfig,
    blockwise,
    channels_last,
    parts,
)
from espnet_kd.encoder.strided_conv import strided_conv


def _model(**changes: object) -> SpeechEncoder:
    torch.manual_seed(0)
    layers = [
        LayerConfig(num_heads=2, head_dim=4, ffn_dim=16),
        LayerConfig(attention="reused", num_heads=2, head_dim=4, ffn_dim=16),
    ]
    values = {
        "conv_layers": [[8, 10, 5], [8, 1, 1], [8, 3, 2], [6, 2, 2]],
        "embed_dim": 8,
        "pos_conv_kernel": 4,
        "pos_conv_groups": 2,
        "layers": layers,
        **changes,
    }
    return SpeechEncoder.from_config(SpeechEncoderConfig(**values)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["group_norm", "layer_norm"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_front_end(monkeypatch: pytest.MonkeyPatch, norm: str, bias: bool, gradients: bool) -> None:
    model = _model(extractor_norm=norm, conv_bias=bias)
    for parameter in model.feature_extractor.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    # A constant part of the waveform and an offset are the hard cases for the folded norm.
    x_BS = torch.randn(3, 3000) + torch.tensor([[0.0], [5.0], [0.0]])
    x_BS[2, 1500:] = 0.0
    monkeypatch.setattr(channels_last, "BLOCK_FRAMES", 7)
    with torch.set_grad_enabled(gradients):
        fast = model.feature_extractor(x_BS)
        monkeypatch.setattr(channels_last, "suits", lambda *_: False)
        plain = model.feature_extractor(x_BS)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)
    if gradients:
        weights = torch.randn_like(plain)
        parameters = list(model.feature_extractor.parameters())
        ours = torch.autograd.grad((fast * weights).sum(), parameters)
        theirs = torch.autograd.grad((plain * weights).sum(), parameters)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (1, 2), (5, 1), (2, 3), (7, 3)])
def test_strided_conv_and_its_gradients(kernel: int, stride: int) -> None:
    x_BLC = torch.randn(2, 17, 3, dtype=torch.double, requires_grad=True)
    weight = torch.randn(4, 3, kernel, dtype=torch.double, requires_grad=True)
    expected = F.conv1d(x_BLC.transpose(1, 2), weight, stride=stride).transpose(1, 2)
    torch.testing.assert_close(strided_conv(x_BLC, weight, stride), expected)
    assert torch.autograd.gradcheck(lambda x, w: strided_conv(x, w, stride), (x_BLC, weight))


@pytest.mark.parametrize("mode", ["fixed", "single", "ref"])
@torch.no_grad()
def test_parts_of_a_batch(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    model = _model(reuse_mode=mode, head_dim=5, hidden_states="heads")
    x_BS, lengths_B = torch.randn(3, 2000), torch.tensor([2000, 1500, 900])
    frames = model.embed(x_BS, lengths_B)
    mask_BT = torch.rand(frames.x_BTD.shape[:2]) < 0.3
    whole = model.encode(frames, mask_BT, return_attention_maps=True)
    monkeypatch.setattr(parts, "PART_BYTES", 1)
    assert parts.part_size(model.config, frames, maps=True) == (3 if mode == "ref" else 1)
    split = model.encode(frames, mask_BT, return_attention_maps=True)
    assert split.padding_BT is frames.padding_BT
    assert whole.projections is not None
    assert split.projections is not None
    pairs = [(whole.hidden_states, split.hidden_states), (whole.projections, split.projections)]
    pairs.append((whole.layer_outputs, split.layer_outputs))
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)
    assert whole.attention_maps is not None
    assert split.attention_maps is not None
    assert split.attention_maps[1] is None
    torch.testing.assert_close(whole.attention_maps[0], split.attention_maps[0])


@pytest.mark.parametrize("numbers", [1, 2 * 90 * 90], ids=["a head", "two heads"])
@pytest.mark.parametrize("changes", [{}, {"num_buckets": 8, "max_distance": 16}], ids=["", "bias"])
@pytest.mark.parametrize("mode", ["fixed", "single", "ref"])
@torch.no_grad()
def test_maps_a_few_heads_at_a_time(
    monkeypatch: pytest.MonkeyPatch, mode: str, changes: dict[str, int], numbers: int
) -> None:
    kinds = ("full", "reused", "reused", "full", "full", "reused")
    layers = [LayerConfig(attention=kind, num_heads=4, head_dim=2, ffn_dim=16) for kind in kinds]
    model = _model(reuse_mode=mode, layers=layers, **changes)
    x_BS, lengths_B = torch.randn(3, 2000), torch.tensor([2000, 1500, 900])
    plain = model(x_BS, lengths_B, return_attention_maps=True)
    calls: list[bool] = []

    def attend(*args: Any) -> tuple[Tensor, Tensor]:
        calls.append(args[-1] is not None)
        return _attend(*args)

    _attend = blockwise.attend
    monkeypatch.setattr(blockwise, "attend", attend)
    monkeypatch.setattr(blockwise, "LEAST_NUMBERS", 1)
    monkeypatch.setattr(blockwise, "BLOCK_NUMBERS", numbers)
    for maps in (False, True):
        calls.clear()
        blocks = model(x_BS, lengths_B, return_attention_maps=maps)
        # Maps that the caller gets are not overwritten by later layers; others are.
        assert calls == ([False] * 3 if maps else [False, True])
        for ours, theirs in zip(blocks.layer_outputs, plain.layer_outputs, strict=True):
            torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(blocks.attention_maps, plain.attention_maps, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs)
