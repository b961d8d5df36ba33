"""kd_conf.batching inside ESPnet: order, shares, crops, and what is said about the data."""

from __future__ import annotations

import itertools
import logging
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from espnet2.iterators.sequence_iter_factory import SequenceIterFactory
from espnet2.train.distributed_utils import DistributedOption

from espnet_kd.errors import DataDirError
from espnet_kd.tasks.batching import (
    EpochBatches,
    batching_problems,
    check_lengths,
    length_batches,
    read_samples,
)
from espnet_kd.tasks.batching_options import BatchingOptions
from espnet_kd.tasks.ssl_distill import SSLDistillTask
from espnet_kd.tasks.ssl_model import SSLDistillModel

RATE = 16000
BATCHES = [[f"u{i}{j}" for j in range(3)] for i in range(7)]
ALL = sorted(itertools.chain.from_iterable(BATCHES))
SIZES = [400 * i for i in range(4, 24)]  # 0.1 to 0.575 s
OPTIONS = {"seconds_per_batch": 1.0, "min_seconds": 0.15, "max_seconds": 0.5}


def ranks(processes: int, seed: int, **changes: bool) -> list[list[list[str]]]:
    how = {"published": False, "reorder": True, **changes}
    return [
        EpochBatches(BATCHES, processes=processes, rank=rank, **how).generate(seed)
        for rank in range(processes)
    ]


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_processes_get_equally_many_batches_and_everything_once(processes: int) -> None:
    shares = ranks(processes, seed=5)
    assert len({len(share) for share in shares}) == 1
    assert sorted(itertools.chain.from_iterable(itertools.chain(*shares))) == ALL
    assert shares == ranks(processes, seed=5)
    assert shares != ranks(processes, seed=6)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_published_order_never_changes_and_repeats_batches(processes: int) -> None:
    shares = ranks(processes, seed=5, published=True)
    assert shares == ranks(processes, seed=6, published=True)
    assert sum(map(len, shares)) == 8
    assert sorted(set(itertools.chain.from_iterable(itertools.chain(*shares)))) == ALL


def test_validation_keeps_its_order() -> None:
    assert ranks(1, seed=5, reorder=False) == ranks(1, seed=6, reorder=False) == [BATCHES]


