"""Loaders without a batch are refused before training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from espnet_kd.errors import DataDirError
from s3prl_upstreams.loaders import check_loader, refuse_empty_loaders

CONFIG = {"downstream_expert": {"corpus": {"batch_size": 4}}}


class Task(nn.Module):
    """A downstream task of five files that drops incomplete batches."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def get_dataloader(self, split: str, epoch: int = 0) -> DataLoader:
        files = list(range(5))
        drop = split == "train"
        sampler = RandomSampler(files)
        return DataLoader(files, self.batch_size, sampler=sampler, drop_last=drop)


def model(batch_size: int, config: dict) -> nn.Module:
    runner = SimpleNamespace(args=SimpleNamespace(downstream="speech_commands"), config=config)
    entry = SimpleNamespace(model=Task(batch_size))
    return refuse_empty_loaders(lambda _runner: entry)(runner).model


def test_full_batches_pass() -> None:
    assert len(model(5, CONFIG).get_dataloader("train", epoch=3)) == 1
    assert len(model(9, CONFIG).get_dataloader("dev")) == 1


@pytest.mark.parametrize(("config", "block"), [(CONFIG, "corpus"), ({}, "datarc")])
def test_fewer_files_than_a_batch(config: dict, block: str) -> None:
    with pytest.raises(DataDirError) as caught:
        model(6, config).get_dataloader("train", epoch=3)
    text = str(caught.value)
    assert "speech_commands: split train has 5 file(s), fewer than one batch of 6" in text
    assert text.endswith(f"-o config.downstream_expert.{block}.batch_size=5")


def test_the_tasks_own_errors_pass() -> None:
    """The runner tries the keyword `epoch` and looks at the error."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoc'"):
        model(5, CONFIG).get_dataloader("train", epoc=3)


def test_no_file_at_all_and_loaders_without_length() -> None:
    with pytest.raises(DataDirError, match="split dev has no file"):
        check_loader(DataLoader([], 2), "asr", "dev", CONFIG)
    check_loader(iter([]), "asr", "dev", CONFIG)
