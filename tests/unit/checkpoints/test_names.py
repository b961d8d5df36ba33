"""Tables of weight names: both ways, and nothing silently lost."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.checkpoints import fairseq, huggingface, torchaudio
from espnet_kd.checkpoints.names import NameTable
from espnet_kd.encoder.architectures import list_architectures
from espnet_kd.errors import CheckpointError
from tests.unit.encoder.tiny import tiny

TABLE = NameTable([("a.{i}.{p}", "ours.{i}.{p}"), ("b", "ours.b"), ("old_b", "ours.b")], (r"c\.",))
ONE = torch.ones(1)


def test_both_ways() -> None:
    ours = TABLE.to_ours({"a.3.weight": ONE, "a.10.bias": ONE, "b": ONE, "c.x": ONE}, "file")
    assert sorted(ours) == ["ours.10.bias", "ours.3.weight", "ours.b"]
    assert sorted(TABLE.to_foreign(ours)) == ["a.10.bias", "a.3.weight", "b"]
    assert list(TABLE.to_ours({"old_b": ONE}, "file")) == ["ours.b"]


def test_every_unknown_name_is_listed() -> None:
    with pytest.raises(CheckpointError) as caught:
        TABLE.to_ours({"a.x.weight": ONE, "a.1.scale": ONE, "ab": ONE, "b": ONE}, "the file")
    text = str(caught.value)
    assert "the file" in text
    assert "3 weights with unknown names" in text
    for name in ("a.x.weight", "a.1.scale", "ab"):
        assert name in text


def test_two_names_for_one_weight_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"1 weights that repeat another(.|\n)*old_b"):
        TABLE.to_ours({"b": ONE, "old_b": ONE}, "file")


# STaR, identity heads and the like included: what we save, the published layout can name.
@pytest.mark.parametrize("norm", ["group_norm", "layer_norm"])
@pytest.mark.parametrize("name", list_architectures())
def test_every_weight_has_a_name_in_the_published_layout(name: str, norm: str) -> None:
    state = tiny(name, extractor_norm=norm).state_dict()
    table = fairseq.name_table(norm)
    there = table.to_foreign(state)
    assert len(there) == len(state)
    back = table.to_ours(there, "there")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize("table", [huggingface.TABLE, torchaudio.TABLE], ids=["hf", "torchaudio"])
@pytest.mark.parametrize("name", ["hubert_base", "wavlm_large", "wav2vec2_large"])
def test_teachers_have_names_in_the_other_layouts(name: str, table: NameTable) -> None:
    state = tiny(name).state_dict()
    assert table.to_ours(table.to_foreign(state), "there").keys() == state.keys()
