"""bin.superb_score from files to table, page, JSON and plots; its refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from espnet_kd.bin import superb_score as command
from espnet_kd.evaluation.superb import costs
from tests.unit.evaluation.made_up import colours
from tests.unit.evaluation.superb_made_up import SCORES, score, write_runs, write_score

PROFILE = {
    "parameters": {"total": 26_448_448},
    "superb_macs": {"total": 501_624_271_296},
    "time": {"rtf_cpu": 0.05},
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    models = [
        {"name": "big", "role": "teacher", "parameters": 94.7, "rtf": 0.2,
         "scores": {**SCORES.nested(), "PR": 5.4, "ASR": {"WER": 6.4}}},
        {"name": "small", "parameters": 20, "macs": 400, "scores": SCORES.nested()},
    ]  # fmt: skip
    path = tmp_path / "RESULTS.json"
    path.write_text(json.dumps({"models": models}))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return write_runs(tmp_path / "runs")


def test_everything_at_once(tmp_path, results, runs, capsys) -> None:
    profile, out = tmp_path / "profile.json", tmp_path / "out"
    profile.write_text(json.dumps(PROFILE))
    words = [str(results), "--exp", f"<tiny>={runs}", "--model", f"<tiny>={profile}"]
    rows = ["--published", "HuBERT Base, DPHuBERT,FBANK,USAD-Small"]
    words += ["--role", "<tiny>=baseline", *rows]
    assert command.main([*words, "--out", str(out)]) == 0
    names = {"superb.md", "superb.json", "superb.html", "superb_s.png", "overall.png"}
    assert {path.name for path in out.iterdir()} == names
    said = capsys.readouterr().out
    assert re.search(r"^\| <tiny> \| baseline \| 26\.45 \| 501\.6 \| 0\.05 \| 7\.72 \|", said, re.M)
    assert re.search(r"^\| HuBERT Base \| published \| 94\.7 \| 1669 \| – \| 5\.41 \|", said, re.M)
    assert all(str(out / name) in said for name in names)

    page = (out / "superb.html").read_text(encoding="utf-8")
    assert "&lt;tiny&gt;" in page
    assert "<tiny>" not in page
    assert len(re.findall(r'src="data:image/png;base64,[\w+/=]{1000,}"', page)) == 2
    assert "mean position over the ten tasks" in page
    assert "rows counted here do not" in page, "MACs follow two rules"
    assert f"<code>{runs}/er/fold3/score.json</code>" in page
    for name in ("superb_s.png", "overall.png"):
        assert colours(out / name) > 50
    markdown = (out / "superb.md").read_text(encoding="utf-8")
    assert f"`exp/PR/dev-best.ckpt` | stock | `{runs}/pr/score.json` |" in markdown
    assert "## Sources" in markdown

    # Its own JSON is an input like any other.
    written = json.loads((out / "superb.json").read_text())
    assert command.main([str(out / "superb.json"), *rows]) == 0
    table = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("|")]
    assert [line for line in table.splitlines() if line.startswith("|")] == lines
    assert len(written["models"]) == len(lines) - 2 == 7


def test_published_rows_can_be_left_out_or_chosen(results, capsys) -> None:
    assert command.main([str(results), "--published", "no"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| big", "| small"]
    assert lines[2].endswith("| 1.4 |")
    assert lines[3].endswith("| 1.6 |")
    for words in ([], ["--published", "true"], ["--published", "YES", "--allow_missing", "false"]):
        assert command.main([str(results), *words]) == 0
        assert capsys.readouterr().out.count(" | published | ") == 24
    assert command.main(["--published", "false", "--allow_missing", str(results)]) == 0
    assert " published " not in capsys.readouterr().out


def test_costs_are_counted_from_a_model(results, monkeypatch, capsys) -> None:
    asked = []
    monkeypatch.setattr(costs, "_count", lambda place: asked.append(place) or PROFILE)
    command.main([str(results), "--model", "small=armhubert", "--published", "no"])
    assert asked == ["armhubert"]
    assert "| small | student | 26.45 | 501.6 | 0.05 |" in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert command.main([str(word) for word in words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("error: ") == 1
    return said.err


def test_missing_tasks_are_named_unless_allowed(tmp_path, capsys) -> None:
    runs = write_runs(tmp_path / "runs", folds=2)
    (runs / "qbe" / "score.json").unlink()
    write_score(runs / "asr", score("ASR", "WER", 9.0, split="dev-clean"))
    said = refused(capsys, "--exp", f"tiny={runs}")
    assert "tiny lacks ASR WER, QbE MTWV, ER (2 of 5 folds, without fold3, fold4, fold5)" in said
    assert "tiny: passed over asr/score.json: ASR of split 'dev-clean', not of the test" in said
    assert "tiny: ER is the mean of 2 of 5 folds" in said
    said = refused(capsys, "--exp", f"tiny={runs}", "--allow_missing", "false")
    assert command.main(["--exp", f"tiny={runs}", "--allow_missing", "true"]) == 0
    rows = capsys.readouterr().out.splitlines()
    (row,) = (line for line in rows if line.startswith("| tiny"))
    assert row.endswith("| 61.36 (2 of 5 folds, without fold3, fold4, fold5) | – | – | – |")


def test_wrong_words(tmp_path, results, capsys) -> None:
    said = refused(capsys, results, "--model", "smal_l=armhubert", "--role", "x=teacher")
    assert "--model smal_l: no such model in RESULTS.json or --exp; did you mean small?" in said
    assert "--role x: no such model" in said
    said = refused(capsys, results, "--exp", "tiny", "a=b", "a=c")
    assert "'tiny' is not of the form NAME=VALUE" in said
    assert "a is given twice" in said
    assert "role is 'pupil'" in refused(capsys, results, "--role", "small=pupil")
    assert "no row DPHubert2" in refused(capsys, results, "--published", "DPHubert2")
    assert "cannot read" in refused(capsys, tmp_path / "gone.json")
    assert "small is there 2 times" in refused(capsys, results, results)


def test_a_report_that_cannot_be_written(tmp_path, results, capsys) -> None:
    (tmp_path / "file").touch()
    assert command.main([str(results), "--out", str(tmp_path / "file" / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert str(tmp_path / "file" / "out") in said


def test_names_of_published_rows_are_taken(tmp_path, capsys) -> None:
    runs = write_runs(tmp_path / "runs")
    assert "FBANK is there 2 times" in refused(capsys, "--exp", f"FBANK={runs}")


def test_a_profile_without_superb_macs(tmp_path, results, capsys) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"parameters": {"total": 1}}))
    said = refused(capsys, results, "--model", f"small={profile}")
    assert "macs is not in it; write it with espnet_kd.bin.profile DIR --superb --json" in said
