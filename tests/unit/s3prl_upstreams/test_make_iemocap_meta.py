"""Tables of IEMOCAP: the sets of S3PRL's own script, in an order that no file system decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from s3prl.downstream.emotion.IEMOCAP_preprocess import preprocess

from espnet_kd.errors import DataDirError
from s3prl_upstreams.make_iemocap_meta import LABELS, SESSIONS, main, make_iemocap_meta

EMOTIONS = ("neu", "hap", "exc", "ang", "sad", "fru", "xxx", "sur")


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Two dialogues per session with all labels, annotators' lines, and a turn without a wave."""
    root = tmp_path / "corpus"
    for number, session in enumerate(SESSIONS, 1):
        for kind in ("impro02", "impro01", "script01_1"):
            write_dialogue(root / session, f"Ses{number:02d}{'FM'[number % 2]}_{kind}")
    return root


def write_dialogue(session: Path, name: str) -> None:
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"]
    waves = session / "sentences/wav" / name
    waves.mkdir(parents=True)
    for index, label in enumerate(EMOTIONS):
        turn = f"{name}_{'FM'[index % 2]}{index:03d}"
        lines.append(f"[{index}.5000 - {index + 1}.0000]\t{turn}\t{label}\t[2.5, 2.5, 2.5]\n")
        lines.append("C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n")
        if index != 4 or "script" not in name:
            (waves / f"{turn}.wav").touch()
    folder = session / "dialog/EmoEvaluation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("".join(lines))
    (folder / "Attribute").mkdir(exist_ok=True)


def keyed(meta) -> list[tuple[str, str, str]]:
    return sorted((turn["path"], turn["label"], turn["speaker"]) for turn in meta)


@pytest.mark.parametrize("fold", range(5))
def test_sets_equal_those_of_s3prl(corpus, tmp_path, fold):
    tables = make_iemocap_meta(corpus, tmp_path / "ours")
    others = [name for name in SESSIONS if name != SESSIONS[fold]]
    for path, names in ((tables[2 * fold], others), (tables[2 * fold + 1], [SESSIONS[fold]])):
        preprocess(str(corpus), names, str(tmp_path / "theirs.json"))
        ours, theirs = (json.loads(p.read_text()) for p in (path, tmp_path / "theirs.json"))
        assert ours["labels"] == theirs["labels"] == LABELS
        assert keyed(ours["meta_data"]) == keyed(theirs["meta_data"])
        assert len(ours["meta_data"]) == len(names) * (5 + 5 + 4)
    assert path.parent.name == SESSIONS[fold]


def test_order_is_that_of_files_and_lines(corpus, tmp_path):
    path = make_iemocap_meta(corpus, tmp_path / "out")[1]
    names = [Path(turn["path"]).stem for turn in json.loads(path.read_text())["meta_data"]]
    assert names == sorted(names, key=lambda name: (name[:-5], int(name[-3:])))
    assert names[0] == "Ses01M_impro01_F000"


def test_hidden_copies_are_passed_over(corpus, tmp_path):
    folder = corpus / "Session1/dialog/EmoEvaluation"
    (folder / "._Ses01M_impro01.txt").write_bytes(b"[\x00\xff\xb0")
    before = make_iemocap_meta(corpus, tmp_path / "a")[1].read_text()
    (folder / "._Ses01M_impro01.txt").unlink()
    assert make_iemocap_meta(corpus, tmp_path / "b")[1].read_text() == before


def test_missing_sessions_are_all_named(corpus, tmp_path):
    (corpus / "Session2").rename(tmp_path / "x")
    (corpus / "Session4").rename(tmp_path / "y")
    with pytest.raises(DataDirError, match="lacks Session2, Session4; give the folder"):
        make_iemocap_meta(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_session_without_usable_turns_is_named(corpus, tmp_path):
    for path in (corpus / "Session3/sentences/wav").rglob("*.wav"):
        path.unlink()
    with pytest.raises(DataDirError, match="with its recording in Session3; needed are"):
        make_iemocap_meta(corpus, tmp_path / "out")


def test_command_line(corpus, tmp_path, capsys):
    assert main([str(corpus), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out.split()
    assert len(printed) == 10
    assert main([str(corpus), "--out", str(tmp_path / "out")]) == 0  # again is no problem
    assert main([str(tmp_path), "--out", str(tmp_path / "no")]) == 1
    assert "lacks Session1" in capsys.readouterr().err
