"""--stage, --stop_stage, --skip_stages and what happens when an input is missing."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.unit.egs.conftest import TEMPLATE


def test_stages_run_in_order_and_say_what_they_cost(recipe):
    result = recipe("--stop_stage", "1")
    assert result.returncode == 0
    assert result.stdout.splitlines() == ["made zero", "made one true [a b]"]
    assert "stage 0: First (cost: 1 s)" in result.stderr
    assert "seconds per stage: 0: 0 s 1: " in result.stderr


def test_stage_starts_later(recipe, tmp_path):
    (tmp_path / "zero").touch()
    result = recipe("--stage", "1", "--stop_stage", "1")
    assert result.stdout.splitlines() == ["made one true [a b]"]


def test_missing_input_names_the_stage_that_makes_it(recipe):
    result = recipe("--stage", "1")
    assert result.returncode == 1
    assert "stage 1 needs zero (what stage 0 leaves), which stage 0 makes" in result.stderr
    assert "./run.sh --stage 0" in result.stderr
    assert result.stdout == ""


def test_a_failure_says_where_to_go_on(recipe):
    result = recipe()
    assert result.returncode == 1
    assert "stage 2 failed; mend it and go on with ./run.sh --stage 2" in result.stderr


def test_skipped_stages(recipe):
    result = recipe("--skip_stages", "0 2")
    assert result.returncode == 1
    assert "stage 0 (First): skipped" in result.stderr
    assert "stage 1 needs zero" in result.stderr


def test_upload_is_off_by_default(recipe, tmp_path):
    for name in ("zero", "one"):
        (tmp_path / name).touch()
    assert "uploaded" not in recipe().stdout
    assert recipe("--stage", "3", "--stop_stage", "3").stdout == "uploaded\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stage", "4"), "--stage 4: this recipe has the stages 0 to 3"),
        (("--stop_stage", "9"), "--stop_stage 9: this recipe has the stages 0 to 3"),
        (("--stage", "-1"), "--stage -1"),
        (("--stage", "two"), "--stage two"),
        (("--stage", "2", "--stop_stage", "1"), "--stage 2 is after --stop_stage 1"),
        (("--skip_stages", "1 7"), "7 is not one of the stages"),
    ],
)
def test_stages_that_do_not_exist(recipe, options, message):
    result = recipe(*options)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--unknown", "1"), "unknown option --unknown"),
        (("--stage",), "--stage needs a value"),
        (("loose",), "unexpected argument 'loose'"),
        (("--lucky", "maybe"), "--lucky is true or false, not 'maybe'"),
        (("--PATH", "/"), "unknown option --PATH"),
        (("--kd_times", "1"), "unknown option --kd_times"),
    ],
)
def test_wrong_options(recipe, options, message):
    result = recipe(*options)
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    "options",
    [("--some_name", "x; echo $(hi)"), ("--some-name=x; echo $(hi)",)],
)
def test_values_are_never_executed(recipe, options):
    result = recipe("--stop_stage", "1", "--lucky=false", *options)
    assert result.stdout.splitlines()[-1] == "made one false [x; echo $(hi)]"


def test_help(recipe):
    result = recipe("--help")
    assert result.returncode == 0
    assert result.stdout.startswith("A recipe of three stages.\nIts second line of help.\n")
    assert "--some_name" in result.stdout
    assert "made zero" not in result.stdout


TOOLS = f"""#!/usr/bin/env bash
set -euo pipefail
python={sys.executable}
stage=0 stop_stage=8 skip_stages=""
. {TEMPLATE}/stages.sh
"""


@pytest.fixture
def tools(tmp_path):
    """Return ``tools(code)``: output of shell code that uses stages.sh."""

    def run(code: str) -> str:
        (tmp_path / "run.sh").write_text(TOOLS + code)
        words = ["bash", str(tmp_path / "run.sh")]
        result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_what_a_stage_must_show(recipe, tmp_path):
    script = tmp_path / "run.sh"
    script.write_text(script.read_text().replace('"Second" "1 s"', '"Second" "1 s" "a number"'))
    (tmp_path / "zero").touch()
    assert "must show: a number" in recipe("--stage", "1", "--stop_stage", "1").stderr


def test_commas_between_skipped_stages(recipe):
    assert "stage 0 (First): skipped" in recipe("--skip_stages", "0,1,2").stderr


def test_done_depends_on_every_word(tools):
    code = 'is_done m a "b c" && echo 1; mark_done m a "b c"; is_done m a "b c" && echo 2'
    code += "\nis_done m a b c && echo 3; is_done m a && echo 4; true"
    assert tools(code) == "2\n"


def test_logs_are_rotated(tools, tmp_path):
    tools("for i in 1 2 3; do rotate t.log; echo $i >t.log; done; rotate none.log")
    logs = {path.name: path.read_text().strip() for path in tmp_path.glob("*.log*")}
    assert logs == {"t.log": "3", "t.log.1": "2", "t.log.2": "1"}


def test_words_are_split_as_a_shell_would(tools):
    code = """split_words words "--a 1 --b '{\\"c d\\": [1, 2]}'"; printf '[%s]' "${words[@]}" """
    assert tools(code) == '[--a][1][--b][{"c d": [1, 2]}]'
    assert tools('split_words words ""; echo ${#words[@]}') == "0\n"
    assert tools("""(split_words words "--a 'b" 2>&1) || true""").endswith(
        "cannot split into words: --a 'b; is a quote missing?\n"
    )


def test_paths_count_from_where_the_user_is(tools, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "recipe").mkdir()
    code = "cd recipe; a=mine b=other c=/mine d=; from_start a b c d; echo $a $b $c $d"
    assert tools(code) == f"{tmp_path}/mine other /mine\n"


def test_an_attended_command_ends_with_the_recipe(tmp_path):
    code = (
        "attended bash -c 'trap \"touch saved; exit\" TERM; touch on; while :; do sleep 0.02; done'"
    )
    (tmp_path / "run.sh").write_text(TOOLS + code)
    process = subprocess.Popen(["bash", str(tmp_path / "run.sh")], cwd=tmp_path)
    while not (tmp_path / "on").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait() == 143
    assert (tmp_path / "saved").exists()


JOB = """
job() { echo "on $1"; sleep 0.1; echo "off $1"; return $2; }
"""


def test_jobs_run_so_many_at_a_time(tools):
    code = JOB + "for i in 1 2 3 4; do start_job 2 job $i 0; done; finish_jobs; echo end"
    running, most = 0, 0
    *lines, last = tools(code).splitlines()
    for line in lines:
        running += 1 if line.startswith("on") else -1
        most = max(most, running)
    assert (len(lines), most, last) == (8, 2, "end")


def test_a_failed_job_is_not_forgotten(tools):
    code = JOB + "start_job 2 job 1 7; start_job 2 job 2 0; start_job 1 job 3 0\n"
    said = tools(code + "finish_jobs || echo failed; finish_jobs && echo nothing left")
    assert said.splitlines()[-2:] == ["failed", "nothing left"]
    assert said.count("off") == 3
