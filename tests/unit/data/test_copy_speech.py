"""Speech from anywhere becomes a Kaldi folder of 16 kHz recordings, once."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from espnet_kd.bin import prepare_speech
from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.copy_speech import CopyPlan, copy_speech, is_prepared
from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.kaldi_dir import load_tables
from espnet_kd.data.sources import Place, open_source, parse_place
from espnet_kd.data.speech_source import KaldiSource
from espnet_kd.errors import ConfigError, DataDirError

POLICY = AudioPolicy(rate_policy="resample")


@pytest.fixture
def corpus(tmp_path, write_wave) -> Path:
    """A table of a good WAV file, an MP3 file of 48 kHz and a file that is not there."""
    write_wave("good.wav", samples=8000)
    write_wave("loud.mp3", samples=24000, rate=48000)
    lines = ["path,text", "good.wav,one", "loud.mp3,two", "gone.wav,three"]
    (tmp_path / "corpus.csv").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path / "corpus.csv"


def test_only_what_must_be_is_written_anew(tmp_path, corpus):
    source = open_source(f"table:{corpus}", POLICY)
    data = copy_speech([source], tmp_path / "out", CopyPlan(max_bad_share=0.5), {"from": "here"})
    assert data.wav_scp["good"] == str(tmp_path / "good.wav")
    assert data.num_samples == {"good": 8000, "loud": 8000}
    wave_S, rate = soundfile.read(data.wav_scp["loud"])
    assert (len(wave_S), rate) == (8000, 16000)
    assert Path(data.wav_scp["loud"]) == tmp_path / "out" / "audio" / "loud.flac"
    assert data.text == {"good": "one", "loud": "two"}
    assert check_kaldi_dir(tmp_path / "out", need_text=True) == []
    assert "gone.wav: no such file" in (tmp_path / "out" / "skipped.txt").read_text()
    assert is_prepared(tmp_path / "out", {"from": "here"})
    assert not is_prepared(tmp_path / "out", {"from": "elsewhere"})


def test_a_stopped_copy_goes_on_and_another_starts_afresh(tmp_path, corpus):
    plan, out = CopyPlan(max_bad_share=0.5), tmp_path / "out"
    copy_speech([open_source(f"table:{corpus}", POLICY)], out, plan, {"from": "here"})
    written = out / "audio" / "loud.flac"
    before = written.stat().st_mtime_ns
    (out / "wav.scp").unlink()
    assert not is_prepared(out, {"from": "here"})
    copy_speech([open_source(f"table:{corpus}", POLICY)], out, plan, {"from": "here"})
    assert written.stat().st_mtime_ns == before
    copy_speech([open_source(f"table:{corpus}", POLICY)], out, plan, {"from": "elsewhere"})
    assert written.stat().st_mtime_ns > before


def test_too_many_bad_recordings(tmp_path, corpus):
    with pytest.raises(DataDirError, match=r"1 of 3 recordings are unusable, more than 1%.*gone"):
        copy_speech([open_source(f"table:{corpus}", POLICY)], tmp_path / "out")
    assert not (tmp_path / "out" / "wav.scp").exists()


def test_draws_repeat_and_several_sources_get_names(tmp_path, write_wave):
    folders = []
    for name in ("x", "y"):
        folder = tmp_path / name
        folder.mkdir()
        rows = {f"u{i}": write_wave(f"{name}{i}.wav", samples=1000 + i, seed=i) for i in range(6)}
        (folder / "wav.scp").write_text("".join(f"{key} {path}\n" for key, path in rows.items()))
        (folder / "utt2spk").write_text("".join(f"{key} {key}\n" for key in rows))
        folders.append(folder)
    (folders[0] / "text").write_text("".join(f"u{i} word\n" for i in range(6)))

    def drawn(seed: int, out: str) -> list[str]:
        sources = [KaldiSource(folder, POLICY) for folder in folders]
        data = copy_speech(sources, tmp_path / out, CopyPlan(most=5, seed=seed))
        assert data.text == {}, "only one of the sources has transcripts"
        assert data.utt2spk.keys() == data.wav_scp.keys()
        return list(data.wav_scp)

    first = drawn(0, "a")
    assert len(first) == 5
    assert {name[0] for name in first} <= {"x", "y"}
    assert all(name[1:3] == "-u" for name in first)
    assert drawn(0, "b") == first
    assert drawn(1, "c") != first


def test_longer_utterances_are_left_out_on_request(tmp_path, corpus):
    source = open_source(f"table:{corpus}", POLICY)
    with pytest.raises(DataDirError, match="no utterance is left"):
        copy_speech([source], tmp_path / "out", CopyPlan(max_seconds=0.4))


# --- Where speech may come from
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kaldi:a/b", Place("kaldi", "a/b")),
        ("kaldi:a@dev", Place("kaldi", "a", "", "dev")),
        ("table:a@b.csv", Place("table", "a@b.csv")),
        ("commonvoice:a@dev", Place("commonvoice", "a", "", "dev")),
        ("dataset:google/fleurs#hi_in@test", Place("dataset", "google/fleurs", "hi_in", "test")),
        ("dataset:folder@train", Place("dataset", "folder", "", "train")),
    ],
)
def test_places(text, expected):
    assert parse_place(text) == expected


@pytest.mark.parametrize(
    "text", ["librispeech:x", "kaldi:", "x", "commonvoice:a", "dataset:name", "dataset:#c@s"]
)
def test_places_that_make_no_sense(text):
    with pytest.raises(ConfigError, match="write "):
        parse_place(text)


def test_roles_that_a_source_does_not_have(tmp_path):
    with pytest.raises(ConfigError, match=r"no column for text \(known: none\)"):
        open_source(f"kaldi:{tmp_path}", POLICY, columns={"text": "x"})
    with pytest.raises(ConfigError, match=r"no column for start"):
        open_source("dataset:x@y", POLICY, columns={"start": "x"})


def test_rows_of_a_dataset(tmp_path, write_wave):
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    paths = [str(write_wave(f"d{i}.wav", samples=3200, rate=8000, seed=i)) for i in range(2)]
    rows = {"audio": paths, "transcription": ["one", "two"], "id": ["a/1", "a/2"]}
    split = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())
    datasets.DatasetDict({"test": split}).save_to_disk(str(tmp_path / "saved"))
    words = ["--source", f"dataset:{tmp_path}/saved@test", "--columns", "text=transcription"]
    assert prepare_speech.main([*words, "--out", str(tmp_path / "out")]) == 0
    data = load_tables(tmp_path / "out")
    assert data.text == {"a_1": "one", "a_2": "two"}
    assert data.num_samples == {"a_1": 6400, "a_2": 6400}


def test_a_dataset_that_cannot_be_opened_says_what_to_do(tmp_path):
    pytest.importorskip("datasets", reason="the package datasets is not installed")
    with pytest.raises(DataDirError, match=r"loading script, that is never run here"):
        open_source(f"dataset:{tmp_path}/nothing@test", POLICY)


# --- The command
def test_command(tmp_path, corpus, capsys):
    words = ["--source", f"table:{corpus}", "--out", str(tmp_path / "out")]
    assert prepare_speech.main([*words, "--max_bad_share", "0.5"]) == 0
    assert "2 utterances, 0.00 h, with transcripts, prepared" in capsys.readouterr().out
    assert prepare_speech.main([*words, "--max_bad_share", "0.5"]) == 0
    assert "kept" in capsys.readouterr().out
    assert prepare_speech.main([*words, "--columns", "text"]) == 1
    assert "'text' is not ROLE=NAME" in capsys.readouterr().err
    assert prepare_speech.main(words) == 1
    assert "more than 1%" in capsys.readouterr().err


@pytest.mark.parametrize("made_here", [False, True])
def test_no_other_data_is_written_over(tmp_path, corpus, made_here, capsys):
    words = ["--source", f"table:{corpus}", "--max_bad_share", "0.5", "--out", str(tmp_path / "a")]
    assert prepare_speech.main(words) == 0
    if not made_here:
        (tmp_path / "a" / "made_of.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    source = f"kaldi:{tmp_path}@a" if made_here else f"table:{corpus}"
    wanted = "a is the source" if made_here else "text, utt2num_samples, skipped.txt) that was not"
    assert prepare_speech.main(["--source", source, "--out", str(tmp_path / "a")]) == 1
    assert wanted in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")} == before


def test_a_damaged_note_of_the_source_is_none(tmp_path):
    (tmp_path / "made_of.json").write_text("")
    assert not is_prepared(tmp_path, {})


@pytest.mark.parametrize(
    "words",
    [("max_utterances", "-3"), ("max_bad_share", "nan"), ("longest", "-1"), ("sample_rate", "0")],
)
def test_numbers_out_of_range(tmp_path, corpus, words, capsys):
    out = tmp_path / "out"
    command = ["--source", f"table:{corpus}", "--out", str(out), f"--{words[0]}", words[1]]
    assert prepare_speech.main(command) == 1
    assert f"--{words[0]} is {words[1]}" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_in_the_place_of_the_folder(tmp_path, corpus, capsys):
    assert prepare_speech.main(["--source", f"table:{corpus}", "--out", str(corpus)]) == 1
    assert "cannot write" in capsys.readouterr().err
