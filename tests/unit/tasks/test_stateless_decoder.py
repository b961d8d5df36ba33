"""``kd_stateless``: prefixes decoded at once and one by one, by hand, under ESPnet's table."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from espnet2.tasks.asr_transducer import decoder_choices

from espnet_kd.errors import ConfigError
from espnet_kd.registry import register
from espnet_kd.tasks.stateless_decoder import KDStatelessDecoder


@pytest.fixture
def decoder() -> KDStatelessDecoder:
    torch.manual_seed(0)
    return KDStatelessDecoder(6, embed_size=4, context_size=2)


def test_two_labels_by_hand(decoder: KDStatelessDecoder) -> None:
    labels_BU = torch.tensor([[0, 3, 5]])
    earlier, later = decoder.conv.weight[:, 0].unbind(1)
    e = decoder.embed.weight
    expected = torch.stack([0 * later, later * e[3], earlier * e[3] + later * e[5]]).relu()
    torch.testing.assert_close(decoder(labels_BU)[0], expected)


@pytest.mark.parametrize("context_size", [1, 2, 3])
def test_search_sees_what_training_saw(context_size: int) -> None:
    decoder = KDStatelessDecoder(6, embed_size=4, context_size=context_size)
    sequence = [0, 2, 5, 1, 3]
    whole_UD = decoder(torch.tensor([sequence]))[0]
    prefixes = [sequence[: end + 1] for end in range(len(sequence))]
    beam_HD, state = decoder.batch_score([SimpleNamespace(yseq=prefix) for prefix in prefixes])
    torch.testing.assert_close(beam_HD, whole_UD)
    assert state is None
    one_1D, _ = decoder.score(prefixes[3])
    torch.testing.assert_close(one_1D[0], whole_UD[3])


def test_name_and_options() -> None:
    register()
    assert decoder_choices.get_class("kd_stateless") is KDStatelessDecoder
    with pytest.raises(ConfigError, match="context_size"):
        KDStatelessDecoder(6, context_size=0)
