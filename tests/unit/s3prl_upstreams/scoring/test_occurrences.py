from __future__ import annotations

import numpy as np
import pytest

from espnet_kd.errors import DataDirError
from s3prl_upstreams.scoring.occurrences import Occurrences, read_ground_truth, read_pairs
from s3prl_upstreams.scoring.stdlist import Detections

TLIST = """<?xml version="1.0" encoding="UTF-8"?>
<termlist ecf_filename="truth.ecf.xml" language="multiple" version="1">
<term termid="q1"><termtext>q1</termtext></term>
<term termid="q2"><termtext> cat </termtext></term>
<term termid="q3"><termtext>cat</termtext></term>
<term termid="q4"><termtext>nobody_says_it</termtext></term>
</termlist>
"""
ECF = """<ecf source_signal_duration="9.0" version="1">
<excerpt audio_filename="Audio/d1.wav" channel="1" tbeg="0.000" dur="4.36" source_type="x"/>
<excerpt audio_filename="Audio/d2.wav" channel="1" tbeg="0.000" dur="4.64" source_type="x"/>
</ecf>
"""
RTTM = """SPEAKER d1 1 0.000 4.360 <NA> <NA> SELF <NA>
LEXEME d1 1 0.000 4.360 q1 lex SELF <NA>
LEXEME d1 1 1.000 0.360 q1 lex SELF <NA>
LEXEME d2 1 0.000 4.640 cat lex SELF <NA>
LEXEME d3 1 0.000 4.640 NO_KEYWORD lex SELF <NA>
"""


def ground_truth(folder, **texts):
    for name, text in {"tlist.xml": TLIST, "ecf.xml": ECF, "rttm": RTTM, **texts}.items():
        (folder / f"truth.{name}").write_text(text)
    return folder


def searched(queries, documents):
    count = len(queries) * len(documents)
    grid = np.indices((len(queries), len(documents))).reshape(2, -1)
    return Detections(queries, documents, *grid, np.zeros(count), np.zeros(count, dtype=bool))


def test_a_folder_of_quesst(tmp_path):
    truth = read_ground_truth(ground_truth(tmp_path))
    assert truth.queries == ("q1", "q2", "q3", "q4")
    assert truth.documents == ("d1", "d2")
    assert truth.pairs == {("q1", "d1"), ("q2", "d2"), ("q3", "d2")}
    some = truth.restricted(searched(("q2", "q1"), ("d2",)))
    assert some == Occurrences(("q1", "q2"), ("d2",), frozenset({("q2", "d2")}))


def test_ids_are_found_too(tmp_path):
    folder = ground_truth(tmp_path, rttm="LEXEME d2 1 0 1 q4 lex SELF <NA>\n")
    assert read_ground_truth(folder).pairs == {("q4", "d2")}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rttm", "LEXEME d1 1 0.0 4.3\n", r"truth\.rttm:1: 5 fields"),
        ("rttm", RTTM + "LEXEME d9 1 0 1 cat lex x\n", r"truth\.rttm:6: document d9 is not in"),
        ("ecf.xml", "<ecf/>", r"truth\.ecf\.xml lists no documents"),
        ("ecf.xml", "<ecf>\n<excerpt channel='1'/></ecf>", r"ecf\.xml:2: .* audio_filename"),
        ("tlist.xml", "<termlist/>", r"truth\.tlist\.xml lists no queries"),
        ("tlist.xml", TLIST.replace("q2", "q1"), r"tlist\.xml:4: query q1 as in line 3"),
    ],
)
def test_what_is_wrong_is_named(name, text, message, tmp_path):
    with pytest.raises(DataDirError, match=message):
        read_ground_truth(ground_truth(tmp_path, **{name: text}))


def test_a_folder_needs_one_file_of_each_kind(tmp_path):
    ground_truth(tmp_path)
    (tmp_path / "other.rttm").write_text(RTTM)
    with pytest.raises(DataDirError, match=r"holds 2 files \*\.rttm instead of one"):
        read_ground_truth(tmp_path)
    (tmp_path / "truth.ecf.xml").unlink()
    with pytest.raises(DataDirError, match=r"holds 0 files \*\.ecf\.xml"):
        read_ground_truth(tmp_path)


def test_a_table(tmp_path):
    found = searched(("q1", "q2"), ("d1", "d2"))
    path = tmp_path / "truth.tsv"
    path.write_text("q1\td2.wav\n\nq1\td1\n")
    expected = frozenset({("q1", "d1"), ("q1", "d2")})
    assert read_pairs(path, found) == Occurrences(("q1", "q2"), ("d1", "d2"), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 d1\n", r"truth\.tsv:1: expected query<TAB>document"),
        ("q1\td1\n\nq1\td1\n", r"truth\.tsv:3: the same pair as in line 1"),
        (
            "q1\td9\nq8\td1\nq9\td1\n",
            r"2 query name\(s\) without scores: q8 \(line 2\), q9 \(line 3\); .* d9 \(line 1\)",
        ),
    ],
)
def test_wrong_tables(text, message, tmp_path):
    path = tmp_path / "truth.tsv"
    path.write_text(text)
    with pytest.raises(DataDirError, match=message):
        read_pairs(path, searched(("q1", "q2"), ("d1", "d2")))
