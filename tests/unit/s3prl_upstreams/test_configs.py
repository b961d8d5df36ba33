"""The files in conf/superb say what SUPERB and the ARMHuBERT authors say."""

from __future__ import annotations

import pytest

from espnet_kd.errors import ConfigError
from s3prl_upstreams.configs import default_config, merge, superb_dir, task_config, variants
from s3prl_upstreams.fill import VOCAB_DIR
from s3prl_upstreams.tasks import TASKS, find_task

# SUPERB's recipes: updates, accumulation, batch, learning rate; warm-up and rate of the authors
RECIPES = {
    "ASR": (200_000, 1, 32, 1e-4, 1400, 1e-4),
    "PR": (100_000, 2, 16, 1e-2, 1400, 1e-2),
    "KS": (200_000, 1, 32, 1e-4, 1400, 1e-4),
    "SID": (200_000, 4, 8, 1e-4, 5000, 1e-3),
}


def batch_size(config):
    expert = config["downstream_expert"]
    block = expert.get("datarc") or expert["corpus"]
    return block.get("train_batch_size", block.get("batch_size"))


def test_every_task_and_only_tasks_have_files():
    assert {path.stem for path in superb_dir().glob("*.yaml")} == {task.config for task in TASKS}
    assert {task.name for task in TASKS} == set(RECIPES)


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
    assert config.pop("scheduler") == wanted
    assert config["optimizer"].pop("lr") == rate
    default = task_config(task)
    default["optimizer"].pop("lr")
    assert config == default


def test_the_variants_are_the_folders():
    assert variants() == ["armhubert"]
    with pytest.raises(ConfigError, match="no variant 'armhuber'; there is: armhubert"):
        task_config(TASKS[0], "armhuber")


def test_a_task_without_a_file_is_told_where_to_get_one():
    with pytest.raises(ConfigError, match=r"(?s)no default file for 'emotion'.*-c.*asr \(ASR\)"):
        default_config("emotion")


def test_merge_goes_into_mappings_and_leaves_its_arguments():
    base = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert merge(base, {"a": {"c": 3}, "d": [2]}) == {"a": {"b": 1, "c": 3}, "d": [2]}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1]}


def test_vocabularies_have_s3prls_symbols_in_its_order():
    lines = (VOCAB_DIR / "characters.txt").read_text().splitlines()
    assert "".join(line.split()[0] for line in lines) == "|ETAONIHSRDLUMCWFGYPBVK'XJQZ"
    phones = (VOCAB_DIR / "phonemes.txt").read_text().split()
    assert len(phones) == len(set(phones)) == 71
    assert phones[:3] == ["SIL", "SPN", "AA0"]
    assert phones[2:] == sorted(phones[2:])
