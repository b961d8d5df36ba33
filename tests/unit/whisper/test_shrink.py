"""Students made of a teacher's layers: weights, configurations, short contexts, refusals."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from espnet_kd.bin.whisper_shrink import main
from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.whisper import WhisperBundle, load_whisper
from espnet_kd.whisper.shrink import remap_heads, save_student, shrink_whisper, try_out
from tests.unit.whisper import tiny


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> WhisperBundle:
    """Four encoder and four decoder layers, 2 s of context."""
    return load_whisper(teacher_folder)


def layer_states(model: Any, stack: str) -> list[dict[str, torch.Tensor]]:
    return [layer.state_dict() for layer in getattr(model.model, stack).layers]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(
    ("options", "encoder", "decoder"),
    [
        ({}, [0, 1, 2, 3], [0, 3]),
        ({"encoder_layers": 2, "decoder_layers": 1}, [0, 3], [3]),
        ({"decoder_layers": 4}, [0, 1, 2, 3], [0, 1, 2, 3]),
        ({"encoder_layers_numbers": [3, 0, 0]}, [3, 0, 0], [0, 3]),
        ({"decoder_layers_numbers": [1, -1, 0]}, [0, 1, 2, 3], [1, 3, 0]),
    ],
)
def test_every_kept_weight_is_the_teachers(
    teacher: WhisperBundle, options: dict[str, Any], encoder: list[int], decoder: list[int]
) -> None:
    student, report = shrink_whisper(teacher, **options)
    assert (report.encoder, report.decoder) == (encoder, decoder)
    for stack, kept in (("encoder", encoder), ("decoder", decoder)):
        ours, theirs = layer_states(student.model, stack), layer_states(teacher.model, stack)
        assert len(ours) == len(kept)
        assert all(equal(layer, theirs[k]) for layer, k in zip(ours, kept, strict=True))
    rest = {n: t for n, t in student.model.state_dict().items() if ".layers." not in n}
    assert equal(rest, {n: t for n, t in teacher.model.state_dict().items() if n in rest})
    config = student.model.config
    assert (config.encoder_layers, config.decoder_layers) == (len(encoder), len(decoder))
    assert config.num_hidden_layers == len(encoder)


def test_student_and_teacher_share_no_memory(teacher: WhisperBundle) -> None:
    student, _ = shrink_whisper(teacher, decoder_layers_numbers=[0, 0])
    before = {n: t.clone() for n, t in teacher.model.state_dict().items()}
    with torch.no_grad():
        for parameter in student.model.parameters():
            parameter.zero_()
    assert equal(before, dict(teacher.model.state_dict()))
    student.model.config.encoder_layers = 99
    student.model.generation_config.max_length = 1
    assert teacher.model.config.encoder_layers == 4
    assert teacher.model.generation_config.max_length == 448


def test_a_full_copy_has_the_teachers_outputs(teacher: WhisperBundle) -> None:
    student, _ = shrink_whisper(teacher, decoder_layers=4)
    assert torch.equal(try_out(student), try_out(teacher))


def test_forced_tokens_are_cleared(teacher: WhisperBundle) -> None:
    forcing = copy.copy(teacher)
    forcing.model = copy.deepcopy(teacher.model)
    forcing.model.config.forced_decoder_ids = [[1, 50259]]
    forcing.model.generation_config.forced_decoder_ids = [[1, 50259]]
    student, _ = shrink_whisper(forcing)
    for config in (student.model.config, student.model.generation_config):
        assert getattr(config, "forced_decoder_ids", None) is None
    assert forcing.model.config.forced_decoder_ids


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ([0, 3], [[1, 0], [1, 2]]),
        ([3, 2, 3], [[0, 0], [0, 2], [1, 1], [2, 0], [2, 2]]),
        ([0, 1], [[1, 0], [1, 1], [1, 2]]),
    ],
    ids=["renumbered", "duplicates", "none left: upper half"],
)
def test_alignment_heads(kept: list[int], expected: list[list[int]]) -> None:
    heads = [[2, 1], [3, 0], [3, 2]]
    assert remap_heads(heads, kept, number_of_heads=3) == expected


def test_alignment_heads_name_layers_that_exist(teacher: WhisperBundle) -> None:
    student, _ = shrink_whisper(teacher, decoder_layers_numbers=[0])
    layers = [layer for layer, _ in student.model.generation_config.alignment_heads]
    assert layers
    assert set(layers) == {0}


def test_word_timestamps_of_a_student(teacher: WhisperBundle) -> None:
    """The original's student raises an IndexError here."""
    student, _ = shrink_whisper(teacher, decoder_layers=1)
    student.model.set_attn_implementation("eager")
    frames = 2 * student.model.config.max_source_positions
    out = student.model.generate(
        torch.zeros(1, 80, frames), language="hi", return_timestamps=True,
        return_token_timestamps=True, max_new_tokens=6,
    )  # fmt: skip
    assert out["token_timestamps"].shape[0] == 1


