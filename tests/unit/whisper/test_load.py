"""Complete directories in and out; damaged, hostile and mixed ones are refused."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from espnet_kd.errors import CheckpointError, ConfigError, KDError
from espnet_kd.whisper import WhisperBundle, load_whisper, save_whisper
from espnet_kd.whisper.load import FILES
from tests.unit.whisper import tiny


@pytest.fixture
def folder(teacher_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage; links where nothing is changed."""
    copy = tmp_path / "model"
    shutil.copytree(teacher_folder, copy)
    return copy


def edit(folder: Path, file: str, **values: Any) -> None:
    content = json.loads((folder / file).read_text("utf-8"))
    (folder / file).write_text(json.dumps({**content, **values}), encoding="utf-8")


def features(bundle: WhisperBundle) -> torch.Tensor:
    config = bundle.model.config
    generator = torch.Generator().manual_seed(1)
    shape = 1, config.num_mel_bins, 2 * config.max_source_positions
    return torch.randn(shape, generator=generator)


def logits(model: Any, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(x, decoder_input_ids=torch.tensor([[50258, 50259, 50359]])).logits


def test_transformers_reads_what_we_write(teacher_folder: Path) -> None:
    theirs = WhisperForConditionalGeneration.from_pretrained(
        teacher_folder, attn_implementation="sdpa", local_files_only=True
    ).eval()
    ours = load_whisper(teacher_folder)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.model.state_dict()[name]), name
    x = features(ours)
    assert torch.equal(logits(ours.model, x), logits(theirs, x))
    processor = WhisperProcessor.from_pretrained(teacher_folder, local_files_only=True)
    assert processor.feature_extractor.chunk_length == 2
    assert theirs.generation_config.to_dict() == ours.model.generation_config.to_dict()


def test_what_is_loaded(teacher_folder: Path) -> None:
    bundle = load_whisper(str(teacher_folder))
    model = bundle.model
    assert bundle.name == "teacher"
    assert not model.training
    assert model.config._attn_implementation == "sdpa"
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    assert not model.model.encoder.embed_positions.weight.requires_grad
    assert all(p.requires_grad for p in model.model.decoder.parameters())
    assert not any(p.is_meta for p in model.parameters())
    assert bundle.specials.is_multilingual


def test_dtype_and_attention(teacher_folder: Path) -> None:
    bundle = load_whisper(teacher_folder, dtype=torch.bfloat16, attn_implementation="eager")
    assert {p.dtype for p in bundle.model.parameters()} == {torch.bfloat16}
    assert bundle.model.config._attn_implementation == "eager"


def test_generation_works(teacher_folder: Path) -> None:
    bundle = load_whisper(teacher_folder)
    ids = bundle.model.generate(
        features(bundle), language="hi", task="transcribe", max_new_tokens=4
    )
    assert ids.shape[0] == 1


def test_a_second_save_replaces_the_first(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for seed in (0, 1):
        written = tiny.tiny_bundle(seed=seed, encoder_layers=1, decoder_layers=1, d_model=8)
        save_whisper(written, target)
    weights = load_file(target / "model.safetensors")
    name = "model.encoder.conv1.weight"
    assert torch.equal(weights[name], written.model.state_dict()[name])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert "proj_out.weight" not in weights


def test_a_failed_save_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, before = load_whisper(folder), sorted(p.name for p in folder.iterdir())

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle.tokenizer, "save_pretrained", full)
    with pytest.raises(KDError, match="No space left"):
        save_whisper(bundle, folder)
    assert sorted(p.name for p in folder.iterdir()) == before
    assert [p.name for p in folder.parent.iterdir()] == ["model"]
    load_whisper(folder)


def test_other_files_are_never_lost(folder: Path) -> None:
    bundle = load_whisper(folder)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(KDError, match=r"notes\.txt.*would be lost"):
        save_whisper(bundle, folder)
    assert (folder / "notes.txt").read_text("utf-8") == "mine"


