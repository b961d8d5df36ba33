from __future__ import annotations

import pytest

from espnet_kd.errors import DataDirError
from s3prl_upstreams.corpus.libriphone import LibriPhoneDataset
from s3prl_upstreams.corpus.snips import SnipsDataset
from s3prl_upstreams.corpus.splits import read_split


class Tokenizer:
    """S3PRL's word encoder: indexes after <pad> <eos> <unk>, and <eos> at the end."""

    _vocab2idx = {name: i for i, name in enumerate(["<pad>", "<eos>", "<unk>", "W", "AH0", "N"])}

    def encode(self, text):
        return [self._vocab2idx[phone] for phone in text.split()] + [1]


@pytest.fixture
def libri(tmp_path):
    folder = tmp_path / "dev-clean" / "1" / "2"
    folder.mkdir(parents=True)
    texts = {"1-2-0000": "ONE", "1-2-0001": "ONE A ONE", "1-2-0002": "A", "1-2-0003": "a one"}
    for name in texts:
        (folder / f"{name}.flac").touch()
    (folder / "1-2.trans.txt").write_text("".join(f"{n} {t}\n" for n, t in texts.items()))
    (tmp_path / "lexicon.txt").write_text("ONE\tW AH0 N\nA\tAH0\n\nONE\tN\n")
    return tmp_path


def phone_data(libri, bucket=1, **options):
    lexicon = [str(libri / "lexicon.txt")]
    return LibriPhoneDataset(
        ["dev-clean"], Tokenizer(), bucket, path=str(libri), lexicon=lexicon, num_workers=3,
        **options
    )  # fmt: skip


def test_words_become_phones_by_their_first_pronunciation(libri):
    items = dict(phone_data(libri).items)
    assert items[str(libri / "dev-clean/1/2/1-2-0001.flac")] == [3, 4, 5, 4, 3, 4, 5, 1]


def test_longest_label_first(libri):
    lengths = [len(label) for _, label in phone_data(libri).items]
    assert lengths == [8, 5, 4, 2]
    assert [len(label) for _, label in phone_data(libri, ascending=True).items] == lengths[::-1]


def test_bucketing_takes_windows_of_neighbours_as_superb_does(libri):
    data = phone_data(libri, bucket=2)
    order = [path for path, _ in data.items]
    windows = [[path for path, _ in data[index]] for index in range(len(data))]
    assert windows == [order[0:2], order[1:3], order[2:4], order[2:4]]


def test_a_corpus_smaller_than_a_bucket_is_one_bucket(libri):
    data = phone_data(libri, bucket=6)
    assert all(data[index] == data.items for index in range(len(data)))


def test_words_without_pronunciation_are_all_named(libri):
    (libri / "lexicon.txt").write_text("XX\tN\n")
    with pytest.raises(DataDirError, match=r"(?s)4 word\(s\).*A, ONE, a, one"):
        phone_data(libri)


def test_phones_outside_the_list_are_named(libri):
    (libri / "lexicon.txt").write_text("ONE\tW AH0 N\nA\tAX\n")
    with pytest.raises(DataDirError, match=r"1 phone\(s\).*AX"):
        phone_data(libri)


def test_a_line_of_the_lexicon_without_phones(libri):
    (libri / "lexicon.txt").write_text("ONE\tN\nA\n")
    with pytest.raises(DataDirError, match=r"lexicon.txt:2: the word A has no phones"):
        phone_data(libri)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "1-2-0002.flac").unlink(), r"trans.txt:3: utterance 1-2-0002 has no rec"),
        (lambda f: (f / "1-2.trans.txt").write_text("a x\na y\n"), "utterance a"),
        (lambda f: (f / "1-2.trans.txt").unlink(), "holds no transcripts"),
        (lambda f: (f / "1-2.trans.txt").write_bytes(b"1-2-0000 \xff\n"), "not UTF-8"),
    ],
)
def test_a_broken_split_is_named(libri, change, message):
    change(libri / "dev-clean" / "1" / "2")
    with pytest.raises(DataDirError, match=message):
        read_split(libri, "dev-clean")


def test_an_utterance_that_is_there_twice(libri):
    path = libri / "dev-clean" / "1" / "2" / "1-2.trans.txt"
    path.write_text("1-2-0000 A\n1-2-0000 ONE\n")
    with pytest.raises(DataDirError, match=r"trans.txt:2: utterance 1-2-0000 is there twice"):
        read_split(libri, "dev-clean")


@pytest.fixture
def snips(tmp_path):
    (tmp_path / "train").mkdir()
    lines = []
    for name in ("Ivy-snips-train-0", "Ivy-snips-train-1", "Joey-snips-train-0"):
        (tmp_path / "train" / f"{name}.wav").touch()
        lines.append(f"{name} BOS PLAY {name[-1]} EOS\tO O B-{name[-1]} Play\n")
    (tmp_path / "all.iob.snips.txt").write_text("".join(lines))
    return tmp_path


class Letters:
    def encode(self, text):
        return list(text)


def test_snips_gives_the_transcripts_of_chosen_voices(snips):
    data = SnipsDataset(["train"], Letters(), 1, path=str(snips), train_speakers=["Ivy"])
    assert len(data) == 2
    path, label = data[0]
    assert path == str(snips / "train" / "Ivy-snips-train-0.wav")
    assert "".join(label) == "BOS PLAY 0 EOS\tO O B-0 Play"


def test_snips_without_data_or_tags(snips):
    with pytest.raises(DataDirError, match="no transcribed recordings of Amy"):
        SnipsDataset(["train"], Letters(), 1, path=str(snips), train_speakers=["Amy"])
    (snips / "all.iob.snips.txt").write_text("Ivy-snips-train-0 BOS A EOS\n")
    with pytest.raises(DataDirError, match=r"txt:1: Ivy-snips-train-0 has no slot tags"):
        SnipsDataset(["train"], Letters(), 1, path=str(snips), train_speakers=["Ivy"])
