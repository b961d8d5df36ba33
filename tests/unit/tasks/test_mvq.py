"""Codes as a second target: the layer that predicts them, the loss that is added, the options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from espnet_kd.encoder.layer import TransformerLayer
from espnet_kd.errors import ConfigError, KDError
from espnet_kd.tasks.codes import codes_of_frames
from espnet_kd.tasks.layer_tap import LayerTap, layers_of
from espnet_kd.tasks.mvq_options import MVQConfig


class Toy(nn.Module):
    """Three layers that add 1, 10 and 100; the output is what the last one gives."""

    def __init__(self, dropped: int | None = None, time_first: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Add(value) for value in (1.0, 10.0, 100.0))
        self.dropped, self.time_first = dropped, time_first

    def forward(self, x_BTC: torch.Tensor, lengths_B: torch.Tensor) -> Any:
        x = x_BTC.transpose(0, 1) if self.time_first else x_BTC
        for number, layer in enumerate(self.layers):
            if number != self.dropped:
                (x, _), _ = layer(x)
        return x.transpose(0, 1) if self.time_first else x, lengths_B, None


class Add(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> Any:
        return (x + self.value, "positions"), "mask"


@pytest.mark.parametrize(
    ("layer", "dropped", "heard"), [(0, None, 1), (1, None, 11), (-1, None, 111), (1, 1, 1)]
)
@pytest.mark.parametrize("time_first", [False, True])
def test_a_tap_hears_its_layer(
    layer: int, dropped: int | None, heard: float, time_first: bool
) -> None:
    encoder = Toy(dropped, time_first)
    tap = LayerTap(encoder, layer)
    for _ in range(2):  # nothing of the first pass is left in the second
        encoder(torch.zeros(2, 5, 3), torch.tensor([5, 4]))
        frames_BTC, lengths_B = tap.frames()
        assert frames_BTC.shape == (2, 5, 3)
        assert frames_BTC.unique().tolist() == [heard]
        assert lengths_B.tolist() == [5, 4]


def test_a_tap_takes_a_module_by_name_and_refuses_what_is_not_there() -> None:
    encoder = Toy()
    tap = LayerTap(encoder, 5, "layers.0")
    encoder(torch.zeros(1, 4, 2), torch.tensor([4]))
    assert tap.frames()[0].unique().tolist() == [1]
    with pytest.raises(ConfigError, match="distillation_layer is 3, counted from 0"):
        LayerTap(encoder, 3)
    with pytest.raises(ConfigError, match=r"has no layer\.0; it has layers, layers\.0"):
        LayerTap(encoder, 0, "layer.0")
    with pytest.raises(ConfigError, match="layers of Linear are not found"):
        LayerTap(nn.Linear(1, 1), 0)


def test_a_tap_finds_the_layers_of_encoders_of_ours() -> None:
    from tiny_models import tiny_student

    from espnet_kd.tasks.asr_encoder import KDStudentEncoder

    torch.manual_seed(0)
    encoder = KDStudentEncoder(1, config=tiny_student().to_dict()).eval()
    assert [type(layer) for layer in layers_of(encoder)] == [TransformerLayer] * 3
    taps = [LayerTap(encoder, layer) for layer in (0, 2)]
    speech_BS, lengths_B = torch.randn(2, 4000), torch.tensor([4000, 3000])
    encoder(speech_BS, lengths_B)
    outputs = encoder.encoder(speech_BS, lengths_B).layer_outputs
    for tap, layer in zip(taps, (0, 2), strict=True):
        frames_BTC, frame_lengths_B = tap.frames()
        assert torch.allclose(frames_BTC, outputs[layer][:, : frames_BTC.shape[1]], atol=1e-6)
        assert frame_lengths_B.max() == frames_BTC.shape[1]


def test_a_layer_of_another_frame_rate_is_refused() -> None:
    encoder = Toy()
    tap = LayerTap(encoder, 0)
    encoder(torch.zeros(1, 4, 2), torch.tensor([4]))
    tap.heard = torch.zeros(1, 3, 2)
    with pytest.raises(KDError, match="another frame rate"):
        tap.frames()


def test_codes_reach_the_frames_that_have_them() -> None:
    codes = torch.arange(2 * 7).reshape(2, 7, 1)
    codes[1, 5:] = -1
    found = codes_of_frames(
        codes, torch.tensor([7, 5]), torch.tensor([3, 2]), 3, 2.0,
        delay=0, tolerance=0, utterances=["a", "b"],
    )  # fmt: skip
    # One code is left over in both; b's third frame is padding, though it has half a pair.
    assert found.tolist() == [[[0, 1], [2, 3], [4, 5]], [[7, 8], [9, 10], [-1, -1]]]
    with pytest.raises(KDError, match="utterance b: 5 frames of codes for 3 student frames"):
        codes_of_frames(
            codes, torch.tensor([7, 5]), torch.tensor([3, 3]), 3, 2.0,
            delay=0, tolerance=0, utterances=["a", "b"],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"codebook_loss_scale": -1}, "codebook_loss_scale is -1"),
        ({"codebook_loss_scale": float("nan")}, "codebook_loss_scale is nan"),
        ({"codebook_loss_scale": float("inf")}, "codebook_loss_scale is inf"),
        ({"frame_ratio": 1.5}, "frame_ratio is 1.5"),
        ({"codebook_loss_reduction": "max"}, "choose sum or mean"),
        ({"distilation_layer": 3}, "did you mean distillation_layer"),
        ({"model_warm_step": 0, "num_codebooks": 0}, "model_warm_step is 0"),
    ],
)
def test_impossible_options(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MVQConfig.from_dict(values)


def asr_model(**kd: Any) -> Any:
    """A stock model with a head."""
    from espnet2.asr.ctc import CTC
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
    from espnet2.asr.espnet_model import ESPnetASRModel

    from espnet_kd.tasks.mvq_model import MVQASRModel

    torch.manual_seed(0)
    encoder = ConformerEncoder(
        input_size=8, output_size=8, attention_heads=2, linear_units=8, num_blocks=2,
        dropout_rate=0.0, positional_dropout_rate=0.0, attention_dropout_rate=0.0,
        cnn_module_kernel=3,
    )  # fmt: skip
    model = ESPnetASRModel(
        vocab_size=5, token_list=["<blank>", "a", "b", "c", "<sos/eos>"], frontend=None,
        specaug=None, normalize=None, preencoder=None, encoder=encoder, postencoder=None,
        decoder=None, ctc=CTC(5, 8), joint_network=None, ctc_weight=1.0,
    )  # fmt: skip
    conf = {"num_codebooks": 2, "codebook_size": 4, "distillation_layer": 0, **kd}
    return MVQASRModel.adopt_mvq(model, MVQConfig.from_dict(conf))


def batch() -> dict[str, Any]:
    torch.manual_seed(1)
    codes = torch.randint(0, 4, (2, 20, 2))
    codes[1, 16:] = -1
    return {
        "speech": torch.randn(2, 40, 8), "speech_lengths": torch.tensor([40, 32]),
        "text": torch.tensor([[1, 2], [3, -1]]), "text_lengths": torch.tensor([2, 1]),
        "codes": codes, "codes_lengths": torch.tensor([20, 16]), "utt_id": ["a", "b"],
    }  # fmt: skip


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_training_adds_the_scaled_loss_of_the_codes(reduction: str) -> None:
    model = asr_model(codebook_loss_scale=0.3, codebook_loss_reduction=reduction)
    values = batch()
    loss, stats, weight = model(**values)
    stock = model.stock.forward(model, **{**values, "text": batch()["text"]})[0]
    # By hand: both codes of two teacher frames, per student frame of layer 0.
    frames_BTC, lengths_B = model.tap.frames()
    entropy, count = torch.zeros(()), 0
    for b in range(2):
        for t in range(int(lengths_B[b])):
            target = values["codes"][b, 2 * t : 2 * t + 2].flatten()
            logits = F.linear(
                frames_BTC[b, t], model.codebook_loss.linear2b_weight.flatten(0, 1)
            ).view(4, 4)
            entropy = entropy + F.cross_entropy(logits, target, reduction="sum")
            count += 4
    wanted = entropy / 2 if reduction == "sum" else entropy / count
    assert float(weight) == 2
    assert torch.allclose(stats["loss_codebook"], wanted.detach(), rtol=1e-5)
    assert torch.allclose(loss, stock + 0.3 * wanted, rtol=1e-5)
    loss.sum().backward()
    assert model.encoder.encoders[0].feed_forward.w_1.weight.grad.abs().sum() > 0
    assert model.codebook_loss.linear2b_weight.grad.abs().sum() > 0


def test_validation_shows_the_codes_and_judges_without_them() -> None:
    model = asr_model().eval()
    values = batch()
    loss, stats, _ = model(**values)
    assert torch.allclose(stats["loss"], loss)
    without = {name: value for name, value in batch().items() if not name.startswith("codes")}
    plain, plain_stats, _ = model(**without)
    assert torch.allclose(loss, plain)
    assert "loss_codebook" in stats
    assert "loss_codebook" not in plain_stats
    with pytest.raises(KDError, match="stream `codes` is missing"):
        model.train()(**without)


def test_codes_out_of_range_name_the_utterance() -> None:
    values = batch()
    values["codes"][1, 3, 0] = 9
    with pytest.raises(KDError, match=r"^utterance\(s\) b \(.*\): code 9 is out of range"):
        asr_model()(**values)


def test_a_layer_of_another_width_is_named() -> None:
    model = asr_model(layer_width=6)
    with pytest.raises(ConfigError, match="layer_width: 8"):
        model(**batch())


def test_codes_of_bytes_become_signed() -> None:
    from espnet_kd.tasks.mvq import SignedCodes

    data = {"codes": np.full((3, 2), 255, dtype=np.uint8)}
    signed = SignedCodes(None)("u", data)["codes"]
    assert signed.dtype == np.int16
    assert (signed == 255).all()


@pytest.mark.parametrize(
    ("updates", "pruned"), [(0, 0.0), (100, 0.0), (101, 0.1), (200, 0.1), (201, 1.0)]
)
def test_icefall_warms_the_pruned_loss_up_by_updates(updates: int, pruned: float) -> None:
    from espnet_kd.losses import PrunedTransducerLoss
    from espnet_kd.tasks.mvq_model import MVQTransducerModel

    model = MVQTransducerModel.__new__(MVQTransducerModel)
    nn.Module.__init__(model)
    model.kd = MVQConfig(model_warm_step=100)
    model.pruned_loss = PrunedTransducerLoss(simple_loss_scale=0.5)
    model.register_buffer("num_updates", torch.tensor(updates))
    assert model._scales() == (0.5, pruned)
    assert model.eval()._scales() == (0.5, 1.0)
