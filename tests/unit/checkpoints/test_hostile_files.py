"""Files made to harm, and files that are only rubbish: nothing runs, and one clear error comes."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_kd import load_model
from espnet_kd.checkpoints.unpickle import ALLOWED_STAND_INS, read_pickle
from espnet_kd.errors import CheckpointError, KDError
from tests.unit.checkpoints import foreign
from tests.unit.encoder.tiny import tiny, tiny_config

SUFFIXES = [".ckpt", ".pt", ".pth", ".bin", ".th", ".pkl", ""]


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _attacks(canary: Path) -> dict[str, tuple[Any, str]]:
    shell = f"touch {canary}"
    return {
        "os.system": (_Call(os.system, shell), "posix.system"),
        "eval": (_Call(eval, f"open({str(canary)!r}, 'w')"), "eval"),
        "exec": (_Call(exec, f"open({str(canary)!r}, 'w')"), "exec"),
        "open": (_Call(open, str(canary), "w"), "io.open"),
        "getattr": (_Call(getattr, os, "system"), "getattr"),
        "unknown": (_Call(json.JSONDecoder), "json.decoder.JSONDecoder"),
    }


@pytest.mark.parametrize("attack", ["os.system", "eval", "exec", "open", "getattr", "unknown"])
@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_that_call_something(attack: str, legacy: bool, tmp_path: Path) -> None:
    canary = tmp_path / "CANARY"
    payload, named = _attacks(canary)[attack]
    if attack == "getattr":  # os itself cannot be pickled
        payload = _Call(getattr, "x", "upper")
    content = {**foreign.lightning_content(tiny("armhubert")), "callbacks": payload}
    for suffix in SUFFIXES:
        file = tmp_path / f"evil{suffix}"
        torch.save(content, file, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError) as caught:
            load_model(file)
        assert str(file) in str(caught.value)
        assert named in str(caught.value)
        assert "refused" in str(caught.value)
    assert not canary.exists()


def test_plain_pickles_that_call_something(tmp_path: Path) -> None:
    canary = tmp_path / "CANARY"
    for protocol in (0, 2, 4):
        for suffix in SUFFIXES:
            file = tmp_path / f"evil{suffix}"
            file.write_bytes(pickle.dumps(_Call(os.system, f"touch {canary}"), protocol))
            with pytest.raises(CheckpointError, match="evil"):
                load_model(file)
    assert not canary.exists()


def test_hostile_weights_in_a_directory(tmp_path: Path) -> None:
    canary = tmp_path / "CANARY"
    folder = foreign.huggingface_directory(tiny("hubert_base"), tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"a": _Call(os.system, f"touch {canary}")}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin was refused.*posix\.system"):
        load_model(folder)
    torch.save({"a": [1]}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="does not hold weights alone"):
        load_model(folder)
    assert not canary.exists()


@pytest.mark.parametrize("path", ALLOWED_STAND_INS)
def test_stand_ins_take_everything_and_do_nothing(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        value = foreign.foreign_object(patch, path)
        value.payload = {"any": [1, 2]}
        file = foreign.save([value, value], tmp_path / "x.pt")
    one, other = read_pickle(file)
    assert one is other
    assert vars(one) == {}


def test_allowed_names_are_forgotten_afterwards(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    read_pickle(foreign.save({"x": torch.ones(1)}, tmp_path / "x.pt"))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"hello\n", b"PK\x03\x04 not a zip", b"\x80\x02", b"<html>404</html>"]
)
def test_rubbish(content: bytes, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"rubbish{suffix}"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"rubbish.*again"):
        load_model(file)


def _published_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save(foreign.lightning_content(tiny("armhubert")), buffer)
    return buffer.getvalue()


PUBLISHED = _published_bytes()


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99, 0.9999])
def test_downloads_cut_short(share: float, tmp_path: Path) -> None:
    file = tmp_path / "ARMHuBERT-960h.ckpt"
    file.write_bytes(PUBLISHED[: int(len(PUBLISHED) * share)])
    with pytest.raises(CheckpointError, match=r"ARMHuBERT-960h\.ckpt.*again"):
        load_model(file)


QUIET = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _only_our_errors(path: Path, **options: Any) -> None:
    """Loading works or fails with an error of ours that names the file and can be read."""
    said = path.name
    try:
        load_model(path, **options)
    except KDError as error:
        said = str(error)
    assert path.name in said or options
    assert len(said) < 20_000


@QUIET
@given(st.binary(max_size=200))
def test_random_bytes_as_any_file(tmp_path: Path, content: bytes) -> None:
    for name in ("x.ckpt", "x.safetensors"):
        (tmp_path / name).write_bytes(content)
        _only_our_errors(tmp_path / name)
    folder = tmp_path / "folder"
    if not folder.exists():
        tiny("armhubert").save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(content)
    _only_our_errors(folder)


@QUIET
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_bytes_changed_in_a_published_file(tmp_path: Path, changes: list) -> None:
    content = bytearray(PUBLISHED)
    for place, value in changes:
        content[min(int(place * len(content)), len(content) - 1)] = value
    (tmp_path / "x.ckpt").write_bytes(content)
    _only_our_errors(tmp_path / "x.ckpt")


# Small integers: a huge but legal model is not an error, only slow.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@QUIET
@given(st.data())
def test_random_values_in_a_native_configuration(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "model.safetensors").exists():
        tiny("armhubert").save_pretrained(tmp_path)
        (tmp_path / "kept.json").write_bytes((tmp_path / "config.json").read_bytes())
    document = json.loads((tmp_path / "kept.json").read_text())
    key = data.draw(st.sampled_from([*document["encoder"], "new"]))
    document["encoder"][key] = data.draw(json_values)
    if data.draw(st.booleans()):
        document[data.draw(st.sampled_from([*document]))] = data.draw(json_values)
    (tmp_path / "config.json").write_text(json.dumps(document))
    _only_our_errors(tmp_path)


@QUIET
@given(st.data())
def test_random_values_in_a_huggingface_configuration(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "model"
    if not folder.exists():
        foreign.huggingface_directory(tiny("wavlm_base"), folder)
        (folder / "kept.json").write_bytes((folder / "config.json").read_bytes())
    config = json.loads((folder / "kept.json").read_text())
    config[data.draw(st.sampled_from([*config]))] = data.draw(json_values)
    (folder / "config.json").write_text(json.dumps(config))
    _only_our_errors(folder)


@QUIET
@given(st.data())
def test_random_values_in_a_yaml(tmp_path: Path, data: st.DataObject) -> None:
    file, config = tmp_path / "x.ckpt", tmp_path / "x.yaml"
    if not file.exists():
        foreign.save(foreign.lightning_content(tiny("armhubert"), False), file)
    document = foreign.distiller_yaml(tiny_config("armhubert"))
    document["distiller"][data.draw(st.sampled_from([*document["distiller"]]))] = data.draw(
        json_values
    )
    config.write_text(yaml.safe_dump(document))
    _only_our_errors(file, config=config)


@QUIET
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_random_text_as_a_yaml(tmp_path: Path, content: str | bytes) -> None:
    file, config = tmp_path / "x.ckpt", tmp_path / "x.yaml"
    if not file.exists():
        foreign.save(foreign.lightning_content(tiny("armhubert"), False), file)
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    config.write_bytes(raw)
    with pytest.raises(KDError, match=r"x\.yaml"):
        load_model(file, config=config)


def test_a_yaml_that_grows_when_printed(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    for key in ("conv_feature_layers", "reuse_pattern", "extractor_mode", "dropout", "unknown"):
        document = foreign.distiller_yaml(tiny_config("armhubert"))
        del document["distiller"]["final_dim"]
        document["distiller"].pop(key, None)
        text = "\n".join(lines) + "\n" + yaml.safe_dump(document)
        text = text.replace("distiller:\n", f"distiller:\n  {key}: *a11\n")
        (tmp_path / "x.yaml").write_text(text)
        file = foreign.save(
            foreign.lightning_content(tiny("armhubert"), False), tmp_path / "x.ckpt"
        )
        _only_our_errors(file, config=tmp_path / "x.yaml")


def test_what_others_allowed_stays_allowed(tmp_path):
    """S3PRL's runs need argparse.Namespace in their own checkpoints, before and after ours."""
    file = tmp_path / "weights.pt"
    torch.save({"weight": torch.ones(2)}, file)
    with torch.serialization.safe_globals([argparse.Namespace]):
        read_pickle(file)
        assert argparse.Namespace in torch.serialization.get_safe_globals()
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
