"""Extraction from end to end with tiny models; a run that was killed ends as an unbroken one."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
from tiny_models import tiny_teacher

from espnet_kd.bin import extraction, extraction_job, processes
from espnet_kd.bin.check_codes import main as check_codes_main
from espnet_kd.bin.extract_codebook_indexes import main
from espnet_kd.checkpoints.quantizer import load_quantizer, save_quantizer
from espnet_kd.data.codes import check_codes
from espnet_kd.data.codes_info import read_info
from espnet_kd.data.embeddings import read_embeddings
from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir
from espnet_kd.quantizer import Quantizer, QuantizerConfig
from espnet_kd.tasks.teacher import load_teacher

LENGTHS = {f"utt{i}": 3000 + 1111 * i for i in range(9)}
BATCHES = 6
"""Of a second at most."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A teacher, a quantiser and nine recordings."""
    root = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    tiny_teacher(normalize_waveform=True).save_pretrained(root / "teacher")
    save_quantizer(Quantizer(QuantizerConfig(16, 4, 16)), root / "quantizer")
    make_data(root / "data")
    return root


def make_data(folder: Path, counts: bool = True) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    wavs = {key: str(folder / f"{key}.wav") for key in LENGTHS}
    for key, samples in LENGTHS.items():
        soundfile.write(wavs[key], rng.uniform(-0.3, 0.3, samples), 16000)
    speech = KaldiDir(wavs, dict.fromkeys(wavs, "s"), num_samples=LENGTHS if counts else {})
    write_kaldi_dir(folder, speech)


def command(place: Path, out: Path, *options: str, data: str = "data") -> list[str]:
    return [
        "--data", str(place / data), "--teacher", str(place / "teacher"), "--layer", "2",
        "--quantizer", str(place / "quantizer"), "--batch_seconds", "1", "--out", str(out),
        *options,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory) -> Path:
    """An unbroken run."""
    out = tmp_path_factory.mktemp("whole") / "codes"
    assert main(command(place, out)) == 0
    return out


def codes_in(folder: Path) -> dict[str, np.ndarray]:
    return dict(kaldiio.load_scp(str(folder / "codes.scp")).items())


def same(one: Path, other: Path) -> None:
    left, right = codes_in(one), codes_in(other)
    assert list(left) == list(right) == list(LENGTHS)
    for key in left:
        np.testing.assert_array_equal(left[key], right[key])
    assert (one / "codes.json").read_bytes() == (other / "codes.json").read_bytes()
    assert (one / "utt2num_frames").read_bytes() == (other / "utt2num_frames").read_bytes()


def test_codes_are_those_of_the_layer(place, whole):
    encoder = load_teacher(str(place / "teacher"), {}).encoder
    quantizer = load_quantizer(place / "quantizer")
    for key, codes_TN in codes_in(whole).items():
        assert codes_TN.dtype == np.uint8
        wave_S, _ = soundfile.read(str(place / "data" / f"{key}.wav"), dtype="float32")
        x_TD = encoder(torch.from_numpy(wave_S)[None]).layer_outputs[1][0]
        np.testing.assert_array_equal(codes_TN, quantizer.encode(x_TD, as_bytes=False).numpy())
    found = check_codes(whole / "codes.scp", place / "data", values=True)
    assert (found.utterances, found.codebook_size) == (9, 16)
    assert read_info(whole / "codes.scp").bytes_per_hour == 4 * 50 * 3600


def test_a_finished_folder_is_left_alone(place, whole, monkeypatch, capsys):
    before = {path: path.read_bytes() for path in whole.iterdir()}
    monkeypatch.setattr(extraction, "_work", None)
    assert main(command(place, whole)) == 0
    assert "9 utterances" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in whole.iterdir()} == before


def test_a_finished_folder_that_lost_something_is_told(place, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "codes")
    assert check_codes_main(["--rewrite_scp", "true", str(tmp_path / "codes")]) == 0
    ark = tmp_path / "codes" / "codes.00.ark"
    os.truncate(ark, ark.stat().st_size - 1)
    assert main(command(place, tmp_path / "codes")) == 1
    said = capsys.readouterr().err
    assert "codes.00.ark is cut short inside the record of utt2" in said
    assert "Remove" in said
    (tmp_path / "codes" / "codes.scp").unlink()
    assert main(command(place, tmp_path / "codes")) == 0
    same(tmp_path / "codes", whole)


def killed_after(batches: int, arguments: list[str], done: Path) -> None:
    """Run in a child process that gets SIGKILL when so many batches are stored."""
    child = os.fork()
    if child == 0:
        share = extraction.extract_share

        def killed(*args, **more):
            count = [0]

            def report(_seconds: float) -> None:
                count[0] += 1
                if count[0] == batches:
                    os.kill(os.getpid(), signal.SIGKILL)

            share(*args, **{**more, "report": report})
            done.touch()

        extraction.extract_share = killed
        main(arguments)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL
    assert not done.exists()


