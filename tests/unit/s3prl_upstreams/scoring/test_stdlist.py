from __future__ import annotations

import pytest

from espnet_kd.errors import DataDirError
from s3prl_upstreams.scoring.stdlist import document_name, read_stdlist

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
GOOD = """<stdlist termlist_filename="benchmark.stdlist.xml" system_id="benchmark">
  <detected_termlist termid="q1" term_search_time="1.0" oov_term_count="1">
    <term file="d1" channel="1" tbeg="0.000" dur="0.00" score="2.5000" decision="YES"/>
    <term file="Audio/d2.wav" channel="1" tbeg="0.000" dur="0.00" score="-0.1" decision="no"/>
  </detected_termlist>
  <detected_termlist termid="q2" term_search_time="1.0" oov_term_count="1">
    <term file="d2" channel="1" tbeg="0.000" dur="0.00" score="1e-1" decision="NO"/>
  </detected_termlist>
</stdlist>
"""


def write(tmp_path, text):
    path = tmp_path / "benchmark.stdlist.xml"
    path.write_text(HEAD + text)
    return path


def test_scores_are_read(tmp_path):
    found = read_stdlist(write(tmp_path, GOOD))
    assert (found.queries, found.documents, len(found)) == (("q1", "q2"), ("d1", "d2"), 3)
    assert found.query_N.tolist() == [0, 0, 1]
    assert found.document_N.tolist() == [0, 1, 1]
    assert found.score_N.tolist() == [2.5, -0.1, 0.1]
    assert found.decision_N.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("file", "name"), [("a.b", "a.b"), ("x/y/a.wav", "a"), ("a.WAV ", "a"), ("wav", "wav")]
)
def test_names_of_documents(file, name):
    assert document_name(file) == name


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('score="1e-1"', 'score="high"', 8, "score 'high' is no finite number"),
        ('score="1e-1"', 'score="inf"', 8, "score 'inf' is no finite number"),
        ('score="1e-1"', "", 8, "the attribute score is missing"),
        ('decision="NO"', 'decision="MAYBE"', 8, "'MAYBE' is neither YES nor NO"),
        ('termid="q2"', 'termid="q1"', 7, "query q1 was there before"),
        ("Audio/d2.wav", "d1", 5, "document d1 was there before"),
        ("</stdlist>", "", 11, "no well-formed XML"),  # where the file ends
    ],
)
def test_what_is_wrong_is_named_with_its_line(old, new, line, message, tmp_path):
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(DataDirError, match=message) as error:
        read_stdlist(path)
    assert f"{path}:{line}: " in str(error.value)


def test_other_files(tmp_path):
    with pytest.raises(DataDirError, match="cannot read"):
        read_stdlist(tmp_path / "nowhere.xml")
    with pytest.raises(DataDirError, match="holds no scores"):
        read_stdlist(write(tmp_path, "<stdlist/>"))
    with pytest.raises(DataDirError, match="outside any detected_termlist"):
        read_stdlist(write(tmp_path, '<stdlist><term file="d" score="1" decision="NO"/></stdlist>'))


def test_entities_are_refused(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY x "xxxxxxxx">\n<!ENTITY y "&x;&x;&x;&x;">]>'
    with pytest.raises(DataDirError, match=r"stdlist\.xml:2: declares an entity"):
        read_stdlist(write(tmp_path, bomb + GOOD))
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><stdlist>&x;</stdlist>'
    with pytest.raises(DataDirError, match="declares an entity"):
        read_stdlist(write(tmp_path, outside))
