"""Our own directories: what was saved comes back, and what is damaged is refused by name."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from espnet_kd import load_model
from espnet_kd.checkpoints import load_native, save_native
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import CheckpointError, ConfigError, KDError
from tests.unit.checkpoints import foreign
from tests.unit.encoder.tiny import tiny

FILES = ["config.json", "model.safetensors"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "my_model"
    save_native(tiny("armhubert"), folder)
    return folder


def _edit(file: Path, change: Callable[[dict], object]) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def test_every_door_opens_the_same_model(saved: Path) -> None:
    model = tiny("armhubert")
    assert sorted(p.name for p in saved.iterdir()) == FILES
    for loaded in (
        load_model(saved),
        load_model(str(saved)),
        load_model(saved / "model.safetensors"),
        load_native(saved),
        SpeechEncoder.from_pretrained(str(saved)),
    ):
        assert loaded.config == model.config
        assert not loaded.training
        foreign.same_outputs(loaded, model)


@pytest.mark.parametrize("model_type", ["whisper", "espnet_kd_quantizer", None])
def test_a_model_of_another_kind_is_never_replaced(saved: Path, model_type: str | None) -> None:
    _edit(saved / "config.json", lambda d: d.update(model_type=model_type))
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(CheckpointError, match=r"my_model holds another model.*new folder"):
        save_native(tiny("armhubert"), saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_half_precision_models_come_back_in_float32(tmp_path: Path) -> None:
    tiny("armhubert").half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_model(tmp_path).parameters()} == {torch.float32}


def test_what_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "none.ckpt", tmp_path / "none.safetensors"):
        with pytest.raises(CheckpointError, match=f"{path.name} does not exist"):
            load_model(path)
    with pytest.raises(CheckpointError, match=r"config\.json does not exist"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(name: str, saved: Path) -> None:
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} does not exist"):
        load_model(saved)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 1, 7, 100, -1])
def test_files_cut_short(name: str, keep: int, saved: Path) -> None:
    content = (saved / name).read_bytes()
    # A JSON document lacks nothing without its last newline, only without its last brace.
    (saved / name).write_bytes(content[: keep if keep >= 0 else -2])
    with pytest.raises(CheckpointError, match=name):
        load_model(saved)


def test_a_flipped_bit_anywhere_in_the_weights(saved: Path) -> None:
    file = saved / "model.safetensors"
    content = bytearray(file.read_bytes())
    for position in (3, 40, len(content) // 2, len(content) - 1):
        content[position] ^= 16
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.safetensors.*(damaged|differs)"):
            load_model(saved)
        content[position] ^= 16
    file.write_bytes(content)
    load_model(saved)


def test_weights_of_another_model(saved: Path, tmp_path: Path) -> None:
    save_native(tiny("maskhubert"), tmp_path / "other")
    (saved / "model.safetensors").write_bytes((tmp_path / "other/model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="checksum differs.*restore both"):
        load_model(saved)
    _edit(saved / "config.json", lambda d: d.pop("weights_sha256"))
    with pytest.raises(CheckpointError, match=r"my_model do not fit(.|\n)*8 unexpected"):
        load_model(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(format_version=2), "newer espnet_kd; upgrade"),
        (lambda d: d.update(format_version="one"), "format_version 'one'"),
        (lambda d: d.update(format_version=None), "format_version None"),
        (lambda d: d.update(model_type="bert"), "'bert' model, not one of ours"),
        (lambda d: d.pop("model_type"), "None model"),
        (lambda d: d.pop("encoder"), "no `encoder` block"),
        (lambda d: d.update(encoder=[1]), "no `encoder` block"),
        (lambda d: d["encoder"].update(embed_dims=3), "unknown key embed_dims"),
        (lambda d: d["encoder"].update(embed_dim=10**13), "embed_dim is 10000000000000"),
        (lambda d: d["encoder"].update(embed_dim=20, pos_conv_groups=3), "problem(s)"),
        (lambda d: d["encoder"]["layers"].pop(), "unexpected"),
        (lambda d: d["encoder"].update(layers=[{}] * 2000), "layers is 2000"),
    ],
)
def test_configurations_that_make_no_sense(change, said: str, saved: Path) -> None:
    _edit(saved / "config.json", change)
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        load_model(saved)
    assert said in str(caught.value)
    assert "my_model" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[]", "3", "{", "{'a': 1}", "", "null", "[" * 100_000, '"\\ud800']
)
def test_configurations_that_are_no_json(text: str, saved: Path) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_model(saved)


# --- Saving


def _no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _half_written(tensors: object, file: Path, **_: object) -> None:
    from safetensors import SafetensorError

    Path(file).write_bytes(b"half")
    raise SafetensorError("I/O error: No space left on device (os error 28)")


@contextlib.contextmanager
def _tiny_files() -> Iterator[None]:
    """No file may grow beyond 2000 bytes, as on a disk that is full; pytest's own log neither."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _still_the_old_model(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == FILES, "temporary files were left"
    foreign.same_outputs(load_model(folder), tiny("armhubert"))


