"""SUPERB's layouts: one table, swept; same seed, same bytes; nothing in two splits."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_kd.data import superb
from espnet_kd.data.digits import Digits
from espnet_kd.data.grammar import DIGIT_CODES, HOUSEHOLD
from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.styles import STYLES, Style
from espnet_kd.data.superb import LAYOUTS, find_layouts, prepare_superb
from espnet_kd.data.superb_job import Extent, LayoutJob
from espnet_kd.data.superb_ks import STANDS_FOR
from espnet_kd.data.superb_qbe import write_queries
from espnet_kd.data.superb_sd import Turn, mix
from espnet_kd.data.talkers import DigitTalker, indexes, restyle
from espnet_kd.data.vocabulary import COMMANDS, DIGITS
from espnet_kd.errors import ConfigError, DataDirError
from tests.unit.data.stand_in_digits import make_superb, stand_in_digits, tone


@pytest.fixture(scope="module")
def digits() -> Digits:
    return stand_in_digits()


@pytest.fixture(scope="module")
def data(digits, tmp_path_factory) -> Path:
    """All layouts of the stand-in people, tiny."""
    return make_superb(digits, tmp_path_factory.mktemp("superb"))


@pytest.fixture
def talker(digits) -> DigitTalker:
    return DigitTalker(digits, np.random.default_rng(0))


def digest(root: Path) -> dict[str, str]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    place = str(root).encode()  # wav.scp has absolute paths
    return {
        str(path.relative_to(root)): hashlib.sha256(
            path.read_bytes().replace(place, b"")
        ).hexdigest()
        for path in files
    }


def table(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


# The table of layouts


def test_every_task_once():
    names = [layout.task for layout in LAYOUTS]
    assert sorted(names) == sorted(["pr", "asr", "ks", "qbe", "sid", "asv", "sd", "ic", "sf", "er"])
    assert [layout.task for layout in find_layouts(["SD", "er"])] == ["sd", "er"]
    assert find_layouts([]) == list(LAYOUTS)


def test_unknown_tasks_are_all_named():
    with pytest.raises(ConfigError, match=r"(?s)no task 'se'.*no task 'st'"):
        find_layouts(["se", "asr", "st"])


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.task)
def test_layout(layout, data):
    """Each is there, every recording is 16 kHz mono speech, and nothing is left half written."""
    assert set(layout.base) == set(superb.KINDS) or len(layout.extents) == len(superb.SIZES)
    folder = data / layout.folder
    waves = [*folder.rglob("*.wav"), *folder.rglob("*.flac")]
    assert len(waves) >= 4
    for path in waves:
        wave, rate = soundfile.read(path, dtype="float32")
        assert (rate, wave.ndim) == (16000, 1)
        assert 0.001 < np.abs(wave).max() < 1
    assert not list(folder.rglob("*partial*"))


def test_seeds_interruptions_and_other_tasks(digits, data, tmp_path, monkeypatch):
    """Task by task, cut short in between: the bytes are the same; another seed has others."""
    make_superb(digits, tmp_path / "a", tasks=["sf"], processes=1)
    monkeypatch.setattr(superb, "write_text", interrupted(superb.write_text))
    with pytest.raises(KeyboardInterrupt):
        make_superb(digits, tmp_path / "a", tasks=["asr"])
    monkeypatch.undo()
    make_superb(digits, tmp_path / "a", processes=1)
    assert digest(tmp_path / "a") == digest(data)
    make_superb(digits, tmp_path / "b", tasks=["sf"], seed=1)
    texts = [root / "SNIPS/all.iob.snips.txt" for root in (data, tmp_path / "b")]
    assert texts[0].read_text() != texts[1].read_text()


def interrupted(write):
    def write_text(path, text):
        if Path(path).name == superb.DONE:
            raise KeyboardInterrupt
        write(path, text)

    return write_text


def test_what_is_complete_is_kept_and_what_was_removed_is_made_again(digits, tmp_path):
    make_superb(digits, tmp_path, tasks=["sf"])
    wave = next((tmp_path / "SNIPS/test").glob("*.wav"))
    wave.write_bytes(b"mine")
    make_superb(digits, tmp_path, tasks=["sf"])
    assert wave.read_bytes() == b"mine"
    (tmp_path / "SNIPS" / superb.DONE).unlink()
    make_superb(digits, tmp_path, tasks=["sf"])
    assert wave.read_bytes() != b"mine"


def test_another_corpus_in_the_same_folder_is_refused(digits, data):
    with pytest.raises(DataDirError, match="another corpus, size or seed"):
        make_superb(digits, data, seed=1)


def test_corpora_that_cannot_say_everything_are_refused(tmp_path):
    with pytest.raises(DataDirError, match="only synthetic and digits"):
        prepare_superb("an4:somewhere", tmp_path)
    assert not list(tmp_path.iterdir())


def test_numbers_out_of_range_leave_no_stamp(tmp_path):
    with pytest.raises(ConfigError, match=r"(?s)seed is -1.*processes is 0"):
        prepare_superb("synthetic", tmp_path, seed=-1, processes=0)
    assert not list(tmp_path.iterdir())


# The layouts one by one; the tests of s3prl_upstreams read them with S3PRL's own classes


def test_keywords(data):
    train = {path.name for path in (data / "speech_commands").iterdir() if path.is_dir()}
    assert train == {*list(COMMANDS)[:8], "eight", "nine", "_background_noise_"}
    test = {path.name for path in (data / "speech_commands_test").iterdir()}
    assert test == {*list(COMMANDS)[:8], "_unknown_", "_silence_"}
    assert STANDS_FOR["zero"] == "yes"


def test_trials_are_of_speakers_that_training_does_not_know(data):
    root = data / "VoxCeleb1_ASV"
    trials = table(root / "veri_test.txt")
    assert Counter(label for label, _, _ in trials) == {"1": 2, "0": 2}
    for label, a, b in trials:
        assert (label == "1") == (a.split("/")[0] == b.split("/")[0])
        assert a != b
        assert (root / "test/wav" / a).is_file()
        assert (root / "test/wav" / b).is_file()
    train, test = ({p.name for p in (root / part / "wav").iterdir()} for part in ("dev", "test"))
    assert len(train) == len(test) == 2
    assert not train & test
    lengths = [soundfile.info(str(path)).frames for path in root.rglob("*.wav")]
    assert min(lengths) >= 64000


def test_intents(data):
    root = data / "fluent_speech_commands_dataset"
    rows = [line.split(",") for line in (root / "data/train_data.csv").read_text().splitlines()]
    assert rows[0] == ["", "path", "speakerId", "transcription", "action", "object", "location"]
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(12)]
    for row in rows[1:]:
        assert row[3].split() == row[4:]
        assert (root / row[1]).is_file()
        assert row[1].startswith(f"wavs/speakers/{row[2]}/")
    for column, values in ((4, 4), (5, 3), (6, 3)):
        assert len({row[column] for row in rows[1:]}) == values


def test_sessions_share_no_recording(data):
    root = data / "IEMOCAP"
    for number in range(1, 6):
        session = root / f"Session{number}"
        (dialogue,) = (session / "dialog/EmoEvaluation").glob("*.txt")
        turns = [line.split("\t") for line in dialogue.read_text().splitlines() if line[:1] == "["]
        assert Counter(turn[2] for turn in turns) == {style.label: 2 for style in STYLES}
        names = {path.stem for path in session.rglob("*.wav")}
        assert names == {turn[1] for turn in turns}
    parts = [set(indexes(f"fold{number}")) for number in range(1, 6)]
    assert set.union(*parts) == set(indexes("train"))
    assert sum(map(len, parts)) == len(indexes("train"))


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_conversations(data, split):
    """A good Kaldi folder, RTTM and segments agree, and two people talk over each other."""
    folder = data / "diarization" / split
    assert check_kaldi_dir(folder) == []
    spans = [(r, float(a), float(b)) for _, r, a, b in table(folder / "segments")]
    turns = [
        (row[1], float(row[3]), float(row[3]) + float(row[4])) for row in table(folder / "rttm")
    ]
    assert np.allclose([s[1:] for s in sorted(spans)], [t[1:] for t in sorted(turns)], atol=2e-4)
    for recording, seconds in table(folder / "reco2dur"):
        path = dict(table(folder / "wav.scp"))[recording]
        assert float(seconds) == pytest.approx(soundfile.info(path).duration, abs=1e-4)
        mine = [row for row in table(folder / "rttm") if row[1] == recording]
        first, second = (float(mine[i][3]) for i in (0, 2))  # first turns of both speakers
        assert mine[0][7] != mine[2][7]
        assert edges(soundfile.read(path)[0]) == pytest.approx(
            (first, max(float(row[3]) + float(row[4]) for row in mine)), abs=0.003
        )
        assert first < second < first + float(mine[0][4])


def edges(wave: np.ndarray) -> tuple[float, float]:
    """Seconds at which the tones begin and end; the noise around them is far softer."""
    loud = np.flatnonzero(np.abs(wave) > 0.02)
    return loud[0] / 16000, loud[-1] / 16000


def test_a_mixture_is_the_sum_of_its_turns(talker):
    wave = np.full(1600, 0.25, np.float32)
    job = LayoutJob(Path(), talker, Extent(2, 1, 2, 1), talker.rng)
    mixed = mix(job, [Turn(0, 0, wave), Turn(1, 800, wave)])
    assert len(mixed) == 2400 + 4000
    assert mixed[:800] == pytest.approx(0.25, abs=0.01)
    assert mixed[800:1600] == pytest.approx(0.5, abs=0.01)
    assert mixed[2400:] == pytest.approx(0.0, abs=0.01)


def test_queries_and_where_they_are(talker, tmp_path):
    texts = ["one two", "two three four", "five one", "six six", "seven", "two"]
    left = iter(texts)
    talker.grammar = replace(DIGIT_CODES, sentence=lambda rng: next(left))
    write_queries(LayoutJob(tmp_path, talker, Extent(2, 3, 1, 4), talker.rng))
    # Words that are heard, in turn: one, three, five, seven to dev; two, four, six to eval.
    found = table(tmp_path / "scoring/groundtruth_quesst14_dev/quesst14_dev.rttm")
    pairs = [(row[5][-1], row[1][-1]) for row in found]
    assert pairs == [("1", "1"), ("1", "3"), ("2", "2"), ("3", "3"), ("4", "5")]
    assert all(row[0] == "LEXEME" for row in found)
    found = table(tmp_path / "scoring/groundtruth_quesst14_eval/quesst14_eval.rttm")
    pairs = [(row[5][-1], row[1][-1]) for row in found]
    two = [("1", "1"), ("1", "2"), ("1", "6")]
    assert pairs == [*two, ("2", "2"), ("3", "4"), *(("4", d) for _, d in two)]


def test_few_speakers_say_more(talker):
    job = LayoutJob(Path(), talker, Extent(10, 4, 6, 3), talker.rng)
    assert (len(job.speakers("train")), job.utterances("train")) == (4, 10)
    assert (len(job.speakers("test")), job.utterances("test")) == (4, 5)  # 18 of 4, rounded up
    assert job.share("test", 6) == 3


# What is said, and how


@pytest.mark.parametrize("grammar", [HOUSEHOLD, DIGIT_CODES], ids=["household", "digits"])
def test_grammar(grammar):
    meanings = [(c.action, c.object, c.location) for c in grammar.commands]
    assert len(set(meanings)) == len({c.text for c in grammar.commands}) == 36
    for column, values in enumerate((4, 3, 3)):
        assert len({meaning[column] for meaning in meanings[:4]}) == values
    rng = np.random.default_rng(0)
    sentences = [grammar.slot_sentence(rng) for _ in range(200)]
    assert all(len(s.words) == len(s.tags) for s in sentences)
    assert {tag for s in sentences for tag in s.tags} == {"O", *grammar.slots}
    heard = {word for _ in range(300) for word in grammar.sentence(rng).split()}
    assert set(grammar.words) <= heard


def test_digits_mean_what_the_docstring_says():
    rng = np.random.default_rng(1)
    for _ in range(100):
        sentence = DIGIT_CODES.slot_sentence(rng)
        tags = list(sentence.tags)
        for i, word in enumerate(sentence.words):
            if word == "zero":
                assert tags[i : i + 3] == ["O", "number", "number"]
            if word == "nine":
                assert tags[i : i + 2] == ["O", "code"]
        assert tags.count("number") == 2 * sentence.words.count("zero")
        assert tags.count("code") == sentence.words.count("nine")


@pytest.mark.parametrize(("part", "allowed"), [("test", range(5)), ("dev", range(5, 10))])
def test_parts_share_no_recording_and_none_comes_twice_early(talker, digits, part, allowed):
    said = [talker.speak(1, "seven", part) for _ in range(5)]
    expected = [digits["bert", 7, index] for index in allowed]
    assert sorted(map(len, said)) == sorted(map(len, expected))


def test_missing_recordings_are_named(digits, tmp_path):
    few = {key: wave for key, wave in digits.items() if key[:2] != ("bert", 3)}
    talker = DigitTalker(few, np.random.default_rng(0))
    with pytest.raises(DataDirError, match="no train recording of three by bert"):
        talker.speak(1, "one three", "train")


def test_styles_change_recordings(talker):
    wave = tone(0, 0, 15)
    slow = restyle(wave, Style("sad", tape=0.8))
    assert len(slow) == len(wave) * 10 // 8
    assert np.abs(restyle(wave, Style("x", tremolo=1.0))).min() < np.abs(wave).max()
    assert np.array_equal(restyle(wave, STYLES[0]), wave)
    quiet, loud = (talker.utterance(0, "two", "train", Style("x", volume_db=d)) for d in (-6, 6))
    assert np.abs(loud).max() > 2 * np.abs(quiet).max()


def test_synthetic_voices(tmp_path):
    """The engine's part: the same bytes from another process, and speech of every layout's kind."""
    for name in ("a", "b"):
        prepare_superb("synthetic", tmp_path / name, size="tiny", tasks=["qbe"], processes=1)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    prepare_superb("synthetic", tmp_path / "a", size="tiny", tasks=["er"], processes=1)
    rms = {}
    for path in (tmp_path / "a/IEMOCAP").rglob("*.txt"):
        for line in path.read_text().splitlines():
            if line.startswith("["):
                _, turn, label, _ = line.split("\t")
                wave, _ = soundfile.read(next(path.parents[2].rglob(f"{turn}.wav")))
                rms.setdefault(label, []).append(np.sqrt(np.mean(wave**2)))
    assert np.mean(rms["ang"]) > 2 * np.mean(rms["neu"]) > 2 * np.mean(rms["sad"])
    assert json.loads((tmp_path / "a/superb.json").read_text())["corpus"] == "synthetic"
    assert set(DIGITS) & set(HOUSEHOLD.words)
