"""The commands that users type: prepare_data and check_data."""

from __future__ import annotations

import json
import shutil

import pytest

from espnet_kd.bin import check_data, prepare_data, synthesise_corpus
from espnet_kd.data.corpora import parse_corpus
from espnet_kd.data.librispeech import write_chapter
from espnet_kd.errors import DataDirError
from tests.unit.data.test_librispeech import chapter


@pytest.fixture
def libri(tmp_path):
    root = tmp_path / "LibriSpeech"
    for split in ("train-clean-100", "dev-clean"):
        for speaker in ("1", "2"):
            write_chapter(root, split, chapter(speaker, count=6))
    return root


def prepare(libri, out, *options: str) -> None:
    corpus = ["--corpus", f"librispeech:{libri.parent}"]
    splits = ["--splits", "train-clean-100", "dev-clean"]
    prepare_data.main([*corpus, *splits, "--out", str(out), *options])


def test_prepare_and_check(libri, tmp_path, capsys):
    prepare(libri, tmp_path / "data", "--speaker_id", "true")
    assert "12 utterances" in capsys.readouterr().out
    corpus = json.loads((tmp_path / "data/corpus/corpus.json").read_text())
    assert corpus["librispeech"] == str(libri)
    meta = (tmp_path / "data/corpus/VoxCeleb1/iden_split.txt").read_text().splitlines()
    assert sorted(line.split()[0] for line in meta) == ["1"] * 8 + ["2"] * 2 + ["3"] * 2
    check_data.main([str(tmp_path / "data" / split) for split in ("train-clean-100", "dev-clean")])
    assert capsys.readouterr().out.count("good") == 2


def test_prepare_twice_keeps(libri, tmp_path, capsys):
    prepare(libri, tmp_path / "data")
    prepare(libri, tmp_path / "data")
    assert capsys.readouterr().out.count("kept") == 2


def test_another_corpus_or_other_options_are_prepared_anew(libri, tmp_path, capsys):
    prepare(libri, tmp_path / "data")
    other = shutil.copytree(libri, tmp_path / "other" / "LibriSpeech")
    prepare(other, tmp_path / "data")
    assert "kept" not in capsys.readouterr().out
    assert str(other) in (tmp_path / "data/dev-clean/wav.scp").read_text()
    with pytest.raises(SystemExit, match="--skip_bad true"):
        prepare(other, tmp_path / "data", "--min_samples", "1000000")


def test_check_names_bad_audio_and_fails(libri, tmp_path, capsys):
    prepare(libri, tmp_path / "data")
    bad = libri / "dev-clean/1/7/1-7-0003.flac"
    bad.write_bytes(bad.read_bytes()[:400])
    with pytest.raises(SystemExit, match=r"1 problem\(s\)"):
        check_data.main([str(tmp_path / "data/dev-clean"), "--read", "true"])
    assert "utterance 1-7-0003" in capsys.readouterr().err


def test_check_notices_that_a_recording_changed(libri, tmp_path, capsys):
    prepare(libri, tmp_path / "data")
    (libri / "dev-clean/1/7/1-7-0003.flac").write_bytes(
        (libri / "dev-clean/1/7/1-7-0001.flac").read_bytes()
    )
    with pytest.raises(SystemExit):
        check_data.main([str(tmp_path / "data/dev-clean")])
    assert "has 2001 samples, utt2num_samples says 2003" in capsys.readouterr().err


def test_fix_then_good(libri, tmp_path, capsys):
    prepare(libri, tmp_path / "data")
    text = tmp_path / "data/dev-clean/text"
    text.write_text("".join(reversed(text.read_text().splitlines(keepends=True))))
    with pytest.raises(SystemExit):
        check_data.main([str(tmp_path / "data/dev-clean")])
    check_data.main([str(tmp_path / "data/dev-clean"), "--fix", str(tmp_path / "fixed")])
    assert "fixed: 12 utterances" in capsys.readouterr().out


def test_missing_corpus_is_one_line(tmp_path):
    corpus = ["--corpus", f"librispeech:{tmp_path}"]
    with pytest.raises(SystemExit, match="prepare_data: no split 'dev-clean'"):
        prepare_data.main([*corpus, "--out", str(tmp_path / "o"), "--splits", "dev-clean"])


@pytest.mark.parametrize("text", ["nope", "digits", "an4:", "synthetic:/x", ""])
def test_wrong_corpus_names(text):
    with pytest.raises(DataDirError, match="--corpus"):
        parse_corpus(text)


def test_synthesise_refuses_another_plan(tmp_path):
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(SystemExit, match="another plan"):
        synthesise_corpus.main(["--out", str(tmp_path)])


def test_check_names_a_missing_folder_once(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"1 problem"):
        check_data.main([str(tmp_path / "nope")])
    assert capsys.readouterr().err.startswith(f"{tmp_path}/nope: no such folder; ")


@pytest.mark.parametrize("option", ["--seed", "--labelled_speakers", "--processes"])
def test_synthesise_corpus_refuses_numbers_out_of_range(tmp_path, option):
    with pytest.raises(SystemExit, match=f"{option[2:]} is -1; it must be at least"):
        synthesise_corpus.main(["--out", str(tmp_path / "corpus"), option, "-1"])
    assert not (tmp_path / "corpus").exists()
