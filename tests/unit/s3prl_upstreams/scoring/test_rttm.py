from __future__ import annotations

import pytest

from espnet_kd.errors import DataDirError
from s3prl_upstreams.scoring.rttm import Turn, read_rttm, write_rttm

GOOD = "SPEAKER a 1    0.50    1.25 <NA> <NA> a_0 <NA>\n"  # as S3PRL's make_rttm writes it


def test_turns_are_read_and_other_lines_passed_over(tmp_path):
    path = tmp_path / "rttm"
    path.write_text(
        ";; a comment\n\nSPKR-INFO a 1 <NA> <NA> <NA> unknown a_0 <NA>\n" + GOOD
        + "SPEAKER b 1 0 2e-1 <NA> <NA> x <NA> <NA>\n" + "SPEAKER a 1 3 1 <NA> <NA> y <NA> <NA>\n"
    )  # fmt: skip
    assert read_rttm(path) == {
        "a": [Turn("a_0", 0.5, 1.75), Turn("y", 3.0, 4.0)],
        "b": [Turn("x", 0.0, 0.2)],
    }


def test_what_is_written_is_read(tmp_path):
    turns = {"b": [Turn("x", 0.125, 1.5)], "a": [Turn("y", 1.0, 2.0), Turn("x", 0.0, 0.25)]}
    write_rttm(tmp_path / "rttm", turns)
    assert read_rttm(tmp_path / "rttm") == turns
    assert (tmp_path / "rttm").read_text().startswith("SPEAKER a 1 1.000 1.000 <NA> <NA> y")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SPEAKER a 1 0.5 1.0 <NA> <NA> x", "8 fields instead of at least 9"),
        ("SPEAKER a 1 zero 1.0 <NA> <NA> x <NA>", "start 'zero' is no number"),
        ("SPEAKER a 1 0 nan <NA> <NA> x <NA>", "duration 'nan' is no number"),
        ("SPEAKER a 1 -1 1.0 <NA> <NA> x <NA>", "starts at 0 or later"),
        ("SPEAKER a 1 1 0.0 <NA> <NA> x <NA>", "lasts longer than 0"),
        ("SPEEKER a 1 1 1.0 <NA> <NA> x <NA>", "'SPEEKER' are not understood"),
    ],
)
def test_a_wrong_line_is_named(line, message, tmp_path):
    path = tmp_path / "rttm"
    path.write_text(GOOD + line + "\n")
    with pytest.raises(DataDirError, match=message) as error:
        read_rttm(path)
    assert f"{path}:2: " in str(error.value)


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    path = tmp_path / "rttm"
    with pytest.raises(DataDirError, match="cannot read"):
        read_rttm(path)
    path.write_bytes(b"SPEAKER \xff")
    with pytest.raises(DataDirError, match="cannot read"):
        read_rttm(path)