@pytest.mark.parametrize(
    ("target", "failure"),
    [
        ("safetensors.torch.save_file", _no_space),
        ("safetensors.torch.save_file", _half_written),
        ("os.fsync", _no_space),
        ("pathlib.Path.write_text", _no_space),
        ("os.chmod", _no_space),
    ],
)
def test_a_full_disk_keeps_the_old_model(
    target: str, failure, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(target, failure)
        with pytest.raises(KDError, match="(?s)cannot write .*No space left.*untouched.*free"):
            tiny("maskhubert").save_pretrained(saved)
    _still_the_old_model(saved)


def test_a_disk_that_is_really_full(saved: Path, tmp_path: Path) -> None:
    model = tiny("maskhubert")
    with _tiny_files(), pytest.raises(KDError, match=r"cannot write .*my_model.*untouched"):
        model.save_pretrained(saved)
    with _tiny_files(), pytest.raises(KDError, match="cannot write"):
        model.save_pretrained(tmp_path / "new")
    _still_the_old_model(saved)
    assert not list((tmp_path / "new").iterdir())


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(KDError, match="cannot write"):
            tiny("armhubert").save_pretrained(target)
    assert (tmp_path / "file").read_text() == "here"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_without_permission(saved: Path) -> None:
    saved.chmod(0o500)
    with pytest.raises(KDError, match="Permission denied"):
        tiny("maskhubert").save_pretrained(saved)
    saved.chmod(0o700)
    _still_the_old_model(saved)


def test_saving_again_replaces_the_model(saved: Path) -> None:
    tiny("maskhubert").save_pretrained(saved)
    foreign.same_outputs(load_model(saved), tiny("maskhubert"))
    assert sorted(p.name for p in saved.iterdir()) == FILES
    umask = os.umask(0)
    os.umask(umask)
    assert {p.stat().st_mode & 0o777 for p in saved.iterdir()} == {0o666 & ~umask}


@pytest.mark.parametrize(
    ("model_type", "remedy"),
    [
        ("whisper", r"espnet_kd\.bin\.whisper_\*"),
        ("espnet_kd_quantizer", "load_quantizer loads it"),
        ("bert", "nothing here reads that type"),
        (["whisper"], "nothing here reads that type"),
    ],
)
def test_a_model_of_another_type_names_what_reads_it(
    saved: Path, model_type: object, remedy: str
) -> None:
    _edit(saved / "config.json", lambda d: d.update(model_type=model_type))
    with pytest.raises(CheckpointError, match=f"not one of ours.*{remedy}"):
        load_model(saved)


def test_the_folder_of_a_run_names_its_student(saved: Path, tmp_path: Path) -> None:
    run = tmp_path / "exp"
    run.mkdir()
    (run / "config.yaml").write_text("")
    with pytest.raises(CheckpointError, match=r"exp is a run.*bin\.export --exp .*exp --dst"):
        load_model(run)
    saved.rename(run / "student")
    with pytest.raises(CheckpointError, match="exp is a run, not a model; give .*exp/student$"):
        load_model(run)
    load_model(run / "student")