def test_as_many_batches_as_said() -> None:
    for published in (True, False):
        batches = EpochBatches(BATCHES, published=published, reorder=True, processes=3, rank=1)
        assert len(batches) == len(list(batches)) == len(batches.generate(9))
        assert batches.utterances() == set(ALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Utterances whose samples tell their position (as fractions of 2^15)."""
    lines: dict[str, list[str]] = {"wav.scp": [], "utt2num_samples": []}
    for number, size in enumerate(SIZES):
        path = tmp_path / f"u{number:02d}.wav"
        soundfile.write(path, (np.arange(size) / 2**15).astype("float32"), RATE)
        lines["wav.scp"].append(f"u{number:02d} {path}\n")
        lines["utt2num_samples"].append(f"u{number:02d} {size}\n")
    for name, rows in lines.items():
        (tmp_path / name).write_text("".join(rows))
    return tmp_path


@pytest.fixture
def args(folder: Path) -> Callable[..., Namespace]:
    """`args(kd_conf={...}, name=value)`: options of a run on the folder."""

    def build(*, batching: dict | None = None, **changes: object) -> Namespace:
        words = ["--output_dir", str(folder / "exp"), "--num_workers", "0", "--seed", "3"]
        for part in ("train", "valid"):
            stream = f"{folder / 'wav.scp'},speech,sound"
            words += [f"--{part}_data_path_and_name_and_type", stream]
            words += [f"--{part}_shape_file", str(folder / "utt2num_samples")]
        made = SSLDistillTask.get_parser().parse_args(words)
        made.kd_conf = {"batching": {**OPTIONS, **(batching or {})}}
        vars(made).update(changes)
        return made

    return build


def factory(args: Namespace, mode: str = "train") -> SequenceIterFactory:
    return SSLDistillTask.build_iter_factory(args, DistributedOption(), mode)


def ids(made: SequenceIterFactory, epoch: int) -> list[list[str]]:
    return [list(batch) for batch in made.build_iter(epoch).batch_sampler]


def test_each_epoch_has_its_order_whatever_came_before(args) -> None:
    made = factory(args())
    first, second = ids(made, 1), ids(made, 2)
    assert first != second
    assert sorted(first) == sorted(second)
    assert ids(factory(args()), 2) == second  # a resumed run
    assert ids(factory(args(seed=4)), 1) == second  # seed + epoch, as everywhere in ESPnet
    published = factory(args(batching={"quirks": "published"}))
    assert ids(published, 1) == ids(published, 2)


def test_short_epochs_go_through_all_batches(args) -> None:
    whole = factory(args())
    total = len(ids(whole, 1))
    short = factory(args(num_iters_per_epoch=2))
    assert [len(ids(short, epoch)) for epoch in (1, 2, 3)] == [2, 2, 2]
    seen = list(itertools.chain(*(ids(short, epoch) for epoch in range(1, total + 1))))
    assert sorted(seen) == sorted(ids(whole, 1) * 2)


def starts_and_lengths(made: SequenceIterFactory, epoch: int = 1) -> dict[str, tuple[int, int]]:
    """First sample and length of each utterance as the model gets it."""
    found = {}
    np.random.seed(epoch)  # noqa: NPY002  # ESPnet seeds the global generator
    for keys, batch in made.build_iter(epoch):
        assert batch["speech"].shape[1] == batch["speech_lengths"].min()
        for key, row, length in zip(keys, batch["speech"], batch["speech_lengths"], strict=True):
            found[key] = (round(float(row[0]) * 2**15), int(length))
    return found


def test_crops_of_training_and_validation(args) -> None:
    train, valid = factory(args()), factory(args(), "valid")
    seen = starts_and_lengths(train)
    assert sorted(seen) == [f"u{i:02d}" for i, size in enumerate(SIZES) if size >= 2400]
    assert max(length for _, length in seen.values()) == 8000
    assert all(start % 320 == 0 for start, _ in seen.values())
    first, again = starts_and_lengths(valid), starts_and_lengths(valid, 2)
    assert first == again
    for key, (start, length) in first.items():
        assert start == (SIZES[int(key[1:])] - length) // 2 // 320 * 320


def test_published_crops(args) -> None:
    options = args(batching={"quirks": "published"})
    for mode in ("train", "valid"):
        made = factory(options, mode)
        found = [starts_and_lengths(made, epoch) for epoch in range(1, 5)]
        assert max(SIZES[int(key[1:])] for key in found[0]) == 8000  # longer ones are left out
        assert len({str(sorted(each.items())) for each in found}) == 4
        assert any(start % 320 for start, _ in found[0].values())


def test_statistics_see_whole_utterances(args) -> None:
    collate = SSLDistillTask.build_collate_fn(args(collect_stats=True), train=False)
    items = [(f"u{n}", {"speech": np.zeros(n, "float32")}) for n in (9000, 16000)]
    assert collate(items)[1]["speech_lengths"].tolist() == [9000, 16000]


def test_attention_plots_keep_espnets_batches(args) -> None:
    made = factory(args(num_att_plot=2), "plot_att")
    assert ids(made, 1) == [["u00"], ["u01"]]


def test_what_is_left_out_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    samples = {"a": RATE, "b": 3 * RATE, "c": 4 * RATE, "d": 20 * RATE}
    caplog.set_level(logging.INFO)
    length_batches(BatchingOptions(quirks="published"), samples, RATE, subject="[train] x")
    assert "[train] x: 2 of 4 utterances (0.01 of 0.01 h) are left out: 1 shorter" in caplog.text
    assert "1 longer than max_seconds 15.625" in caplog.text
    assert "[train] x: 1 batches of up to 160 s; cropping uses 0.00 of 0.00 h" in caplog.text
    caplog.clear()
    length_batches(BatchingOptions(), samples, RATE, subject="[train] x")
    assert "1 of 4 utterances" in caplog.text
    assert "longer" not in caplog.text


def test_seconds_of_an_update_are_said(args, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    factory(args(accum_grad=4))
    assert "an update sees up to 4 s: 1 s per batch, accum_grad 4, 1 process(es)" in caplog.text


@pytest.mark.parametrize(
    ("samples", "part"),
    [
        ({}, "lists no utterance"),
        ({"a": 90, "b": 110}, r"none of its 2 .* 2 shorter .*\(they have 0.005625 to 0.006875 s\)"),
        ({"a": 90, "b": 10**6}, "1 shorter than min_seconds 2, 1 longer than max_seconds 15.625"),
    ],
)
def test_no_usable_utterance(samples: dict[str, int], part: str) -> None:
    with pytest.raises(DataDirError, match=part):
        length_batches(BatchingOptions(quirks="published"), samples, RATE, subject="shape")


def test_the_check_before_training_finds_it(args) -> None:
    with pytest.raises(DataDirError, match=r"\[train\] .*utt2num_samples: none of its 20"):
        check_lengths(args(batching={"min_seconds": 0.8, "max_seconds": 0.9}))
    check_lengths(args())
    check_lengths(args(kd_conf={}))


def test_shape_files_of_espnet_and_of_the_data_folder(tmp_path: Path) -> None:
    path = tmp_path / "shape"
    path.write_text("b 300\na 200,80\n")
    assert read_samples(str(path)) == {"b": 300, "a": 200}
    path.write_text("a 200\nb 1.5\n")
    with pytest.raises(DataDirError, match=r"shape:2: b has '1.5'.*utt2num_samples"):
        read_samples(str(path))


def test_options_that_would_undo_the_batches(args) -> None:
    assert batching_problems(args()) == []
    assert SSLDistillTask.problems(args()) == []
    wrong = args(iterator_type="chunk", valid_iterator_type="none", shuffle_within_batch=True)
    problems = SSLDistillTask.problems(wrong)
    assert len(problems) == 3
    assert all("kd_conf.batching" in problem for problem in problems)


def test_batches_of_an_update_weigh_the_same(student, teacher, speech) -> None:
    from espnet_kd.encoder import SpeechEncoder
    from espnet_kd.tasks.options import DistillConfig

    weights = {}
    for name, conf in (("ESPnet's", {}), ("ours", {"batching": {}})):
        model = SSLDistillModel(SpeechEncoder.from_config(student), DistillConfig.from_dict(conf))
        model.attach_teacher(teacher)
        model.start_epoch(1)
        weights[name] = [float(model.train(mode)(*speech)[2]) for mode in (True, False)]
    assert weights == {"ESPnet's": [3.0, 3.0], "ours": [1.0, 3.0]}
    assert torch.is_grad_enabled()