def test_short_context(teacher: WhisperBundle, tmp_path: Path) -> None:
    student, report = shrink_whisper(teacher, max_source_positions=50)
    assert report.max_source_positions == 50
    ours = student.model.model.encoder.embed_positions.weight
    assert torch.equal(ours, teacher.model.model.encoder.embed_positions.weight[:50])
    assert student.feature_extractor.chunk_length == 1
    assert student.feature_extractor.nb_max_frames == 100
    assert student.model.generation_config.max_initial_timestamp_index <= 50
    save_student(student, tmp_path / "short")
    assert load_whisper(tmp_path / "short").model.config.max_source_positions == 50


def test_all_problems_at_once(teacher: WhisperBundle) -> None:
    with pytest.raises(ConfigError) as caught:
        shrink_whisper(
            teacher, encoder_layers=5, decoder_layers_numbers=[0, 4], max_source_positions=60
        )
    assert len(caught.value.problems) == 3
    text = str(caught.value)
    assert "encoder: 5 layer(s) are asked for" in text
    assert "decoder: layer(s) 4 do not exist" in text
    assert "multiple of 50" in text


@pytest.mark.parametrize("positions", [0, 150, 1500, -50])
def test_context_beyond_the_teachers(teacher: WhisperBundle, positions: int) -> None:
    with pytest.raises(ConfigError, match="max_source_positions"):
        shrink_whisper(teacher, max_source_positions=positions)


def test_compat_reads_lists_as_the_original(teacher: WhisperBundle) -> None:
    _, report = shrink_whisper(teacher, decoder_layers_numbers=[0, -1], compat=True)
    assert report.decoder == [0, 1]


def test_report(teacher: WhisperBundle) -> None:
    student, report = shrink_whisper(teacher, encoder_layers=2)
    total = sum(p.numel() for p in student.model.parameters())
    assert sum(report.after.values()) == total
    assert sum(report.before.values()) == sum(p.numel() for p in teacher.model.parameters())
    assert report.before["embeddings"] == report.after["embeddings"]
    table = report.table()
    assert "encoder layers: 2 (the teacher's 0, 3)" in table
    assert f"{total:,}" in table
    assert json.loads(json.dumps(report.to_dict()))["decoder"] == [0, 3]


def test_nan_is_noticed(teacher: WhisperBundle) -> None:
    student, _ = shrink_whisper(teacher)
    with torch.no_grad():
        student.model.model.encoder.conv1.bias.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        try_out(student)


def test_command(teacher_folder: Path, teacher: WhisperBundle, tmp_path: Path, capsys: Any) -> None:
    target, report = tmp_path / "student", tmp_path / "report.json"
    code = main(
        ["--teacher_checkpoint", str(teacher_folder), "--encoder_layers", "2",
         "--decoder_layers_numbers", "0", "-1", "--save_dir", str(target), "--json", str(report)]
    )  # fmt: skip
    assert code == 0
    assert "decoder layers: 2 (the teacher's 0, 3)" in capsys.readouterr().out
    expected, _ = shrink_whisper(teacher, encoder_layers=2, decoder_layers_numbers=[0, -1])
    student = load_whisper(target)
    assert equal(dict(student.model.state_dict()), dict(expected.model.state_dict()))
    assert student.tokenizer.get_vocab() == teacher.tokenizer.get_vocab()
    assert json.loads(report.read_text("utf-8"))["encoder"] == [0, 3]


def test_command_says_what_is_wrong(teacher_folder: Path, tmp_path: Path, capsys: Any) -> None:
    target = tmp_path / "student"
    code = main(
        ["--teacher_checkpoint", str(teacher_folder), "--decoder_layers", "9",
         "--save_dir", str(target)]
    )  # fmt: skip
    assert code == 1
    assert "decoder: 9 layer(s) are asked for" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize("subfolder", ["", "inner"])
def test_the_teacher_is_never_the_target(tmp_path: Path, capsys: Any, subfolder: str) -> None:
    folder = tiny.tiny_whisper(tmp_path / "upper" / subfolder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "link").symlink_to(folder)
    for target in (folder, tmp_path / "link"):
        code = main(
            ["--teacher_checkpoint", str(tmp_path / "upper"), "--subfolder", subfolder,
             "--decoder_layers", "1", "--save_dir", str(target)]
        )  # fmt: skip
        assert code == 1
        assert "is the teacher's folder" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
