"""Physical pruning: equal where it can be, said where it is not, refused where nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.evaluation.macs import count_macs as counted_macs
from espnet_kd.pruning import EncoderGates, PruneReport, PruningError, prune_encoder
from espnet_kd.pruning.config import UNITS
from tests.unit.encoder.tiny import tiny

FAMILIES = ["hubert_base", "hubert_large", "wavlm_base", "wavlm_large", "armhubert", "starhubert"]
WAVES = torch.randn(2, 2400, generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([2400, 1700])


def open_masks(encoder: SpeechEncoder) -> dict[str, Tensor]:
    """All units open, with soft values."""
    gates = EncoderGates(encoder.config, UNITS)
    generator = torch.Generator().manual_seed(3)
    return {
        name: 0.5 + 0.5 * torch.rand(gate.log_alpha.shape, generator=generator)
        for name, gate in gates.named_gates()
    }


def gated(encoder: SpeechEncoder, masks: dict[str, Tensor]) -> list[Tensor]:
    gates = EncoderGates(encoder.config, UNITS)
    with torch.no_grad(), gates.applied(encoder, masks):
        return encoder(WAVES, LENGTHS).layer_outputs


def check_equal(pruned: SpeechEncoder, wanted: list[Tensor]) -> None:
    with torch.no_grad():
        output = pruned(WAVES, LENGTHS)
    valid_BT = torch.arange(wanted[0].shape[1]) < output.lengths_B[:, None]
    for ours, theirs in zip(output.layer_outputs, wanted, strict=True):
        torch.testing.assert_close(ours[valid_BT], theirs[valid_BT], atol=2e-5, rtol=1e-4)


def close_some(masks: dict[str, Tensor], encoder: SpeechEncoder) -> None:
    """Close what leaves outputs equal: heads, units, whole blocks, channels before a plain conv."""
    for name, mask in masks.items():
        if name.startswith(("head_", "interm_")):
            mask[: len(mask) // 2] = 0
    if "conv_1" in masks and encoder.config.extractor_norm == "group_norm":
        masks["conv_1"][::3] = 0
    last = encoder.config.num_layers - 1
    masks[f"ffnlayer_{last}"][:] = 0
    if f"attlayer_{last}" in masks:
        masks[f"attlayer_{last}"][:] = 0


@pytest.mark.parametrize("name", FAMILIES)
def test_the_pruned_encoder_computes_what_the_gated_one_does(name: str, tmp_path: Path) -> None:
    encoder = tiny(name)
    masks = open_masks(encoder)
    close_some(masks, encoder)
    pruned, report = prune_encoder(encoder, masks)
    check_equal(pruned, gated(encoder, masks))
    assert report.notes == []
    pruned.save_pretrained(tmp_path)
    check_equal(SpeechEncoder.from_pretrained(tmp_path), gated(encoder, masks))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("seconds", [16, 2])
def test_the_report_counts_what_is_there(name: str, seconds: int) -> None:
    encoder = tiny(name)
    masks = open_masks(encoder)
    close_some(masks, encoder)
    pruned, report = prune_encoder(encoder, masks, macs_seconds=float(seconds))
    heads = sum(p.numel() for n, p in pruned.named_parameters() if n.startswith("heads."))
    mask = 0 if pruned.mask_embedding is None else pruned.mask_embedding.numel()
    scale = 0 if pruned.feature_extractor.channel_scale is not None else pruned.config.conv_dim
    counted = sum(p.numel() for p in pruned.parameters())
    assert report.parameters[1] == counted - heads - mask + scale
    assert report.macs[1] == sum(counted_macs(pruned.config, seconds * 16000).values())
    assert f"MACs of {seconds} s" in report.table()
    by_name = {part.name: part for part in report.parts}
    last = encoder.config.num_layers - 1
    assert by_name[f"layer {last} units"].after == 0
    assert by_name["layer 0 heads"].after == by_name["layer 0 heads"].before // 2
    assert f"layer {last} units" in report.table()
    assert report.to_dict()["sparsity"] == pytest.approx(report.sparsity)


@pytest.mark.parametrize("name", FAMILIES)
def test_pruning_a_pruned_encoder(name: str) -> None:
    encoder = tiny(name)
    masks = open_masks(encoder)
    close_some(masks, encoder)
    once, _ = prune_encoder(encoder, masks)
    again = open_masks(once)
    for key, mask in again.items():
        if key.startswith(("head_", "interm_")) and len(mask) > 1:
            mask[-1] = 0
    twice, report = prune_encoder(once, again)
    check_equal(twice, gated(once, again))
    assert report.notes == []


def test_kept_heads_are_numbered_from_the_original() -> None:
    encoder = tiny("wavlm_base")
    masks = open_masks(encoder)
    masks["head_1"][0] = 0
    once, _ = prune_encoder(encoder, masks)
    again = open_masks(once)
    again["head_1"][1] = 0
    twice, _ = prune_encoder(once, again)
    assert once.config.layers[1].kept_heads == [1, 2, 3]
    assert twice.config.layers[1].kept_heads == [1, 3]


def test_wavlm_without_attention_in_the_first_layer_keeps_its_position_bias() -> None:
    encoder = tiny("wavlm_base")
    masks = open_masks(encoder)
    masks["attlayer_0"][:] = 0
    pruned, _ = prune_encoder(encoder, masks)
    assert pruned.config.layers[0].attention == "none"
    check_equal(pruned, gated(encoder, masks))


def last_channels(name: str) -> tuple[SpeechEncoder, dict[str, Tensor]]:
    encoder = tiny(name)
    masks = open_masks(encoder)
    masks[f"conv_{len(encoder.config.conv_layers) - 1}"][::2] = 0
    return encoder, masks


def test_channels_before_the_layer_norm_change_outputs_and_that_is_said() -> None:
    encoder, masks = last_channels("hubert_base")
    pruned, report = prune_encoder(encoder, masks)
    with torch.no_grad():
        difference = (pruned(WAVES).layer_outputs[-1] - encoder(WAVES).layer_outputs[-1]).abs()
    assert difference.max() > 1e-2
    assert [note for note in report.notes if "Q11" in note]


@pytest.mark.parametrize("name", ["hubert_base", "wavlm_base"])
def test_exact_statistics_keep_outputs(name: str, tmp_path: Path) -> None:
    encoder, masks = last_channels(name)
    pruned, report = prune_encoder(encoder, masks, exact=True)
    check_equal(pruned, gated(encoder, masks))
    assert report.notes == []
    pruned.save_pretrained(tmp_path)
    loaded = SpeechEncoder.from_pretrained(tmp_path)
    check_equal(loaded, gated(encoder, masks))
    again = open_masks(loaded)
    again[f"conv_{len(encoder.config.conv_layers) - 1}"][0] = 0
    twice, _ = prune_encoder(loaded, again)  # stays exact
    check_equal(twice, gated(loaded, again))


@pytest.mark.parametrize("name", ["hubert_base", "armhubert"])
def test_closed_units_of_a_whole_block_are_reported(name: str) -> None:
    encoder = tiny(name)
    masks = open_masks(encoder)
    masks["head_0"][:] = 0
    masks["interm_1"][:] = 0
    pruned, report = prune_encoder(encoder, masks)
    assert pruned.config.layers[0].attention == "none"
    assert pruned.config.layers[1].ffn_dim == 0
    assert len([note for note in report.notes if "Q13" in note]) >= 2


@pytest.mark.parametrize(
    ("start", "named"),
    [("conv_2", "convolution 2"), ("head_", "attention"), ("interm_", "feed-forward")],
)
def test_nothing_left_is_refused(start: str, named: str) -> None:
    encoder = tiny("hubert_base")
    masks = open_masks(encoder)
    for key, mask in masks.items():
        if key.startswith(start):
            mask[:] = 0
    with pytest.raises(PruningError, match=named):
        prune_encoder(encoder, masks)


def test_a_report_of_nothing() -> None:
    encoder = tiny("hubert_base")
    _, report = prune_encoder(encoder, {})
    assert isinstance(report, PruneReport)
    assert report.sparsity == 0
