"""A distilled student as the encoder of stock ESPnet ASR, from the raw waveform."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from children import Outcome

pytestmark = pytest.mark.integration

CONFIG = {
    "encoder": "kd_student",
    "frontend": None,
    "input_size": 1,
    "normalize": None,
    "decoder": None,
    "model_conf": {"ctc_weight": 1.0},
    "token_type": "word",
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "scheduler": "linear_warmup_decay",
    "scheduler_conf": {"total_steps": 30},
    "max_epoch": 3,
    "batch_type": "sorted",
    "batch_size": 6,
    "num_workers": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 2,
}


def espnet(forked: Callable[..., Outcome], *words: object) -> Outcome:
    """`python -m espnet_kd.bin.espnet ...` in a child."""

    def child() -> int:
        from espnet_kd.bin.espnet import main

        return main([str(word) for word in words])

    return forked(child)


def train_asr(
    forked: Callable[..., Outcome],
    corpus: Path,
    folder: Path,
    encoder_conf: dict,
    **changes: object,
) -> Outcome:
    """Fine-tune with CTC."""
    folder.mkdir()
    tokens = folder / "tokens.txt"
    tokens.write_text("<blank>\n<unk>\nA\nB\nC\n<sos/eos>\n")
    config = folder / "train.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "encoder_conf": encoder_conf, **changes}))
    words: list[object] = [
        "--config",
        config,
        "--token_list",
        tokens,
        "--output_dir",
        folder / "exp",
    ]
    for part in ("train", "valid"):
        words += [
            f"--{part}_data_path_and_name_and_type",
            f"{corpus / part / 'wav.scp'},speech,sound",
        ]
        words += [f"--{part}_data_path_and_name_and_type", f"{corpus / part / 'text'},text,text"]
        words += [f"--{part}_shape_file", corpus / part / "utt2num_samples"]
    return espnet(forked, "asr_train", *words)


@pytest.mark.parametrize("hidden_state", ["last", "weighted"])
def test_fine_tune_and_decode_without_the_student_folder(
    forked: Callable[..., Outcome], corpus: Path, distilled: Path, tmp_path: Path, hidden_state: str
) -> None:
    student = tmp_path / "student"
    shutil.copytree(distilled / "student", student)
    conf = {"pretrained": str(student), "hidden_state": hidden_state, "freeze_updates": 2}
    outcome = train_asr(forked, corpus, tmp_path / "asr", conf)
    assert outcome.code == 0, outcome.output
    exp = tmp_path / "asr" / "exp"
    start = {f"encoder.encoder.{k}": v for k, v in _weights(student).items()}
    tuned = torch.load(exp / "3epoch.pth", weights_only=False)
    frozen = "encoder.encoder.feature_extractor.conv_layers.0.conv.weight"
    assert torch.equal(tuned[frozen], start[frozen])  # freeze_frontend
    moved = [name for name, value in start.items() if not torch.equal(tuned[name], value)]
    assert moved  # trained after the frozen updates, from the student's weights

    shutil.rmtree(student)
    decoded = espnet(
        forked,
        *("asr_inference", "--ngpu", 0, "--beam_size", 2, "--ctc_weight", 1.0, "--maxlenratio", 0),
        *("--data_path_and_name_and_type", f"{corpus / 'valid' / 'wav.scp'},speech,sound"),
        *("--asr_train_config", exp / "config.yaml", "--output_dir", tmp_path / "decoded"),
        *("--asr_model_file", exp / "valid.loss.ave.pth"),
    )
    assert decoded.code == 0, decoded.output
    lines = (tmp_path / "decoded" / "1best_recog" / "text").read_text().splitlines()
    assert len(lines) == 4


def test_frozen_updates_leave_the_student_alone(
    forked: Callable[..., Outcome], corpus: Path, distilled: Path, tmp_path: Path
) -> None:
    conf = {"pretrained": str(distilled / "student"), "freeze_updates": 1000}
    assert train_asr(forked, corpus, tmp_path / "asr", conf, max_epoch=1).code == 0
    tuned = torch.load(tmp_path / "asr" / "exp" / "1epoch.pth", weights_only=False)
    start = _weights(distilled / "student")
    assert all(
        torch.equal(tuned[f"encoder.encoder.{name}"], value) for name, value in start.items()
    )


def test_missing_student_is_never_replaced_by_random_weights(
    forked: Callable[..., Outcome], corpus: Path, tmp_path: Path
) -> None:
    outcome = train_asr(forked, corpus, tmp_path / "asr", {"pretrained": str(tmp_path / "gone")})
    assert outcome.code == 1
    assert "encoder_conf.pretrained: no such folder" in outcome.output
    assert not (tmp_path / "asr" / "exp").exists()


def test_unknown_command(forked: Callable[..., Outcome]) -> None:
    outcome = espnet(forked, "asr_trian")
    assert outcome.code == 1
    assert "ESPnet has no command asr_trian" in outcome.output


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from espnet_kd import load_model

    return load_model(folder).state_dict()
