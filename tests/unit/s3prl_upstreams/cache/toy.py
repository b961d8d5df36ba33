"""An upstream of a few numbers, and small students of ours with either kind of normalisation."""

from __future__ import annotations

import torch
from torch import nn

CONV = [[8, 10, 5], [8, 3, 2], [8, 3, 2], [8, 3, 2], [8, 3, 2], [8, 2, 2], [16, 2, 2]]


class Toy(nn.Module):
    """Two states, one frame for each 10 samples; counts the waves that it computed."""

    def __init__(self, scale: float = 1.0, single: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]) * scale)
        self.single = single
        self.__dict__["seen"] = []

    def get_downsample_rates(self, key):
        return 10

    def forward(self, wavs):
        self.seen.append([len(wav) for wav in wavs])
        x_BS = nn.utils.rnn.pad_sequence(list(wavs), batch_first=True)
        frames = x_BS.size(1) // 10
        x_BTD = x_BS[:, : frames * 10].reshape(len(wavs), frames, 10).mean(-1, keepdim=True)
        states = [x_BTD * self.weight + k for k in range(2)]
        if self.single:
            return {"hidden_states": states[0]}
        return {"hidden_states": states, "last_hidden_state": states[-1]}


def waves(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [0.1 * torch.randn(size, generator=generator) for size in sizes]


def make_student(norm, folder):
    """A random student of two layers behind our expert."""
    from espnet_kd.encoder import SpeechEncoder
    from espnet_kd.encoder.architectures import architecture
    from espnet_kd.encoder.config import LayerConfig
    from s3prl_upstreams.expert import UpstreamExpert

    kinds = ("full", "reused")
    layers = [LayerConfig(attention=k, num_heads=2, head_dim=8, ffn_dim=24) for k in kinds]
    config = architecture("armhubert").replace(
        layers=layers, conv_layers=CONV, embed_dim=16, pos_conv_kernel=8, pos_conv_groups=2,
        head_dim=12, extractor_norm=norm,
    )  # fmt: skip
    torch.manual_seed(0)
    SpeechEncoder.from_config(config).save_pretrained(folder)
    return UpstreamExpert(str(folder)).eval()
