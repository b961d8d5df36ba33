"""``python -m espnet_kd.bin.convert`` for every format."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from espnet_kd import load_model
from espnet_kd.bin.convert import main
from espnet_kd.checkpoints import FORMATS, WRITERS
from espnet_kd.checkpoints.dphubert import to_content
from espnet_kd.encoder import SpeechEncoder
from tests.unit.checkpoints import foreign
from tests.unit.encoder.tiny import tiny


def _armhubert(folder: Path) -> tuple[SpeechEncoder, list[str]]:
    model = tiny("armhubert")
    source = foreign.save(foreign.lightning_content(model, False), folder / "x.ckpt")
    config = foreign.save_yaml(foreign.distiller_yaml(model.config), folder / "x.yaml")
    return model, ["--src", str(source), "--config", str(config)]


def _fairseq(folder: Path) -> tuple[SpeechEncoder, list[str]]:
    model = tiny("hubert_base", frame_padding="chunked")
    return model, ["--src", str(foreign.save(foreign.fairseq_content(model), folder / "x.pt"))]


def _huggingface(folder: Path) -> tuple[SpeechEncoder, list[str]]:
    model = tiny("wavlm_base")
    return model, ["--src", str(foreign.huggingface_directory(model, folder / "source"))]


def _torchaudio(folder: Path) -> tuple[SpeechEncoder, list[str]]:
    from espnet_kd.checkpoints.torchaudio import TABLE

    model = tiny("hubert_base", mask_embedding=False)
    source = foreign.save(TABLE.to_foreign(model.state_dict()), folder / "x.pt")
    config = folder / "x.json"
    config.write_text(json.dumps({"encoder_num_heads": 4}))
    return model, ["--src", str(source), "--config", str(config)]


def _dphubert(folder: Path) -> tuple[SpeechEncoder, list[str]]:
    model = tiny("wavlm_large")
    return model, ["--src", str(foreign.save(to_content(model), folder / "x.pth"))]


SOURCES = {
    "armhubert": _armhubert,
    "dphubert": _dphubert,
    "fairseq": _fairseq,
    "huggingface": _huggingface,
    "torchaudio": _torchaudio,
}


def test_every_format_is_tested() -> None:
    assert SOURCES.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_every_format(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, options = SOURCES[name](tmp_path)
    target = tmp_path / "converted"
    assert main(["--from", name, *options, "--dst", str(target)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert str(target) in said[0]
    assert "4 layers" in said[0]
    converted = load_model(target)
    assert converted.config.frame_padding == model.config.frame_padding
    foreign.same_outputs(converted, model)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_every_format_that_is_written(name: str, tmp_path: Path) -> None:
    model = tiny("wavlm_base")
    model.save_pretrained(tmp_path / "native")
    target = tmp_path / "written"
    command = ["--from", "native", "--src", str(tmp_path / "native"), "--to", name]
    assert main([*command, "--dst", str(target)]) == 0
    foreign.same_outputs(load_model(target), model)


def _error(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(command) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_checksums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, options = _armhubert(tmp_path)
    target = tmp_path / "converted"
    command = ["--from", "armhubert", *options, "--dst", str(target), "--sha256"]
    assert "has checksum" in _error([*command, "0" * 64], capsys)
    assert not target.exists()
    digest = hashlib.sha256((tmp_path / "x.ckpt").read_bytes()).hexdigest()
    assert main([*command, digest.upper()]) == 0
    capsys.readouterr()
    command[3] = str(tmp_path)
    assert "is not a file" in _error([*command, digest], capsys)


def test_what_goes_wrong_is_said_in_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "converted")
    missing = str(tmp_path / "none.ckpt")
    for name in FORMATS:
        assert "none.ckpt" in _error(["--from", name, "--src", missing, "--dst", target], capsys)
    _, options = _armhubert(tmp_path)
    said = _error(["--from", "fairseq", *options[:2], "--dst", target], capsys)
    assert "not a fairseq or WavLM checkpoint" in said
    (tmp_path / "file").write_text("x")
    said = _error(["--from", "armhubert", *options, "--dst", str(tmp_path / "file")], capsys)
    assert "cannot write" in said
    assert not Path(target).exists()


def test_unknown_formats_are_refused_by_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--from", "onnx", "--src", "a", "--dst", "b"])
    assert caught.value.code == 2
    assert "armhubert" in capsys.readouterr().err
