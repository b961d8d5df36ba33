"""What our S3PRL runs write is what the table of scores reads: tasks, numbers, units, splits."""

from __future__ import annotations

from espnet_kd.evaluation.superb.experiments import is_published_split
from espnet_kd.evaluation.superb.metrics import METRICS
from s3prl_upstreams.tasks import TASKS


def test_names_and_units_agree() -> None:
    written = [
        (task.name, metric.name, metric.direction, metric.unit)
        for task in TASKS
        for metric in task.metrics
    ]
    read = [(m.task, m.name, m.direction, "" if m.unit == "fraction" else m.unit) for m in METRICS]
    assert written == read


def test_only_the_test_split_is_read() -> None:
    assert all(is_published_split(task.test) for task in TASKS)
    assert not any(is_published_split(task.dev) for task in TASKS)
