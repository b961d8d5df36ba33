"""Our names in ESPnet's tables."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType

import espnet2.tasks.abs_task
import espnet2.tasks.asr
import pytest
import torch
from espnet2.train.class_choices import ClassChoices

import espnet_kd
from espnet_kd.errors import KDError
from espnet_kd.registry import ENTRIES, Entry, add_name, register
from espnet_kd.utils.after_import import after_import


def test_names_are_known_to_imported_hosts() -> None:
    espnet_kd.register()
    register()
    assert espnet2.tasks.asr.encoder_choices.get_class("kd_student").__name__ == "KDStudentEncoder"
    assert "linear_warmup_decay" in espnet2.tasks.abs_task.scheduler_classes
    assert "eden" in espnet2.tasks.abs_task.scheduler_classes
    assert {"eve", "scheduled_adamw"} <= espnet2.tasks.abs_task.optim_classes.keys()
    parser = espnet2.tasks.asr.ASRTask.get_parser()
    assert parser.parse_args(["--encoder", "kd_student"]).encoder == "kd_student"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.host}:{entry.name}")
def test_every_row_can_be_added(entry: Entry) -> None:
    """Lower-case names (ESPnet looks them up so), classes with the host's base."""
    assert entry.name == entry.name.lower()
    host = ModuleType(entry.host)
    setattr(host, entry.table, {})
    add_name(host, entry)
    add_name(host, entry)
    assert list(getattr(host, entry.table)) == [entry.name]


def test_a_held_name_is_refused() -> None:
    host = ModuleType("host")
    host.table = ClassChoices("table", {"mine": torch.nn.ReLU}, type_check=torch.nn.Module)
    taken = Entry("host", "table", "mine", "torch.nn:GELU", "torch.nn:Module")
    with pytest.raises(KDError, match=r"'mine' in host\.table is held by torch.*ReLU"):
        add_name(host, taken)
    assert host.table.classes["mine"] is torch.nn.ReLU


def test_a_class_without_the_base_is_refused() -> None:
    host = ModuleType("host")
    host.table = {}
    with pytest.raises(KDError, match="must inherit"):
        add_name(host, Entry("host", "table", "x", "torch.nn:GELU", "torch.optim:Optimizer"))


def test_after_import_waits_for_the_module(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_host.py").write_text("table = {}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[ModuleType] = []
    after_import("late_host", seen.append)
    assert not seen
    import late_host

    assert seen == [late_host]
    assert late_host.__spec__.loader.get_source("late_host") == "table = {}\n"
    after_import("late_host", seen.append)  # at once now
    assert len(seen) == 2
    monkeypatch.delitem(sys.modules, "late_host")


def test_spawned_processes_can_unpickle_the_task() -> None:
    """ESPnet's multi-GPU start hands them `Task.main_worker` by the path of its class."""
    from espnet_kd.tasks.ssl_distill import SSLDistillTask

    assert pickle.loads(pickle.dumps(SSLDistillTask.main_worker)) == SSLDistillTask.main_worker
