"""Downstream configurations: ``conf/superb/TASK.yaml`` plus what a variant changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from espnet_kd.errors import ConfigError
from espnet_kd.utils.paths import conf_dir
from s3prl_upstreams.tasks import TASKS, Task, find_task

Config = dict[str, Any]


def superb_dir() -> Path:
    """Return the folder of our downstream configurations."""
    return conf_dir() / "superb"


def variants() -> list[str]:
    """Return the names that ``--superb_variant`` takes: the folders beside the defaults."""
    return sorted(path.name for path in superb_dir().iterdir() if path.is_dir())


def task_config(task: Task, variant: str | None = None) -> Config:
    """Return SUPERB's defaults for a task with the differences of a variant merged in.

    Args:
        task: the task.
        variant: a folder of ``conf/superb`` such as ``armhubert``; None = SUPERB as published.

    Returns:
        The defaults as they are where the variant says nothing about the task.

    Raises:
        ConfigError: no such variant.
    """
    config = read_yaml(superb_dir() / f"{task.config}.yaml")
    if variant is None:
        return config
    if variant not in variants():
        problem = f"no variant {variant!r}; there is: {', '.join(variants())}"
        raise ConfigError("--superb_variant", [problem])
    path = superb_dir() / variant / f"{task.config}.yaml"
    return merge(config, read_yaml(path)) if path.is_file() else config


def default_config(downstream: str, variant: str | None = None) -> Config:
    """Return the configuration of a task when the user names no file.

    Args:
        downstream: short name of a task (``pr``) or S3PRL's ``-d``.
        variant: as in :func:`task_config`.

    Raises:
        ConfigError: we have none for this downstream.
    """
    task = find_task(downstream)
    if task is None:
        known = ", ".join(f"{task.downstream} ({task.name})" for task in TASKS)
        problem = (
            f"there is no default file for {downstream!r}; give S3PRL's own with -c "
            f"(it is in S3PRL's git repository). Defaults exist for {known}"
        )
        raise ConfigError("-d", [problem])
    return task_config(task, variant)


def read_yaml(path: Path) -> Config:
    """Read a mapping from a YAML file.

    Raises:
        ConfigError: the file is missing, unreadable or no mapping.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    if not isinstance(value, dict):
        raise ConfigError(str(path), ["is not a mapping of options"])
    return value


def merge(base: Config, change: Config) -> Config:
    """Return ``base`` with ``change`` laid over it, mapping by mapping; neither is modified."""
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
