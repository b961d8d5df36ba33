"""Tables of clips beside their audio: columns by their usual names, stretches, what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_kd.data.speech_tables import common_voice_table, read_speech_table
from espnet_kd.errors import DataDirError


def table(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_common_voice(tmp_path):
    file = table(
        tmp_path / "hi" / "train.tsv",
        "client_id\tpath\tsentence\tup_votes",
        f'{"ab" * 64}\tcv_1.mp3\t"एक  दो\t2',
        "cd\tcv_2.mp3\t\t2",
    )
    (tmp_path / "hi" / "clips").mkdir()
    (tmp_path / "hi" / "clips" / "cv_1.mp3").touch()
    data = read_speech_table(file)
    first, second = f"{'ab' * 16}-cv_1", "cd-cv_2"
    assert data.utt2spk == {first: "ab" * 16, second: "cd"}
    assert data.text == {first: '"एक दो'}
    assert data.wav_scp[first] == str(tmp_path / "hi" / "clips" / "cv_1.mp3")
    assert data.wav_scp[second] == str(tmp_path / "hi" / "cv_2.mp3"), "not there: reading it tells"
    assert data.segments == {}


def test_stretches_of_recordings_without_suffix(tmp_path):
    (tmp_path / "audios").mkdir()
    (tmp_path / "audios" / "vid.wav").touch()
    file = table(
        tmp_path / "clean.csv",
        "video_id,start,end,text",
        'vid,0.5,1.25,"واحد, اثنان"',
        "vid,2,3,ثلاثة",
    )
    data = read_speech_table(file)
    assert data.wav_scp == {"vid": str(tmp_path / "audios" / "vid.wav")}
    assert {key: str(span) for key, span in data.segments.items()} == {
        "vid-0000050-0000125": "vid 0.500000 1.250000",
        "vid-0000200-0000300": "vid 2.000000 3.000000",
    }
    assert data.text["vid-0000050-0000125"] == "واحد, اثنان"
    assert set(data.utt2spk.values()) == {"vid"}


def test_columns_with_other_names_and_ids(tmp_path):
    file = table(tmp_path / "a.csv", "clip,who,said,from,till,nr", "x.wav,s1,hello,0,1,n 7")
    roles = {"audio": "clip", "speaker": "who", "text": "said", "start": "from", "end": "till",
             "id": "nr"}  # fmt: skip
    data = read_speech_table(file, roles)
    assert data.text == {"s1-n_7": "hello"}
    assert data.segments["s1-n_7"].recording == "s1-x"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("path,text",), "has no row behind its header"),
        (("name,text", "a,b"), r"no column names the audio files .* it has name, text"),
        (("path,start,end", "a.wav,2,1"), r"a\.csv:2: '2' to '1' is no stretch"),
        (("path,start,end", "a.wav,x,1"), r"'x' to '1' is no stretch"),
        (("path,text", ",b"), r"a\.csv:2: no audio file is named"),
        (("path,text", "a.wav,b", "a.wav,c"), r"a\.csv:3: .*there twice"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, lines, message):
    with pytest.raises(DataDirError, match=message):
        read_speech_table(table(tmp_path / "a.csv", *lines))


def test_a_column_that_is_not_there(tmp_path):
    file = table(tmp_path / "a.csv", "path,text", "a.wav,b")
    with pytest.raises(DataDirError, match="no column 'said' for text"):
        read_speech_table(file, {"text": "said"})
    with pytest.raises(DataDirError, match=r"none\.csv: cannot be read as a table"):
        read_speech_table(tmp_path / "none.csv")


def test_where_a_release_has_its_tables(tmp_path):
    wanted = table(tmp_path / "release" / "hi" / "train.tsv", "path", "a.mp3")
    for root in (tmp_path, tmp_path / "release", tmp_path / "release" / "hi"):
        assert common_voice_table(root, "train", "hi") == wanted
    table(tmp_path / "release2" / "hi" / "train.tsv", "path", "a.mp3")
    with pytest.raises(DataDirError, match=r"hi/train\.tsv is several"):
        common_voice_table(tmp_path, "train", "hi")
    with pytest.raises(DataDirError, match=r"hi/dev\.tsv is not there; give the folder"):
        common_voice_table(tmp_path, "dev", "hi")
