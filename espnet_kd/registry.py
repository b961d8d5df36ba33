"""Every name of ours that ESPnet and S3PRL see, in one table.

``register()`` is cheap and idempotent: a row takes effect when its host module is imported, before
or after us. A name that another class holds is refused, never replaced.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from espnet_kd.errors import KDError
from espnet_kd.utils.after_import import after_import


@dataclass(frozen=True)
class Entry:
    """One name in one table of a host toolkit."""

    host: str
    """Module that holds the table, e.g. ``espnet2.tasks.asr``."""

    table: str
    """The table in it: a dict, or a ``ClassChoices`` object."""

    name: str
    """The name that users write; ESPnet looks names up in lower case."""

    target: str
    """Our class, ``module:Class``; imported only when the host is."""

    base: str
    """Class that the host demands as a base, ``module:Class``."""


_ENCODER = (
    "espnet_kd.tasks.asr_encoder:KDStudentEncoder",
    "espnet2.asr.encoder.abs_encoder:AbsEncoder",
)

ENTRIES: tuple[Entry, ...] = (
    Entry("espnet2.tasks.asr", "encoder_choices", "kd_student", *_ENCODER),
    Entry("espnet2.tasks.s2t", "encoder_choices", "kd_student", *_ENCODER),
    Entry("espnet2.tasks.st", "encoder_choices", "kd_student", *_ENCODER),
    Entry("espnet2.tasks.slu", "encoder_choices", "kd_student", *_ENCODER),
    Entry(
        "espnet2.tasks.asr",
        "encoder_choices",
        "kd_whisper_encoder",
        "espnet_kd.tasks.whisper_asr_encoder:KDWhisperEncoder",
        "espnet2.asr.encoder.abs_encoder:AbsEncoder",
    ),
    Entry(
        "espnet2.tasks.asr",
        "decoder_choices",
        "kd_whisper_decoder",
        "espnet_kd.tasks.whisper_asr_decoder:KDWhisperDecoder",
        "espnet2.asr.decoder.abs_decoder:AbsDecoder",
    ),
    Entry(
        "espnet2.tasks.asr",
        "preprocessor_choices",
        "kd_whisper",
        "espnet_kd.tasks.whisper_asr_preprocessor:KDWhisperPreprocessor",
        "espnet2.train.preprocessor:AbsPreprocessor",
    ),
    Entry(
        "espnet2.tasks.asr_transducer",
        "decoder_choices",
        "kd_stateless",
        "espnet_kd.tasks.stateless_decoder:KDStatelessDecoder",
        "espnet2.asr_transducer.decoder.abs_decoder:AbsDecoder",
    ),
    *(
        Entry(
            "espnet2.tasks.abs_task",
            "scheduler_classes",
            name,
            f"espnet_kd.tasks.scheduler:{cls}",
            "espnet2.schedulers.abs_scheduler:AbsBatchStepScheduler",
        )
        for name, cls in (
            ("linear_warmup_decay", "LinearWarmupDecay"),
            ("linear_with_warmup", "LinearWithWarmup"),
            ("constant_with_warmup", "ConstantWithWarmup"),
            ("eden", "Eden"),
        )
    ),
    *(
        Entry(
            "espnet2.tasks.abs_task",
            "optim_classes",
            name,
            f"espnet_kd.optim:{cls}",
            "torch.optim:Optimizer",
        )
        for name, cls in (("eve", "Eve"), ("scheduled_adamw", "ScheduledAdamW"))
    ),
    Entry(
        "espnetez.task",
        "TASK_CLASSES",
        "ssl_distill",
        "espnet_kd.tasks.ssl_distill:SSLDistillTask",
        "espnet2.tasks.abs_task:AbsTask",
    ),
    Entry(
        "espnetez.task",
        "TASK_CLASSES",
        "whisper_distill",
        "espnet_kd.tasks.whisper_distill:WhisperDistillTask",
        "espnet2.tasks.abs_task:AbsTask",
    ),
    *(
        Entry(
            "espnetez.task",
            "TASK_CLASSES",
            name,
            f"espnet_kd.tasks.mvq:{cls}",
            "espnet2.tasks.abs_task:AbsTask",
        )
        for name, cls in (("mvq_asr", "MVQASRTask"), ("mvq_transducer", "MVQTransducerTask"))
    ),
)


@functools.cache
def register() -> None:
    """Make every name known to ESPnet and S3PRL, now or as soon as they are imported."""
    for entry in ENTRIES:
        after_import(entry.host, _registrar(entry))
    if importlib.util.find_spec("s3prl_upstreams") is not None:
        importlib.import_module("s3prl_upstreams.hub").register()


def _registrar(entry: Entry) -> Callable[[ModuleType], None]:
    return lambda module: add_name(module, entry)


def add_name(module: ModuleType, entry: Entry) -> None:
    """Put one name into the table of an imported host module.

    Raises:
        KDError: our class lacks the host's base class, or the name belongs to another class.
    """
    target, base = _load(entry.target), _load(entry.base)
    if not issubclass(target, base):
        raise KDError(f"{entry.target} must inherit {entry.base} to serve {entry.host}")
    table = getattr(module, entry.table)
    names: MutableMapping[str, Any] = getattr(table, "classes", table)
    holder = names.get(entry.name, target)
    if holder is not target:
        raise KDError(
            f"the name {entry.name!r} in {entry.host}.{entry.table} is held by "
            f"{holder.__module__}.{holder.__qualname__}; remove that registration first"
        )
    names[entry.name] = target


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
