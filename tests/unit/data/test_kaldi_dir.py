"""A Kaldi folder is written right, checked completely, and repaired into a copy with a report."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.kaldi_dir import KaldiDir, read_kaldi_dir, write_kaldi_dir
from espnet_kd.data.kaldi_fix import REPORT, fix_kaldi_dir
from espnet_kd.errors import DataDirError


@pytest.fixture
def folder(tmp_path: Path, write_wave) -> Path:
    """Make a good folder of three utterances and two speakers."""
    wavs = {f"s{i % 2}-u{i}": str(write_wave(f"w{i}.wav")) for i in range(3)}
    data = KaldiDir(
        wavs,
        {key: key.split("-")[0] for key in wavs},
        dict.fromkeys(wavs, "GO LEFT"),
        dict.fromkeys(wavs, 16000),
    )
    write_kaldi_dir(tmp_path / "data", data)
    return tmp_path / "data"


def test_round_trip(folder):
    data = read_kaldi_dir(folder, need_text=True)
    assert list(data.wav_scp) == ["s0-u0", "s0-u2", "s1-u1"]
    assert (folder / "spk2utt").read_text() == "s0 s0-u0 s0-u2\ns1 s1-u1\n"
    assert (folder / "utt2num_samples").read_text().splitlines()[0] == "s0-u0 16000"
    assert data.hours == pytest.approx(3 / 3600)
    assert len(data.subset(["s1-u1"])) == 1


def _edit(folder: Path, name: str, change) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


def _swap_lines(data: bytes) -> bytes:
    first, second, *rest = data.splitlines(keepends=True)
    return b"".join([second, first, *rest])


CASES = {
    "unsorted": ("text", _swap_lines, r"text:2: s0-u0 is not in sorted order"),
    "duplicate": ("text", lambda d: d.splitlines(True)[0] + d, r"text:2: s0-u0 is a duplicate"),
    "crlf": ("text", lambda d: d.replace(b"\n", b"\r\n"), r"text:3: ends with a carriage return"),
    "bom": ("text", lambda d: b"\xef\xbb\xbf" + d, r"text:1: starts with a byte-order mark"),
    "nul": ("text", lambda d: d.replace(b"GO", b"G\0O", 1), r"text:1: contains a NUL"),
    "latin1": ("text", lambda d: d.replace(b"GO", b"G\xd6", 1), r"text:1: is not UTF-8.*0xd6"),
    "blank line": ("text", lambda d: b"\n" + d, r"text:1: is blank"),
    "empty text": ("text", lambda d: d.replace(b" GO LEFT", b"", 1), r"text:1: s0-u0 has no value"),
    "no newline": ("text", lambda d: d[:-1], r"text:3: the last line does not end"),
    "text without wav": ("text", lambda d: d + b"zz HI\n", r"text:4: zz has no recording"),
    "wav without text": (
        "text",
        lambda d: b"".join(d.splitlines(True)[1:]),
        r"wav\.scp:1: s0-u0 has no transcript",
    ),
    "no speaker": (
        "utt2spk",
        lambda d: b"".join(d.splitlines(True)[1:]),
        r"wav\.scp:1: s0-u0 has no speaker",
    ),
    "wrong inverse": (
        "spk2utt",
        lambda d: d.replace(b" s0-u2", b""),
        r"utt2spk:2: s0-u2 of speaker s0 is not in spk2utt",
    ),
    "stranger in inverse": (
        "spk2utt",
        lambda d: d.replace(b" s0-u2", b" s0-u2 s9"),
        r"spk2utt:1: s9 is not an utterance of s0",
    ),
    "lost recording": (
        "wav.scp",
        lambda d: d.replace(b"w0.wav", b"w9.wav"),
        r"wav\.scp:1: s0-u0: no such file .*w9\.wav",
    ),
    "command": (
        "wav.scp",
        lambda d: d.replace(b"w0.wav", b"w0.wav |"),
        r"wav\.scp:1: s0-u0 is a command; commands are not run",
    ),
    "bad count": (
        "utt2num_samples",
        lambda d: d.replace(b"16000", b"-1", 1),
        r"utt2num_samples:1: s0-u0: '-1' is not a positive",
    ),
    "empty file": ("text", lambda d: b"", r"text: is empty"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_problem_has_file_and_line(folder, name):
    file, change, message = CASES[name]
    _edit(folder, file, change)
    with pytest.raises(DataDirError, match=message):
        read_kaldi_dir(folder)


@pytest.mark.parametrize("name", CASES)
def test_fix_makes_a_clean_copy_and_reports(folder, tmp_path, name):
    file, change, _ = CASES[name]
    _edit(folder, file, change)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    report = fix_kaldi_dir(folder, tmp_path / "fixed")
    assert check_kaldi_dir(tmp_path / "fixed") == []
    assert (tmp_path / "fixed" / REPORT).read_text().splitlines() == report
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    if name not in ("wrong inverse", "stranger in inverse"):
        assert report


def test_all_problems_come_at_once(folder):
    _edit(folder, "text", lambda d: _swap_lines(d).replace(b"\n", b"\r\n"))
    _edit(folder, "wav.scp", lambda d: d.replace(b"w0.wav", b"w9.wav"))
    messages = [str(problem) for problem in check_kaldi_dir(folder)]
    assert len(messages) == 3 + 1 + 1, messages


def test_missing_folder_and_files_are_named(folder, tmp_path):
    assert "no such folder" in str(check_kaldi_dir(tmp_path / "nowhere")[0])
    with pytest.raises(DataDirError, match=f"^{tmp_path}/nowhere: no such folder; [^\n]*$"):
        read_kaldi_dir(tmp_path / "nowhere")
    (folder / "utt2spk").unlink()
    (folder / "text").unlink()
    messages = [str(problem) for problem in check_kaldi_dir(folder, need_text=True)]
    assert messages == ["utt2spk: is missing", "text: is missing"]


@pytest.mark.parametrize("text", ["🙂 SMILE", "שלום עולם", "日本語 の 文"])
def test_emoji_and_other_scripts_are_fine(folder, text):
    _edit(folder, "text", lambda d: d.replace(b"GO LEFT", text.encode(), 1))
    assert read_kaldi_dir(folder).text["s0-u0"] == text


def test_fix_refuses_to_overwrite_and_to_write_nothing(folder, tmp_path):
    with pytest.raises(DataDirError, match="folder of its own"):
        fix_kaldi_dir(folder, folder)
    _edit(folder, "wav.scp", lambda d: d.replace(b".wav", b".gone"))
    with pytest.raises(DataDirError, match="nothing usable"):
        fix_kaldi_dir(folder, tmp_path / "fixed")


@pytest.mark.parametrize("name", ["wav.scp", "text", "segments"])
def test_fix_never_overwrites_other_data(folder, tmp_path, name):
    other = tmp_path / "other"
    other.mkdir()
    (other / name).write_text("u0 mine\n")
    with pytest.raises(DataDirError, match=f"other holds data already .{name}.*new folder"):
        fix_kaldi_dir(folder, other)
    assert {path.name: path.read_text() for path in other.iterdir()} == {name: "u0 mine\n"}


def test_fix_makes_its_own_copy_anew(folder, tmp_path):
    for _ in range(2):
        fix_kaldi_dir(folder, tmp_path / "fixed")
    assert check_kaldi_dir(tmp_path / "fixed") == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=80))
def test_random_bytes_raise_nothing_else(folder, data):
    (folder / "text").write_bytes(data)
    check_kaldi_dir(folder)
    with contextlib.suppress(DataDirError):
        read_kaldi_dir(folder)
