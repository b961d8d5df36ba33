"""A teacher's layer: the right one, raw, and the same whatever an utterance is batched with."""

from __future__ import annotations

import pytest
import torch
from tiny_models import tiny_teacher
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import ConfigError
from espnet_kd.quantizer import Quantizer, QuantizerConfig
from espnet_kd.tasks.s3prl_teacher import S3PRLTeacher
from espnet_kd.tasks.teacher import EncoderTeacher
from espnet_kd.tasks.teacher_layer import LayerOptions, TeacherLayer, teacher_layer

LENGTHS = (9000, 7013, 5300, 400, 16079)


def waves() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.1 + 0.2 * torch.randn(n, generator=generator) for n in LENGTHS]


def layer_of(encoder: SpeechEncoder, **options) -> TeacherLayer:
    return teacher_layer(EncoderTeacher("tiny", encoder), LayerOptions(**{"layer": 2, **options}))


def large(**changes) -> SpeechEncoder:
    """Pre-norm, LayerNorm in the front end, normalised waveforms."""
    conf = {"extractor_norm": "layer_norm", "norm_first": True, "normalize_waveform": True}
    return tiny_teacher(**{**conf, **changes}).eval()


BASE = {"extractor_norm": "group_norm"}
CHUNKED = {"frame_padding": "chunked"}


@pytest.mark.parametrize(
    "changes",
    [{}, CHUNKED, {**BASE, "norm_first": False, "normalize_waveform": False}, {**BASE, **CHUNKED}],
)
@pytest.mark.parametrize("frames", ["teacher", "published"])
def test_batches_change_nothing(changes, frames) -> None:
    layer = layer_of(large(**changes), frames=frames)
    quantizer = Quantizer(QuantizerConfig(16, 4, 16))
    together = layer.vectors(waves())
    for wave_S, x_TD in zip(waves(), together, strict=True):
        (alone_TD,) = layer.vectors([wave_S])
        assert torch.allclose(x_TD, alone_TD, atol=1e-5)
        assert torch.equal(quantizer.encode(x_TD), quantizer.encode(alone_TD))
        assert len(x_TD) == layer.rule.frames(len(wave_S))
        assert len(x_TD) == (len(wave_S) // 320 if frames == "published" else
                             (len(wave_S) - 400) // 320 + 1)  # fmt: skip


def test_vectors_are_the_raw_output_of_the_layer() -> None:
    encoder = large()
    expected = [encoder(wave_S[None]) for wave_S in waves()]
    for number in (1, 3):
        found = layer_of(large_like(encoder), layer=number).vectors(waves())
        for x_TD, output in zip(found, expected, strict=True):
            assert torch.allclose(x_TD, output.layer_outputs[number - 1][0], atol=1e-5)
    # The last hidden state has the encoder's final LayerNorm, the layer's output has not.
    assert not torch.allclose(found[0], expected[0].hidden_states[-1][0], atol=0.1)


def large_like(encoder: SpeechEncoder) -> SpeechEncoder:
    other = large()
    other.load_state_dict(encoder.state_dict())
    return other


def test_published_frames_end_with_zeros() -> None:
    encoder = large()
    (x_TD,) = layer_of(large_like(encoder), frames="published").vectors([waves()[0]])
    wave_S = F.layer_norm(waves()[0], (9000,))
    encoder.config = encoder.config.replace(normalize_waveform=False)
    output = encoder(F.pad(wave_S, (0, 28 * 320 + 80 - 9000))[None])
    assert len(x_TD) == 28
    assert torch.allclose(x_TD, output.layer_outputs[1][0], atol=1e-5)


def test_a_whole_batch_can_be_normalised_as_published() -> None:
    encoder = large(frame_padding="chunked")
    layer = layer_of(large_like(encoder), normalize="batch", frames="published")
    x_BS = torch.nn.utils.rnn.pad_sequence(waves()[:3], batch_first=True)
    encoder.config = encoder.config.replace(normalize_waveform=False, frame_padding="chunked")
    lengths_B = torch.tensor(LENGTHS[:3])
    expected = encoder(F.layer_norm(x_BS, x_BS.shape), lengths_B).layer_outputs[1]
    found = layer.vectors(waves()[:3])
    assert [len(x_TD) for x_TD in found] == [27, 21, 16]  # 28, but the longest has no zeros behind
    for x_TD, wanted_TD in zip(found, expected, strict=True):
        assert torch.allclose(x_TD, wanted_TD[: len(x_TD)], atol=1e-5)
    (alone_TD,) = layer.vectors(waves()[1:2])
    assert not torch.allclose(found[1][:21], alone_TD, atol=1e-2)
    assert layer.rule.tolerance == 1


def test_stamps_tell_weights_apart() -> None:
    torch.manual_seed(1)
    one, other = large(), large()
    stamps = {layer_of(one).stamp(), layer_of(other).stamp()}
    assert len(stamps) == 2
    assert layer_of(large_like(one)).stamp() in stamps
    assert layer_of(large_like(one), dtype="bfloat16").stamp() in stamps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 0}, "layer is 0; this teacher has layers 1 to 3"),
        ({"layer": 4}, "layer is 4"),
        ({"normalize": "batch"}, "hears waveforms as they are"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
    ],
)
def test_bad_options(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        layer_of(tiny_teacher(), **options)


class Foreign(torch.nn.Module):
    """An upstream as S3PRL has them; its GroupNorm would hear padding."""

    def __init__(self, encoder: SpeechEncoder) -> None:
        super().__init__()
        self.inside = encoder

    def forward(self, wavs: list[Tensor]) -> dict[str, list[Tensor]]:
        lengths_B = torch.tensor([len(wave) for wave in wavs])
        padded_BS = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        output = self.inside(padded_BS, lengths_B)
        return {"hidden_states": [output.layer_input, *output.layer_outputs]}


def test_an_upstream_of_s3prl() -> None:
    encoder = tiny_teacher().eval()
    layer = teacher_layer(S3PRLTeacher("foreign", Foreign(encoder)), LayerOptions(layer=3))
    found = layer.vectors(waves())
    for x_TD, wave_S in zip(found, waves(), strict=True):
        assert torch.allclose(x_TD, encoder(wave_S[None]).layer_outputs[2][0], atol=1e-5)
    assert (layer.rule.hop, layer.rule.window, layer.rule.tolerance) == (320, 400, 0)
    assert layer.width == 16
    for name, value in (("normalize", "batch"), ("frames", "published"), ("layer", 4)):
        options = LayerOptions(**{"layer": 1, name: value})
        with pytest.raises(ConfigError, match=f"{name} is"):
            teacher_layer(S3PRLTeacher("foreign", Foreign(encoder)), options)
