"""The synthetic corpus: same seed, same bytes; interrupted or not; right layouts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_kd.data import speech_commands, synthesis
from espnet_kd.data.librispeech import scan_librispeech
from espnet_kd.data.synthesis import SynthesisPlan, synthesise
from espnet_kd.data.vocabulary import LEXICON, lexicon_lines, random_sentence
from espnet_kd.data.voices import cast
from espnet_kd.errors import DataDirError

PLAN = SynthesisPlan(
    unlabelled_speakers=3,
    unlabelled_utterances=2,
    labelled_speakers=2,
    labelled_utterances=2,
    heldout_speakers=1,
    heldout_utterances=2,
    sid_utterances=2,
)


def digest(root: Path) -> dict[str, str]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    synthesise(root, PLAN, processes=1)
    return root


def test_splits(corpus):
    sizes = {
        split: len(scan_librispeech(corpus / "LibriSpeech", split)[0]) for split in synthesis.SPLITS
    }
    assert sizes == {"train-clean-360": 6, "train-clean-100": 4, "dev-clean": 2, "test-clean": 2}


def test_heldout_speakers_are_heard_nowhere_else(corpus):
    speakers = {
        split: set(scan_librispeech(corpus / "LibriSpeech", split)[0].utt2spk.values())
        for split in synthesis.SPLITS
    }
    assert not speakers["test-clean"] & speakers["train-clean-360"]
    assert not speakers["test-clean"] & speakers["dev-clean"]
    assert speakers["train-clean-100"] < speakers["train-clean-360"]


def test_speech_is_speech(corpus):
    data, _ = scan_librispeech(corpus / "LibriSpeech", "test-clean")
    for path in data.wav_scp.values():
        wave, rate = soundfile.read(path)
        assert rate == 16000
        assert 0.4 < len(wave) / rate < 6
        assert 0.005 < np.sqrt(np.mean(wave**2)) < 0.3


def test_same_seed_same_bytes_even_after_an_interruption(corpus, tmp_path, monkeypatch):
    jobs = synthesis._jobs(tmp_path, PLAN)
    monkeypatch.setattr(synthesis, "_jobs", lambda root, plan: jobs[:2])
    synthesise(tmp_path, PLAN, processes=2)
    partial = tmp_path / "LibriSpeech/train-clean-360/1002/360"
    partial.mkdir(parents=True)
    (partial / "1002-360-0000.flac").write_bytes(b"half")  # killed in the middle of a speaker
    monkeypatch.undo()
    synthesise(tmp_path, PLAN, processes=2)
    assert digest(tmp_path) == digest(corpus)


def test_another_seed_is_another_corpus():
    assert cast(3, 1) != cast(3, 0)
    assert cast(5, 0)[:3] == cast(3, 0)


def test_another_plan_in_the_same_folder_is_refused(corpus):
    with pytest.raises(DataDirError, match="another plan"):
        synthesise(corpus, SynthesisPlan(seed=1))


def test_speaker_identification_layout(corpus):
    lines = (corpus / "VoxCeleb1/iden_split.txt").read_text().splitlines()
    assert len(lines) == 2 * (2 + 3 + 5)
    for line in lines:
        split, name = line.split()
        part = "test" if split == "3" else "dev"
        assert (corpus / "VoxCeleb1" / part / "wav" / name).is_file()
    assert {line.split()[1].split("/")[0] for line in lines} == {"id10001", "id10002"}


def test_keyword_layout(corpus):
    words = {path.name for path in (corpus / "speech_commands").iterdir()}
    assert {"yes", "go", "zero", speech_commands.NOISE} <= words
    for path in corpus.glob("speech_commands*/*/*_nohash_*.wav"):
        assert soundfile.info(str(path)).frames == 16000
    files = list((corpus / "speech_commands").glob("yes/*"))
    shares = [speech_commands.validation_percentage(f.name.split("_nohash_")[0]) for f in files]
    assert sorted(share < 10 for share in shares) == [False, False, True]


@pytest.mark.parametrize("part", ["train", "valid"])
@pytest.mark.parametrize("number", [0, 1, 17])
def test_hashed_names_fall_where_they_should(part, number):
    share = speech_commands.validation_percentage(speech_commands.hashed_name(number, part))
    assert (share < 10) if part == "valid" else (share >= 20)


def test_every_word_has_phones():
    rng = np.random.default_rng(0)
    words = {word for _ in range(300) for word in random_sentence(rng).split()}
    assert words <= LEXICON.keys()
    line = lexicon_lines().splitlines()[0]
    assert line == "AND\tAH0 N D"
