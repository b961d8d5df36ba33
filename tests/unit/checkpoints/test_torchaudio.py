"""torchaudio's own models, tiny, against ours loaded from their state dicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from espnet_kd import load_model
from espnet_kd.checkpoints.torchaudio import load_torchaudio
from espnet_kd.errors import CheckpointError, ConfigError
from tests.unit.checkpoints.foreign import save
from tests.unit.encoder.tiny import all_close, close, waves

CONVS = [(8, 10, 5), (8, 3, 2), (8, 3, 2), (8, 2, 2)]


def _options(layer_norm: bool = False, norm_first: bool = False, heads: int = 4) -> dict[str, Any]:
    return {
        "extractor_mode": "layer_norm" if layer_norm else "group_norm",
        "extractor_conv_layer_config": CONVS,
        "extractor_conv_bias": layer_norm,
        "encoder_embed_dim": 16,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 8,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 3,
        "encoder_num_heads": heads,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": 24,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": norm_first,
        "encoder_layer_drop": 0.05,
    }


def _wav2vec2(**options: Any):
    from torchaudio.models import wav2vec2_model

    torch.manual_seed(0)
    return wav2vec2_model(**options, aux_num_out=None).eval()


def _wavlm(**options: Any):
    from torchaudio.models import wavlm_model

    torch.manual_seed(0)
    extra = {"encoder_num_buckets": 16, "encoder_max_distance": 24, "aux_num_out": 7}
    return wavlm_model(**options, **extra).eval(), extra


def _json(options: dict[str, Any], file: Path) -> Path:
    file.write_text(json.dumps(options))
    return file


@torch.no_grad()
def _same(model: torch.nn.Module, ours, padded: bool = True) -> None:
    x_BS, lengths_B = waves(2000, 1500) if padded else (waves(2000)[0], None)
    theirs, frames_B = model.extract_features(x_BS, lengths_B)
    output = ours(x_BS, lengths_B)
    valid = [int(n) for n in frames_B] if padded else [theirs[0].size(1)]
    assert output.lengths_B is None or output.lengths_B.tolist() == valid
    for index, frames in enumerate(valid):
        all_close(
            [state[index, :frames] for state in output.layer_outputs],
            [state[index, :frames] for state in theirs],
        )
        close(
            output.last_hidden_state[index, :frames],
            model.encoder(*_features(model, x_BS, lengths_B))[index, :frames],
        )


def _features(model: torch.nn.Module, x_BS: torch.Tensor, lengths_B: torch.Tensor | None):
    features, lengths_B = model.feature_extractor(x_BS, lengths_B)
    return features, lengths_B


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_wav2vec2(layer_norm: bool, norm_first: bool, suffix: str, tmp_path: Path) -> None:
    options = _options(layer_norm, norm_first)
    model = _wav2vec2(**options)
    file = tmp_path / f"model{suffix}"
    if suffix == ".safetensors":
        save_file(model.state_dict(), file)
    else:
        save(model.state_dict(), file)
    config = _json({**options, "normalize_waveform": False}, tmp_path / "options.json")
    ours = load_model(file, config=config)
    assert (ours.config.norm_first, ours.config.layerdrop) == (norm_first, 0.05)
    _same(model, ours)
    _same(model, ours, padded=False)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_wavlm(prefix: str, tmp_path: Path) -> None:
    options = _options()
    model, extra = _wavlm(**options)
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    ours = load_model(
        save(state, tmp_path / "wavlm.pth"),
        config=_json({**options, **extra}, tmp_path / "options.json"),
    )
    assert ours.config.family == "wavlm"
    assert (ours.config.num_buckets, ours.config.max_distance) == (16, 24)
    # torchaudio's WavLM takes no lengths: its attention cannot mask.
    _same(model, ours, padded=False)


def test_pretraining_models_keep_their_mask_embedding(tmp_path: Path) -> None:
    from torchaudio.models import hubert_pretrain_model

    torch.manual_seed(0)
    options = _options()
    model = hubert_pretrain_model(
        **options,
        mask_prob=0.8,
        mask_selection="static",
        mask_other=0.0,
        mask_length=4,
        no_mask_overlap=False,
        mask_min_space=1,
        mask_channel_prob=0.0,
        mask_channel_selection="static",
        mask_channel_other=0.0,
        mask_channel_length=4,
        no_mask_channel_overlap=False,
        mask_channel_min_space=1,
        skip_masked=False,
        skip_nomask=False,
        num_classes=5,
        final_dim=6,
        feature_grad_mult=0.1,
    ).eval()
    ours = load_model(
        save({"state_dict": model.state_dict()}, tmp_path / "x.pt"),
        config=_json(options, tmp_path / "options.json"),
    )
    close(ours.mask_embedding.detach(), model.mask_generator.mask_embedding.detach())
    _same(model.wav2vec2, ours)


def test_options_read_off_the_weights(tmp_path: Path) -> None:
    options = _options()
    options.update(encoder_embed_dim=128, encoder_num_heads=2, encoder_pos_conv_groups=16)
    model = _wav2vec2(**options)
    ours = load_torchaudio(save(model.state_dict(), tmp_path / "x.pt"))
    assert [record.num_heads for record in ours.config.layers] == [2] * 3
    assert ours.config.conv_layers == [list(conv) for conv in CONVS]
    assert (ours.config.pos_conv_kernel, ours.config.pos_conv_groups) == (8, 16)
    assert not ours.config.normalize_waveform
    _same(model, ours)


def test_options_that_weights_do_not_tell(tmp_path: Path) -> None:
    model = _wav2vec2(**_options())
    file = save(model.state_dict(), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"heads of .*x\.pt cannot be told.*--config"):
        load_model(file)
    options = {**_options(), "extractor_conv_layer_config": [(8, 4, 2)] * 4}
    file = save(_wav2vec2(**options).state_dict(), tmp_path / "y.pt")
    with pytest.raises(CheckpointError, match=r"strides of .*y\.pt cannot be told"):
        load_model(file)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"encoder_num_heads": "four"}, ConfigError),
        ({"encoder_num_heads": 10**9}, ConfigError),
        ({"encoder_num_heads": 4, "extractor_conv_layer_config": "open('x')"}, ConfigError),
        ({"encoder_num_heads": 4, "extractor_conv_layer_config": 3}, ConfigError),
        ({"encoder_num_heads": 4, "extractor_conv_layer_config": [[9, 3, 2]]}, CheckpointError),
        ({"encoder_num_heads": 4, "encoder_dropout": []}, ConfigError),
    ],
    ids=str,
)
def test_impossible_options(options, error, tmp_path: Path) -> None:
    file = save(_wav2vec2(**_options()).state_dict(), tmp_path / "x.pt")
    with pytest.raises(error, match=r"x\.pt"):
        load_model(file, config=_json(options, tmp_path / "options.json"))


def test_incomplete_state_dicts(tmp_path: Path) -> None:
    state = _wav2vec2(**_options()).state_dict()
    config = _json(_options(), tmp_path / "options.json")
    for name in state:
        part = {key: tensor for key, tensor in state.items() if key != name}
        with pytest.raises((CheckpointError, ConfigError), match=r"x\.pt"):
            load_model(save(part, tmp_path / "x.pt"), config=config)
    with pytest.raises(CheckpointError, match="1 weights with unknown names(.|\n)*encoder.novel"):
        load_model(
            save({**state, "encoder.novel": torch.ones(1)}, tmp_path / "x.pt"), config=config
        )
