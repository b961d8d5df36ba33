from __future__ import annotations

import re
import zipfile

import pytest

from espnet_kd.errors import ConfigError
from s3prl_upstreams.invocation import Invocation
from s3prl_upstreams.scoring.submission import (
    PARTS,
    TASKS,
    folders_by_option,
    folders_of,
    write_submission,
)

# What S3PRL writes, below a folder with an experiment per task, and the names on the leaderboard.
FILES = {
    "pr/test-hyp.ark": "pr_public/predict.ark",
    "asr/test-clean-noLM-hyp.ark": "asr_public/predict.ark",
    "asr/test-clean-LM-hyp.ark": "asr_lm_public/predict.ark",
    "ks/test_predict.txt": "ks_public/predict.txt",
    "qbe/test/benchmark.stdlist.xml": "qbe_public/benchmark.stdlist.xml",
    "sid/test_predict.txt": "sid_public/predict.txt",
    "asv/test_predict.txt": "sv_public/predict.txt",
    "sd/scoring/predictions/r2.h5": "sd_public/r2.h5",
    "sd/scoring/predictions/r1.h5": "sd_public/r1.h5",
    "ic/test_predict.csv": "ic_public/predict.csv",
    "sf/test-hyp.ark": "sf_public/predict.ark",
    "er/fold1/test_fold1_predict.txt": "er_fold1_public/predict.txt",
    "er/fold2/test_fold2_predict.txt": "er_fold2_public/predict.txt",
    "er/fold3/test_fold3_predict.txt": "er_fold3_public/predict.txt",
    "er/fold4/test_fold4_predict.txt": "er_fold4_public/predict.txt",
    "er/fold5/test_fold5_predict.txt": "er_fold5_public/predict.txt",
}
BESIDES = ("pr/log.log", "qbe/dev/benchmark.stdlist.xml", "sd/scoring/log/file_list",
           "ks/test_truth.txt", "er/fold1/dev_fold1_predict.txt", "notes.txt")  # fmt: skip


@pytest.fixture
def experiments(tmp_path):
    root = tmp_path / "exp"
    for name in (*FILES, *BESIDES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content of {name}")
    return root


def members(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_every_task_under_its_name(experiments, tmp_path):
    path = write_submission(folders_of(experiments), tmp_path / "out")
    assert path == tmp_path / "out" / "predict.zip"
    expected = {f"predict/{new}": f"content of {old}" for old, new in FILES.items()}
    assert members(path) == expected
    assert list(members(path)) == sorted(expected)
    assert [entry.name for entry in path.parent.iterdir()] == ["predict.zip"]


def test_the_file_depends_on_nothing_but_the_predictions(experiments, tmp_path):
    first = write_submission(folders_of(experiments), tmp_path / "a").read_bytes()
    for name in FILES:  # another order on disk, another date
        text = (experiments / name).read_text()
        (experiments / name).unlink()
        (experiments / name).write_text(text)
    assert write_submission(folders_of(experiments), tmp_path / "b").read_bytes() == first
    (experiments / "pr" / "test-hyp.ark").write_text("other")
    assert write_submission(folders_of(experiments), tmp_path / "a").read_bytes() != first


def test_some_tasks_only(experiments, tmp_path):
    path = write_submission(folders_of(experiments, ["sid", "qbe"]), tmp_path)
    assert [name.split("/")[1] for name in members(path)] == ["qbe_public", "sid_public"]
    for name in ("sf", "er"):
        (experiments / name).rename(tmp_path / name)
    assert {part.task for part in folders_of(experiments)} == set(TASKS) - {"sf", "er"}


def test_a_language_model_is_no_duty(experiments, tmp_path):
    (experiments / "asr" / "test-clean-LM-hyp.ark").unlink()
    names = members(write_submission(folders_of(experiments, ["asr"]), tmp_path))
    assert list(names) == ["predict/asr_public/predict.ark"]
    with pytest.raises(ConfigError, match="test-clean-LM-hyp.ark is missing"):
        write_submission(folders_by_option({"asr_with_lm": experiments / "asr"}), tmp_path)


def test_all_that_is_missing_with_the_command_that_makes_it(experiments, tmp_path):
    for name in ("pr/test-hyp.ark", "sd/scoring/predictions/r1.h5", "sd/scoring/predictions/r2.h5"):
        (experiments / name).unlink()
    (experiments / "ks" / "test_predict.txt").write_text("")
    (experiments / "er" / "fold3" / "test_fold3_predict.txt").unlink()
    with pytest.raises(ConfigError) as error:
        write_submission(folders_of(experiments), tmp_path / "out")
    run = "python -m s3prl_upstreams.run_downstream -m evaluate -t test -e"
    assert error.value.problems == [
        f"pr: {experiments}/pr/test-hyp.ark is missing; {run} {experiments}/pr/dev-best.ckpt "
        "writes it",
        f"ks: {experiments}/ks/test_predict.txt is empty; {run} {experiments}/ks/dev-best.ckpt "
        "writes it",
        f"sd: {experiments}/sd/scoring/predictions/*.h5 is missing; {run} "
        f"{experiments}/sd/best-states-dev.ckpt writes it",
        f"er: {experiments}/er/fold3/test_fold3_predict.txt is missing; {run} "
        f"{experiments}/er/fold3/dev-best.ckpt writes it",
    ]
    assert not (tmp_path / "out").exists()


def test_an_incomplete_er_is_refused(experiments, tmp_path):
    given = {f"er_fold{n}": experiments / "er" / f"fold{n}" for n in (1, 2, 4)}
    with pytest.raises(ConfigError, match="er: er_fold3, er_fold5 left out; .* all 5 folds only"):
        write_submission(folders_by_option(given), tmp_path)


def test_nothing_and_unknown_tasks(tmp_path):
    with pytest.raises(ConfigError, match="no experiment folder is given"):
        write_submission({}, tmp_path)
    with pytest.raises(ConfigError, match="has no folder of a task"):
        folders_of(tmp_path)
    with pytest.raises(ConfigError, match="unknown key sidd; did you mean sid"):
        folders_of(tmp_path, ["sidd"])


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.option)
def test_the_commands_are_ones_that_we_understand(part):
    program, words = part.remedy.split(" -m evaluate ", 1)
    assert program == "python -m s3prl_upstreams.run_downstream"
    call = Invocation.parse(["-m", "evaluate", *words.split()], {})
    assert (call.mode, call.split in {"test", "test-clean"}) == ("evaluate", True)
    assert re.fullmatch(r"\{exp\}(/[\w-]+\.ckpt)?", call.past_exp or call.expdir)