def stored_batches(monkeypatch) -> list[list[str]]:
    """The utterances of each batch that is computed."""
    arrays = extraction.Extractor.arrays
    computed: list[list[str]] = []

    def listed(self, waves):
        computed.append(list(waves))
        return arrays(self, waves)

    monkeypatch.setattr(extraction.Extractor, "arrays", listed)
    return computed


@pytest.mark.parametrize("torn", [0, 1, 100])
def test_kill_9_loses_nothing(place, whole, tmp_path, monkeypatch, torn):
    out = tmp_path / "codes"
    killed_after(2, command(place, out), tmp_path / "done")
    assert not (out / "codes.scp").exists()
    ark = out / "codes.00.ark"
    os.truncate(ark, ark.stat().st_size - torn)
    computed = stored_batches(monkeypatch)
    assert main(command(place, out)) == 0
    assert len(computed) == BATCHES - 2 + bool(torn)
    same(out, whole)


def test_processes_share_the_work_and_their_number_may_change(place, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "START_METHOD", "fork")
    out = tmp_path / "codes"
    killed_after(2, command(place, out), tmp_path / "done")
    assert main(command(place, out, "--nj", "2")) == 0
    assert (out / "codes.01.ark").stat().st_size
    same(out, whole)


def test_a_process_that_is_killed_is_told(place, whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(processes, "START_METHOD", "fork")
    out, share = tmp_path / "codes", extraction.extract_share

    def killed(*args, rank=0, **more):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        share(*args, rank=rank, **more)

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "extract_share", killed)
        assert main(command(place, out, "--nj", "2")) == 1
    assert "ended with signal SIGKILL" in capsys.readouterr().err
    assert main(command(place, out)) == 0
    same(out, whole)


def test_a_process_ends_when_the_one_that_started_it_is_gone(monkeypatch):
    processes.end_with_parent()
    for alive in (True, False):
        parent = SimpleNamespace(is_alive=lambda alive=alive: alive)
        monkeypatch.setattr(multiprocessing, "parent_process", lambda parent=parent: parent)
        with contextlib.nullcontext() if alive else pytest.raises(SystemExit):
            processes.end_with_parent()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--layer", "1"], "layer was 2 and is now 1"),
        (["--frames", "published"], "frames was 'teacher' and is now 'published'"),
        (["--num_utts", "5"], "data.utterances was 9 and is now 5"),
        (["--refine_indexes_iters", "1"], "refine_indexes_iters was 5 and is now 1"),
        (["--code_dtype", "int16"], "code_dtype was 'uint8' and is now 'int16'"),
        (["--teacher_conf", "{activation: relu}"], "teacher_conf was {}"),
        (["--quantizer", "other"], "quantizer.weights was"),
        (["--teacher", "trained"], "teacher.weights was"),
    ],
)
def test_another_run_needs_another_folder(place, whole, tmp_path, capsys, change, message):
    torch.manual_seed(1)
    if change[1] == "other":
        save_quantizer(Quantizer(QuantizerConfig(16, 4, 16)), tmp_path / "other")
    if change[1] == "trained":
        tiny_teacher(normalize_waveform=True).save_pretrained(tmp_path / "trained")
    option, value = change
    value = str(tmp_path / value) if value in ("other", "trained") else value
    arguments = command(place, whole)
    if option in arguments:
        arguments[arguments.index(option) + 1] = value
    else:
        arguments += [option, value]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "was begun with other data, teacher, quantiser or options" in said
    assert message in said


def test_models_may_be_moved(place, whole, tmp_path):
    shutil.copytree(place / "teacher", tmp_path / "teacher")
    assert main([*command(place, whole), "--teacher", str(tmp_path / "teacher")]) == 0


def test_changed_data_are_noticed(place, tmp_path, capsys):
    make_data(tmp_path / "speech", counts=False)
    arguments = command(tmp_path, tmp_path / "codes", data="speech")
    arguments[3], arguments[7] = str(place / "teacher"), str(place / "quantizer")
    assert main(arguments) == 0
    soundfile.write(str(tmp_path / "speech" / "utt3.wav"), np.full(5000, 0.1), 16000)
    assert main(arguments) == 1
    assert "data.stamp was" in capsys.readouterr().err


def bad_data(place: Path, tmp_path: Path, spoil) -> list[str]:
    shutil.copytree(place / "data", tmp_path / "speech")
    scp = tmp_path / "speech" / "wav.scp"
    scp.write_text(scp.read_text().replace(str(place / "data"), str(tmp_path / "speech")))
    spoil(tmp_path / "speech")
    arguments = command(tmp_path, tmp_path / "codes", data="speech")
    arguments[3], arguments[7] = str(place / "teacher"), str(place / "quantizer")
    return arguments


def nan(folder: Path) -> None:
    wave_S = np.full(LENGTHS["utt1"], np.nan, np.float32)
    soundfile.write(str(folder / "utt1.wav"), wave_S, 16000, subtype="FLOAT")


