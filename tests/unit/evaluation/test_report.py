"""The report of made-up runs: every run is on the page, the figures show something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from espnet_kd.bin import report
from espnet_kd.evaluation.plots import Point, pareto_front, plot_curves
from espnet_kd.evaluation.report import headline, tradeoff_panels, write_report
from espnet_kd.evaluation.results import removal_tables, results_markdown
from espnet_kd.evaluation.runs import Run
from espnet_kd.evaluation.summary import Statistic, group
from tests.unit.evaluation.made_up import CURVES, colours, experiment, run, save


def test_command_writes_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = save(experiment(), tmp_path)
    report.main(["--runs", *map(str, paths), "--out", str(tmp_path / "out"), "--title", "A & B"])
    names = {"report.html", "RESULTS.md", "curves.png", "pareto.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert names == {Path(line).name for line in capsys.readouterr().out.split()}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for one in experiment():
        assert one.name in page
        assert one.command in page
    assert "<title>A &amp; B</title>" in page
    assert "7.00 ± 1.41 (n=2)" in page
    assert len(re.findall(r'src="data:image/png;base64,[\w+/=]{1000,}"', page)) == 2
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_figures_are_not_blank(tmp_path: Path) -> None:
    written = write_report(experiment(), tmp_path)
    assert colours(written["pareto.png"]) > 50
    assert colours(written["curves.png"]) > 50


def test_figures_without_data_are_left_out(tmp_path: Path) -> None:
    written = write_report([run("a", "student", 1.0, profile={}, curves="")], tmp_path)
    assert set(written) == {"report.html", "RESULTS.md"}


def test_wer_while_training_and_further_figures(tmp_path: Path) -> None:
    plot_curves({}, tmp_path / "more.png")
    curves = {**CURVES, "valid/wer": [[50.0 * i, 90.0 / (i + 1)] for i in range(6)]}
    labels = {"wer": 4.5, "kept": 0.8}
    one = run("w", "student", 5.0, curves=curves, profile={"labels": labels})
    paths = save([*experiment(), one], tmp_path)
    words = ["--figures", f"What = what={tmp_path / 'more.png'}", "--out", str(tmp_path / "out")]
    report.main(["--runs", *map(str, paths), *words])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 4
    assert "<h2>What = what</h2>" in page
    assert colours(tmp_path / "out" / "wer.png") > 50
    table = (tmp_path / "out" / "RESULTS.md").read_text(encoding="utf-8")
    assert "Labels kept (%) | WER of labels (%) |" in table
    assert re.search(r"\| w .*\| 80 \| 4\.5 \|", table)


def test_a_missing_figure_is_named(tmp_path: Path) -> None:
    paths = save(experiment(), tmp_path)
    words = ["--runs", *map(str, paths), "--out", str(tmp_path / "out"), "--figures", "a=b.png"]
    with pytest.raises(SystemExit, match=r"no such file b\.png"):
        report.main(words)


def test_markup_in_names_is_escaped(tmp_path: Path) -> None:
    write_report([run("<b>x|y</b>", "student", 1.0)], tmp_path)
    assert "<b>x" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert r"<b>x\|y</b>" in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")


def test_results_rows() -> None:
    text = results_markdown(experiment())
    assert "| small student | student | 7.00 ± 1.41 (n=2) | 93.00 ± 1.41 (n=2) | 1 | 2 |" in text
    assert "| alone | baseline | 20.00 | 80.00 | – | – | – | – |" in text


def pruned(picture: Path, seed: int, off: float) -> Run:
    """A run whose first convolution lost half of its channels."""
    parts = [{"name": "conv 0", "before": 8, "after": 4}, {"name": "x", "before": 0, "after": 0}]
    pruning = {"target": 0.5, "reached": 0.5 + off, "off_target": off, "parts": parts}
    more = {"pruning": {**pruning, "picture": str(picture)}, "curves": ""}
    return run("cut", "student", 5.0, seed=seed, **more)


def test_pruning_is_shown_with_its_distance_from_the_target(tmp_path: Path) -> None:
    plot_curves({}, tmp_path / "pruning.png")
    runs = [pruned(tmp_path / "pruning.png", seed, off) for seed, off in ((4, 0.004), (5, 0.008))]
    written = write_report([*experiment(), *runs], tmp_path / "out")
    table = written["RESULTS.md"].read_text(encoding="utf-8")
    assert "Removed (%) | Off target (%) |" in table
    assert re.search(r"\| cut .*\| 50\.6 \| 0\.6 \|", table)
    assert re.search(r"\| big teacher .*\| – \| – \|", table)
    page = written["report.html"].read_text(encoding="utf-8")
    assert page.count("Pruning of cut (digits), seed 4") == 2, "caption and image of one seed"
    assert page.count("data:image/png") == 3
    assert "<h2>What was removed: cut (digits), seed 4</h2>" in page
    (removed,) = removal_tables(group(runs))
    assert removed.rows == [["conv 0", "8", "4", "50.0%"], ["x", "0", "0", "–"]]


def test_a_table_per_corpus() -> None:
    text = results_markdown([*experiment(), run("small student", "student", 3.0, corpus="other")])
    assert "## digits" in text
    assert "## other" in text


def test_headline_compares_with_the_teacher() -> None:
    (sentence,) = headline(group(experiment()))
    assert "25 % of its parameters" in sentence
    assert "ASR WER % ↓ 7.00 (teacher 4.00)" in sentence


def test_panels_share_systems_with_both_numbers() -> None:
    panels = tradeoff_panels(group(experiment()))
    assert len(panels) == 6
    assert [point.label for point in panels[0].points] == ["big teacher", "small student"]
    assert [panel.lower_is_better for panel in panels] == [True] * 3 + [False] * 3


def test_pareto_front() -> None:
    points = [
        Point(str(i), "student", *xy) for i, xy in enumerate([(1, 5), (2, 7), (3, 6), (2, 9)])
    ]
    assert [p.label for p in pareto_front(points, lower_is_better=False)] == ["0", "3"]
    assert [p.label for p in pareto_front(points, lower_is_better=True)] == ["0"]


def test_statistic() -> None:
    assert str(Statistic.of([2.0])) == "2.00"
    assert str(Statistic.of([1.0, 3.0])) == "2.00 ± 1.41 (n=2)"


def test_bad_runs_end_the_command_with_one_message(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"espnet_kd\.bin\.report: cannot read .*gone\.json"):
        report.main(["--runs", str(tmp_path / "gone.json"), "--out", str(tmp_path / "out")])
