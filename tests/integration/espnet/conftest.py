"""A tiny corpus, a tiny teacher, and runs in forked children of one process that has ESPnet
loaded."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from children import Outcome, finish, start

CONV_LAYERS = [[16, 10, 5], *[[16, 3, 2]] * 4, *[[24, 2, 2]] * 2]
STUDENT = {
    "conv_layers": CONV_LAYERS,
    "embed_dim": 24,
    "feature_projection": False,
    "pos_conv_kernel": 16,
    "pos_conv_groups": 4,
    "head_dim": 32,
    "layers": {
        "num_heads": 2,
        "head_dim": 12,
        "ffn_dim": 32,
        "reuse_pattern": [True, False],
    },
}
TEACHER = {
    "conv_layers": CONV_LAYERS,
    "embed_dim": 32,
    "pos_conv_kernel": 16,
    "pos_conv_groups": 4,
    "layers": {"num_layers": 2, "num_heads": 2, "head_dim": 16, "ffn_dim": 64},
}
WORDS = {300: "A", 700: "B", 1500: "C"}


@pytest.fixture(scope="session", autouse=True)
def warmed() -> None:
    """Load the toolkit once; children inherit it."""
    import torch.utils.tensorboard

    import espnet_kd.tasks.ssl_distill  # noqa: F401

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaldi folders `train` (12 utterances of 1 to 3 tones) and `valid` (4), with codes and
    transcripts."""
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.RandomState(0)
    for part, size in (("train", 12), ("valid", 4)):
        folder = root / part
        folder.mkdir()
        lines: dict[str, list[str]] = {
            "wav.scp": [],
            "utt2num_samples": [],
            "text": [],
            "codes": [],
        }
        for number in range(size):
            tones = rng.choice(list(WORDS), rng.randint(1, 4))
            parts = [0.3 * np.sin(2 * np.pi * tone * np.arange(4000) / 16000) for tone in tones]
            wave = np.concatenate(parts) * (1 + 0.1 * rng.randn(4000 * len(tones)))
            wave = np.concatenate([wave, 0.01 * rng.randn(rng.randint(0, 3000))])
            path = folder / f"u{number:02d}.wav"
            soundfile.write(path, wave.astype("float32"), 16000)
            frames = (len(wave) - 400) // 320 + 1
            codes = " ".join(str(int(c)) for c in rng.randint(0, 5, frames))
            for name, value in (
                ("wav.scp", path),
                ("utt2num_samples", len(wave)),
                ("text", " ".join(WORDS[tone] for tone in tones)),
                ("codes", codes),
            ):
                lines[name].append(f"u{number:02d} {value}\n")
        for name, rows in lines.items():
            (folder / name).write_text("".join(rows))
    return root


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random HuBERT-like teacher."""
    from espnet_kd.encoder import SpeechEncoder
    from espnet_kd.tasks.students import student_config

    folder = tmp_path_factory.mktemp("models") / "teacher"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        SpeechEncoder.from_config(student_config("hubert_base", TEACHER)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def command(corpus: Path, teacher: Path) -> Callable[..., list[str]]:
    """Words of a distillation command line: `command(output_dir, *extra)`."""

    def build(output_dir: Path, *extra: object) -> list[str]:
        words: list[object] = ["--output_dir", output_dir]
        for part in ("train", "valid"):
            words += [
                f"--{part}_data_path_and_name_and_type",
                f"{corpus / part / 'wav.scp'},speech,sound",
            ]
            words += [f"--{part}_shape_file", corpus / part / "utt2num_samples"]
        words += ["--student_conf", STUDENT, "--teacher", teacher, "--batch_size", 4]
        words += ["--max_epoch", 2, "--num_workers", 0, "--optim_conf", "lr=0.005"]
        words += ["--use_matplotlib", "false", "--use_tensorboard", "false"]
        return [str(word) for word in [*words, *extra]]

    return build


@pytest.fixture
def bad_corpus(corpus: Path, tmp_path: Path) -> Path:
    """A copy of the corpus whose tables point to the copies."""
    root = tmp_path / "bad"
    shutil.copytree(corpus, root)
    for part in ("train", "valid"):
        table = root / part / "wav.scp"
        table.write_text(table.read_text().replace(str(corpus), str(root)))
    return root


@pytest.fixture
def forked(tmp_path: Path) -> Callable[..., Outcome]:
    """`forked(function)`: run it in a child process; its return value is the exit code."""
    number = 0

    def run(function: Callable[[], object]) -> Outcome:
        nonlocal number
        number += 1
        log = tmp_path / f"child{number}.log"
        pid = start(function, log)
        return finish(pid, log)

    return run


@pytest.fixture
def train(
    command: Callable[..., list[str]], forked: Callable[..., Outcome]
) -> Callable[..., Outcome]:
    """`train(output_dir, *extra, before=function)`: one distillation run."""

    def run(
        output_dir: Path, *extra: object, before: Callable[[], object] | None = None
    ) -> Outcome:
        def child() -> int:
            from espnet_kd.bin.ssl_distill_train import main

            if before is not None:
                before()
            return main(command(output_dir, *extra))

        return forked(child)

    return run


@pytest.fixture
def together(
    command: Callable[..., list[str]], corpus: Path, tmp_path: Path
) -> Callable[..., list[Outcome]]:
    """`together(folder, *extra, data=copy of corpus)`: two gloo processes train in one folder."""
    ports = iter(range(30000 + os.getpid() % 20000, 65000))

    def run(folder: Path, *extra: object, data: Path = corpus) -> list[Outcome]:
        port = next(ports)

        def rank(number: int) -> Callable[[], int]:
            def child() -> int:
                from espnet_kd.bin.ssl_distill_train import main

                os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # ESPnet would take it for the rank
                os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
                words = ("--dist_world_size", 2, "--dist_rank", number, "--dist_backend", "gloo")
                line = command(folder, *extra, *words, "--ngpu", 0)
                return main([word.replace(str(corpus), str(data)) for word in line])

            return child

        logs = [tmp_path / f"{folder.name}.rank{number}.log" for number in range(2)]
        children = [start(rank(number), logs[number]) for number in range(2)]
        return [finish(pid, log) for pid, log in zip(children, logs, strict=True)]

    return run


@pytest.fixture
def distilled(train: Callable[..., Outcome], tmp_path: Path) -> Path:
    """Output folder of a finished 2-epoch run."""
    folder = tmp_path / "distilled"
    outcome = train(folder)
    assert outcome.code == 0, outcome.output
    return folder


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a folder, for tests that damage it."""

    def copy(folder: Path) -> Path:
        target = tmp_path / f"copy of {folder.name}"
        shutil.copytree(folder, target, symlinks=True)
        return target

    return copy
