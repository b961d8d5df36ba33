"""An endless loop of S3PRL refused: training on a loader that yields no batch never ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from espnet_kd.errors import DataDirError

Config = dict[str, Any]


def refuse_empty_loaders(get_downstream: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap ``Runner._get_downstream`` so that loaders without a batch raise.

    S3PRL's runner asks for the training loader again and again until enough steps are done. Tasks
    that drop incomplete batches (KS) have an empty one when the files are fewer than a batch.
    """

    def guarded(runner: Any) -> Any:
        entry = get_downstream(runner)
        make_loader = entry.model.get_dataloader

        def get_dataloader(split: str, *args: Any, **kwargs: Any) -> Any:
            loader = make_loader(split, *args, **kwargs)
            check_loader(loader, runner.args.downstream, split, runner.config)
            return loader

        entry.model.get_dataloader = get_dataloader
        return entry

    return guarded


def check_loader(loader: Any, task: str, split: str, config: Config) -> None:
    """Refuse a loader of a known length that yields nothing.

    Args:
        loader: what the task made, usually a torch DataLoader.
        task: S3PRL's name of it.
        split: such as ``train``.
        config: the run's configuration, for the name of the option.

    Raises:
        DataDirError: it has no batch; says how many files there are and how many a batch needs.
    """
    if not hasattr(loader, "__len__") or len(loader) > 0:
        return
    sampler: Any = getattr(loader, "sampler", ())
    files = len(sampler) if hasattr(sampler, "__len__") else 0
    if files == 0:
        raise DataDirError(f"{task}: split {split} has no file; check the folder of its data")
    option = f"config.downstream_expert.{_block(config)}.batch_size"
    raise DataDirError(
        f"{task}: split {split} has {files} file(s), fewer than one batch of {loader.batch_size}, "
        "and incomplete batches are left out, so training would never make a step; add data, or "
        f"make the batch smaller: -o {option}={files}"
    )


def _block(config: Config) -> str:
    expert = config.get("downstream_expert", {})
    return next((name for name in ("datarc", "corpus") if name in expert), "datarc")
