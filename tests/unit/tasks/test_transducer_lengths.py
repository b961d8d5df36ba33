"""Padding of a batch does not count as speech."""

from __future__ import annotations

from typing import Any

import pytest
import torch

CONFIGS: dict[str, dict[str, Any]] = {
    "conv4": {"vgg_like": False, "subsampling_factor": 4, "conv_size": 4},
    "conv6": {"vgg_like": False, "subsampling_factor": 6, "conv_size": 4},
    "vgg4": {"vgg_like": True, "subsampling_factor": 4, "conv_size": [4, 4]},
    "vgg6": {"vgg_like": True, "subsampling_factor": 6, "conv_size": [4, 4]},
}
BODY = [
    {
        "block_type": "conformer", "hidden_size": 8, "linear_size": 8, "heads": 2,
        "conv_mod_kernel_size": 3,
    }
]  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_an_utterance_has_the_frames_that_it_has_alone(name: str) -> None:
    from espnet2.asr_transducer.encoder.encoder import Encoder

    from espnet_kd.tasks.transducer_lengths import count_exactly

    torch.manual_seed(0)
    encoder = Encoder(16, BODY, CONFIGS[name]).eval()
    lengths = [90, 61, 42, 30]
    x_BTF = torch.randn(4, 90, 16)
    alone = [encoder(x_BTF[i : i + 1, :n], torch.tensor([n])) for i, n in enumerate(lengths)]
    wanted = [int(counted) for _, counted in alone]
    _, stock_B = encoder(x_BTF, torch.tensor(lengths))
    assert stock_B.tolist() != wanted  # what is mended here
    count_exactly(encoder)
    _, exact_B = encoder(x_BTF, torch.tensor(lengths))
    assert exact_B.tolist() == wanted == [output.shape[1] for output, _ in alone]
