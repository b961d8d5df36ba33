"""The files in conf/superb say what SUPERB and the ARMHuBERT authors say."""

from __future__ import annotations

import pytest

from espnet_kd.errors import ConfigError
from s3prl_upstreams.configs import default_config, merge, superb_dir, task_config, variants
from s3prl_upstreams.corpora import VOCAB_DIR
from s3prl_upstreams.tasks import TASKS, find_task, task_of

# SUPERB's recipes: updates, accumulation, batch, learning rate; warm-up and rate of the authors
RECIPES = {
    "PR": (100_000, 2, 16, 1e-2, 1400, 1e-2),
    "ASR": (200_000, 1, 32, 1e-4, 1400, 1e-4),
    "KS": (200_000, 1, 32, 1e-4, 1400, 1e-4),
    "SID": (200_000, 4, 8, 1e-4, 5000, 1e-3),
    "ASV": (200_000, 5, 10, 1e-4, 6000, 1e-4),
    "SD": (30_000, 4, 8, 1e-4, None, 1e-4),
    "IC": (200_000, 1, 32, 1e-4, 1000, 1e-4),
    "SF": (200_000, 1, 32, 1e-4, 1400, 1e-4),
    "ER": (30_000, 8, 4, 1e-4, 1400, 1e-4),
}


def batch_size(config):
    expert = config["downstream_expert"]
    block = {**expert.get("corpus", {}), **expert.get("loaderrc", {}), **expert.get("datarc", {})}
    names = ("train_batch_size", "train_batchsize", "batch_size")
    return next(block[name] for name in names if name in block)


def test_every_task_and_only_tasks_have_files():
    assert {path.stem for path in superb_dir().glob("*.yaml")} == {task.config for task in TASKS}
    assert {task.name for task in TASKS} == {*RECIPES, "QbE"}, "QbE trains nothing"


@pytest.mark.parametrize("name", RECIPES)
def test_defaults_are_superbs(name):
    config = task_config(find_task(name))
    steps, accumulation, batch, rate, _, _ = RECIPES[name]
    assert config["runner"]["total_steps"] == steps
    assert config["runner"]["gradient_accumulate_steps"] == accumulation
    assert batch_size(config) == batch
    assert config["optimizer"]["lr"] == rate
    assert "scheduler" not in config


@pytest.mark.parametrize("name", RECIPES)
def test_the_authors_variant_changes_schedule_and_rate_only(name):
    task = find_task(name)
    config = task_config(task, "armhubert")
    *_, warmup, rate = RECIPES[name]
    wanted = {"name": "linear_schedule_with_warmup", "num_warmup_steps": warmup}
    assert config.pop("scheduler", None) == (wanted if warmup else None)
    assert config["optimizer"].pop("lr") == rate
    default = task_config(task)
    default["optimizer"].pop("lr")
    assert config == default


def test_the_variants_are_the_folders():
    assert variants() == ["armhubert", "lighthubert"]
    with pytest.raises(ConfigError, match="no variant 'armhuber'; there is: armhubert, light"):
        task_config(TASKS[0], "armhuber")


def test_a_task_without_a_file_is_told_where_to_get_one():
    with pytest.raises(ConfigError, match=r"(?s)no default file for 'mosei'.*-c.*asr \(ASR\)"):
        default_config("mosei")


def test_every_file_of_a_variant_belongs_to_a_task_and_changes_known_options():
    for variant in variants():
        for path in (superb_dir() / variant).glob("*.yaml"):
            task = find_task(path.stem)
            assert task is not None, path
            changed, default = task_config(task, variant), task_config(task)
            assert changed != default
            assert changed.keys() - default.keys() <= {"scheduler"}
            assert changed["optimizer"].keys() == default["optimizer"].keys()
    rates = {t.name: task_config(t, "lighthubert").get("optimizer", {}).get("lr") for t in TASKS}
    assert {name: rates[name] for name in ("PR", "SD", "ASV", "SID")} == {
        "PR": 5e-4, "SD": 5e-4, "ASV": 5e-5, "SID": 5e-3,
    }  # fmt: skip


def test_one_folder_of_s3prl_holds_two_tasks():
    assert task_of("ctc", task_config(find_task("SF"))).name == "SF"
    assert task_of("ctc", task_config(find_task("PR"))).name == "PR"
    assert task_of("ctc", {"downstream_expert": {"corpus": {"name": "librispeech"}}}) is None
    assert find_task("ctc").name == "PR"
    assert task_of("mosei", {}) is None


def test_merge_goes_into_mappings_and_leaves_its_arguments():
    base = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert merge(base, {"a": {"c": 3}, "d": [2]}) == {"a": {"b": 1, "c": 3}, "d": [2]}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1]}


def test_vocabularies_have_s3prls_symbols_in_its_order():
    lines = (VOCAB_DIR / "characters.txt").read_text().splitlines()
    assert "".join(line.split()[0] for line in lines) == "|ETAONIHSRDLUMCWFGYPBVK'XJQZ"
    letters = (VOCAB_DIR / "slot_characters.txt").read_text().split("\n")
    assert "".join(letters) == " ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
    phones = (VOCAB_DIR / "phonemes.txt").read_text().split()
    assert len(phones) == len(set(phones)) == 71
    assert phones[:3] == ["SIL", "SPN", "AA0"]
    assert phones[2:] == sorted(phones[2:])