@pytest.mark.parametrize("config", ['{"model_type": "hubert"}', "{}", "{"])
def test_a_model_of_another_kind_is_never_replaced(
    folder: Path, tmp_path: Path, config: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(config, encoding="utf-8")
    (other / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(CheckpointError, match=r"other holds another model.*new folder"):
        save_whisper(load_whisper(folder), other)
    assert (other / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code", "custom_pipelines"])
@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
        "tokenizer_config.json",
    ],
)
def test_files_that_name_code_are_refused(folder: Path, file: str, key: str) -> None:
    edit(folder, file, **{key: {"AutoModel": "evil.Model"}})
    with pytest.raises(CheckpointError, match=f"names code to run .{key}"):
        load_whisper(folder)


def test_unknown_keys_are_ignored_with_one_warning(folder: Path) -> None:
    edit(folder, "config.json", _attn_implementation_internal="evil/kernels", surprise=1)
    with pytest.warns(UserWarning, match="_attn_implementation_internal, surprise") as caught:
        bundle = load_whisper(folder)
    assert len(caught) == 1
    assert bundle.model.config._attn_implementation == "sdpa"
    assert not hasattr(bundle.model.config, "surprise")


def test_unknown_keys_of_generation_are_ignored_too(folder: Path) -> None:
    edit(folder, "generation_config.json", validate="shadowed", surprise=1, language="<|hi|>")
    with pytest.warns(UserWarning, match="ignored unknown key.*surprise, validate"):
        config = load_whisper(folder).model.generation_config
    assert not hasattr(config, "surprise")
    assert callable(config.validate)
    assert config.language == "<|hi|>"
    assert config.lang_to_id["<|hi|>"] == 50276


def test_a_plain_directory_gives_no_warning(teacher_folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_whisper(teacher_folder)


def test_forced_tokens_are_forgotten(folder: Path) -> None:
    edit(folder, "config.json", forced_decoder_ids=[[1, 50259]])
    edit(folder, "generation_config.json", forced_decoder_ids=[[1, 50259]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all published models have them
        model = load_whisper(folder).model
    for config in (model.config, model.generation_config):
        assert getattr(config, "forced_decoder_ids", None) is None


def test_a_missing_generation_config_is_made(folder: Path) -> None:
    expected = load_whisper(folder).model.generation_config.to_dict()
    (folder / "generation_config.json").unlink()
    found = load_whisper(folder).model.generation_config.to_dict()
    assert found["lang_to_id"] == expected["lang_to_id"]
    assert found["alignment_heads"] == expected["alignment_heads"]


def test_sharded_weights(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    parts = {
        "model-00001-of-00002.safetensors": names[::2],
        "model-00002-of-00002.safetensors": names[1::2],
    }
    for file, keys in parts.items():
        save_file({key: state[key] for key in keys}, folder / file)
    index = {"weight_map": {key: file for file, keys in parts.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    loaded = load_whisper(folder).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    index["weight_map"][names[0]] = "../elsewhere.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CheckpointError, match="not a file beside it"):
        load_whisper(folder)


def _change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


EMBEDDING = "model.decoder.embed_tokens.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.encoder.conv1.bias"), r"1 missing:\s+model.encoder.conv1.bias"),
        (lambda s: s.pop(EMBEDDING), "missing:"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unexpected:\s+extra"),
        (lambda s: s.update({"proj_out.weight": s[EMBEDDING] + 1}), "one matrix for both"),
    ],
    ids=["missing", "no embedding", "unexpected", "untied"],
)
def test_weights_that_do_not_fit(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], message: str
) -> None:
    _change_weights(folder, change)
    with pytest.raises(CheckpointError, match=message):
        load_whisper(folder)


@pytest.mark.parametrize(
    ("file", "values", "error", "message"),
    [
        ("config.json", {"model_type": "bert"}, CheckpointError, "not a Whisper"),
        ("config.json", {"d_model": "wide"}, ConfigError, "make no sense"),
        ("config.json", {"encoder_attention_heads": 5}, ConfigError, "make no sense"),
        ("config.json", {"decoder_layers": 3}, CheckpointError, "unexpected"),
        ("config.json", {"decoder_start_token_id": 50257}, CheckpointError, "English-only"),
        ("config.json", {"vocab_size": 51864}, CheckpointError, "different models"),
        ("preprocessor_config.json", {"feature_size": 128}, CheckpointError, "128 mel bins"),
        ("preprocessor_config.json", {"chunk_length": 30}, CheckpointError, "3000 frames"),
        ("preprocessor_config.json", {"chunk_length": "x"}, ConfigError, "make no sense"),
    ],
)
def test_configurations_that_do_not_fit(
    folder: Path, file: str, values: dict[str, Any], error: type[KDError], message: str
) -> None:
    edit(folder, file, **values)
    with pytest.raises(error, match=message) as caught:
        load_whisper(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "file",
    ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"],
)
def test_damaged_and_missing_files(folder: Path, file: str) -> None:
    (folder / file).write_bytes(b"{")
    with pytest.raises(CheckpointError, match=str(folder)):
        load_whisper(folder)
    (folder / file).unlink()
    (folder / "vocab.json").unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=file):
        load_whisper(folder)


def test_a_folder_of_checkpoints_is_not_one_model(tmp_path: Path) -> None:
    for name in ("checkpoint-9-epoch-1", "checkpoint-20-epoch-2"):
        (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=r"e\.g\. .*checkpoint-20-epoch-2"):
        load_whisper(tmp_path)
    (tmp_path / "checkpoint-9-epoch-1-val-wer-5.000").mkdir()
    with pytest.raises(CheckpointError, match=r"e\.g\. .*checkpoint-9-epoch-1-val-wer-5\.000"):
        load_whisper(tmp_path)


@pytest.mark.parametrize("name", ["no/such/folder", "nothing here"])
def test_no_such_directory(name: str) -> None:
    with pytest.raises(CheckpointError, match="is not a directory"):
        load_whisper(name)


def test_a_hub_repository_is_downloaded(
    teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def download(repository: str, **options: Any) -> str:
        asked.update(options, repository=repository)
        return str(teacher_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    bundle = load_whisper("openai/whisper-tiny", revision="abc")
    assert bundle.name == "whisper-tiny"
    assert (asked["repository"], asked["revision"]) == ("openai/whisper-tiny", "abc")
    assert asked["allow_patterns"] == list(FILES)
    assert not any(pattern.endswith((".py", ".bin")) for pattern in FILES)


def test_an_unreachable_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise OSError("offline\nand so on")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(CheckpointError, match="cannot be fetched: offline$"):
        load_whisper("openai/whisper-tiny")
