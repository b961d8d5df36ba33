"""The frozen teacher: one front end and one batch for two views, no layer too many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import KDError
from espnet_kd.tasks.teacher import EncoderTeacher, Wish, load_teacher

BOTH = Wish(whole=True, masked=True)


def masks(observation) -> Tensor:
    mask_BT = torch.zeros(3, observation.num_frames, dtype=torch.bool)
    mask_BT[:, 3:9] = True
    return mask_BT


def test_views_equal_separate_passes(teacher: EncoderTeacher, speech) -> None:
    observation = teacher.observe(*speech)
    mask_BT = masks(observation)
    whole, masked = observation.views(Wish(whole=True, masked=True, attention=True), mask_BT)
    for view, mask in ((whole, None), (masked, mask_BT)):
        expected = teacher.encoder(*speech, mask, return_attention_maps=True)
        assert torch.allclose(view.layer_input, expected.layer_input, atol=1e-5)
        for ours, theirs in zip(view.layers, expected.layer_outputs, strict=True):
            valid_BT = ~expected.padding_BT
            assert torch.allclose(ours[valid_BT], theirs[valid_BT], atol=1e-5)
        assert torch.allclose(view.attention_maps[0], expected.attention_maps[0], atol=1e-5)


@pytest.mark.parametrize("wish", [Wish(whole=True), Wish(masked=True), Wish()])
def test_only_what_is_wished_for(teacher: EncoderTeacher, speech, wish: Wish) -> None:
    observation = teacher.observe(*speech)
    whole, masked = observation.views(wish, masks(observation))
    assert (whole is not None, masked is not None) == (wish.whole, wish.masked)


def test_work_is_shared_and_stops_at_the_last_used_layer(
    teacher: EncoderTeacher, speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    modules = {"front end": teacher.encoder.feature_extractor}
    modules |= {f"layer {i}": layer for i, layer in enumerate(teacher.encoder.layers)}
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    teacher.layers = [1]
    observation = teacher.observe(*speech)
    whole, masked = observation.views(BOTH, masks(observation))
    assert calls == ["front end", "layer 0", "layer 1"]
    assert len(whole.layers) == len(masked.layers) == 1


def test_frozen_and_deterministic(teacher: EncoderTeacher, speech) -> None:
    assert not isinstance(teacher, torch.nn.Module)
    first, second = (teacher.observe(*speech).views(Wish(whole=True), None)[0] for _ in range(2))
    assert torch.equal(first.layers[-1], second.layers[-1])
    assert not first.layers[-1].requires_grad
    assert not any(p.requires_grad for p in teacher.encoder.parameters())


def test_mask_embedding_is_copied_if_it_fits(teacher: EncoderTeacher) -> None:
    source = torch.full((16,), 0.25)
    teacher.copy_mask_embedding(source)
    assert torch.equal(teacher.encoder.mask_embedding, source)
    with pytest.raises(KDError, match="equal widths are needed"):
        teacher.copy_mask_embedding(torch.zeros(12))


def test_load_with_changes(teacher: EncoderTeacher, tmp_path) -> None:
    teacher.encoder.save_pretrained(tmp_path)
    loaded = load_teacher(str(tmp_path), {"frame_padding": "chunked"})
    assert isinstance(loaded, EncoderTeacher)
    assert isinstance(loaded.encoder, SpeechEncoder)
    assert loaded.encoder.config.frame_padding == "chunked"
    assert loaded.frame_counts()[16000] == 49