def shorter(folder: Path) -> None:
    soundfile.write(str(folder / "utt1.wav"), np.full(4000, 0.1), 16000)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(nan, "utterance utt1.*NaN or infinite"), (shorter, "utterance utt1: has 4000 samples, 4111")],
)
def test_a_bad_recording_is_named_and_the_rest_is_kept(
    place, whole, tmp_path, capsys, monkeypatch, spoil, message
):
    arguments = bad_data(place, tmp_path, spoil)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: utterance utt1")
    assert "--skip_bad true" in said
    computed = stored_batches(monkeypatch)
    assert main([*arguments, "--skip_bad", "true"]) == 0
    assert [key for batch in computed for key in batch] == ["utt0", "utt2"]
    assert "1 left out" in capsys.readouterr().out
    found = codes_in(tmp_path / "codes")
    assert set(found) == set(LENGTHS) - {"utt1"}
    (row,) = (tmp_path / "codes" / "skipped.00.jsonl").read_text().splitlines()
    assert json.loads(row)["id"] == "utt1"


def test_bad_headers_are_all_told_before_anything_is_computed(place, tmp_path, capsys):
    def spoil(folder: Path) -> None:
        (folder / "utt2num_samples").unlink()
        (folder / "utt1.wav").write_bytes(b"RIFF")
        soundfile.write(str(folder / "utt4.wav"), np.full(300, 0.1), 16000)

    arguments = bad_data(place, tmp_path, spoil)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "2 recording(s) cannot be used" in said
    assert "utterance utt1" in said
    assert "utterance utt4" in said
    assert main([*arguments, "--skip_bad", "true"]) == 0
    assert set(codes_in(tmp_path / "codes")) == set(LENGTHS) - {"utt1", "utt4"}


def test_a_teacher_that_gives_nan_names_the_utterance(place, tmp_path, capsys, monkeypatch):
    load = extraction_job.load_teacher_layer

    def broken(*args):
        layer = load(*args)
        given = layer.vectors
        layer.vectors = lambda waves: [x_TD / (len(x_TD) != 29) for x_TD in given(waves)]
        return layer

    monkeypatch.setattr(extraction_job, "load_teacher_layer", broken)
    assert main(command(place, tmp_path / "codes")) == 1
    assert "utterance utt6: teacher" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layer", "9"], "layers 1 to 3"),
        (["--ngpu", "99"], "torch sees"),
        (["--batch_seconds", "0"], "batch_seconds is 0"),
        (["--sample_rate", "8000"], "sample_rate must be the teacher's 16000"),
        (["--quantizer", "nowhere"], "nowhere"),
        (["--data", "nowhere"], "no such folder"),
    ],
)
def test_bad_options_are_one_message(place, tmp_path, capsys, options, message):
    assert main([*command(place, tmp_path / "codes"), *options]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said


def test_a_quantiser_of_another_width(place, tmp_path, capsys):
    save_quantizer(Quantizer(QuantizerConfig(8, 4, 16)), tmp_path / "q")
    assert main([*command(place, tmp_path / "codes"), "--quantizer", str(tmp_path / "q")]) == 1
    assert "is for vectors of width 8, teacher" in capsys.readouterr().err
    save_quantizer(Quantizer(QuantizerConfig(16, 1, 512)), tmp_path / "large")
    arguments = [*command(place, tmp_path / "codes"), "--quantizer", str(tmp_path / "large")]
    assert main(arguments) == 1
    assert "do not fit uint8; choose int16" in capsys.readouterr().err
    assert main([*arguments, "--code_dtype", "int16"]) == 0
    assert codes_in(tmp_path / "codes")["utt1"].dtype == np.int16


def test_vectors_to_train_a_quantiser_on(place, tmp_path, capsys):
    arguments = command(place, tmp_path / "vectors", "--num_utts", "4")
    del arguments[6:8]
    assert main(arguments) == 0
    assert "4 utterances" in capsys.readouterr().out
    found = dict(kaldiio.load_scp(str(tmp_path / "vectors" / "embeddings.scp")).items())
    assert list(found) == list(LENGTHS)[:4]
    assert {x_TD.dtype for x_TD in found.values()} == {np.dtype("float32")}
    whole = read_embeddings([tmp_path / "vectors" / "embeddings.scp"])
    assert whole.shape == (sum(map(len, found.values())), 16)
    arguments[-1] = "random"
    arguments[-2] = "--choose"
    arguments += ["--num_utts", "4", "--out", str(tmp_path / "random"), "--seed", "3"]
    assert main(arguments) == 0
    chosen = set(kaldiio.load_scp(str(tmp_path / "random" / "embeddings.scp")))
    assert len(chosen) == 4
    assert chosen != set(found)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_utts", -1), ("nj", 0), ("ngpu", -1), ("refine_indexes_iters", -1), ("seed", -1),
        ("batch_seconds", "nan"), ("batch_seconds", "inf"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_told_at_once(tmp_path, capsys, option, value):
    arguments = command(tmp_path, tmp_path / "out", f"--{option}", str(value))
    assert main(arguments) == 1
    assert f"{option} is {value}; " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
