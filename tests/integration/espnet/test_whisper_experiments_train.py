"""Every experiment file of Whisper trains: two updates of a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
from children import finish, start

from tests.unit.tasks.whisper_corpus import (
    labelled,
    tiny_student,
    tiny_teacher,
    write_transcribed,
)

pytestmark = pytest.mark.integration

CONF = Path(__file__).resolve().parents[3] / "conf"
FILES = sorted(
    p for name in ("distil_whisper", "udistil_whisper") for p in (CONF / name).rglob("*.yaml")
)
WITHOUT_TEACHER = ("pseudo_labels_alone", "fine_tune")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, labels and transcripts."""
    import espnet_kd.tasks.whisper_distill  # noqa: F401
    from espnet_kd.whisper import save_whisper

    root = tmp_path_factory.mktemp("experiments")
    save_whisper(tiny_teacher(), root / "teacher")
    save_whisper(tiny_student(), root / "student")
    labelled(root / "train", 4)
    write_transcribed(root / "texts", {f"v{i}": "one two" for i in range(3)})
    return root


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_experiment_trains(path: Path, material: Path, tmp_path: Path) -> None:
    data = "texts" if path.stem == "fine_tune" else "train"
    words = [
        *("--config", path, "--student", material / "student", "--output_dir", tmp_path / "exp"),
        *("--train_dir", material / data, "--valid_dir", material / "texts"),
        *("--kd_conf", "language=en", "--kd_conf", "max_label_length=40"),
        *("--kd_conf", "generation_max_length=10", "--scheduler_conf", "warmup_steps=1"),
        *("--max_epoch", 1, "--num_iters_per_epoch", 2, "--batch_size", 2, "--num_workers", 0),
        *("--use_amp", "false", "--use_matplotlib", "false", "--use_tensorboard", "false"),
    ]
    if path.stem not in WITHOUT_TEACHER:
        words += ["--teacher", material / "teacher"]

    def child() -> int:
        from espnet_kd.bin.whisper_distill_train import main

        return main([str(word) for word in words])

    log = tmp_path / "log"
    outcome = finish(start(child, log), log)
    assert outcome.code == 0, outcome.output[-3000:]
    assert (tmp_path / "exp" / "student" / "model.safetensors").exists()
    assert "1epoch results" in outcome.output
