"""A distilled student as the encoder of stock ESPnet ASR, from the raw waveform."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from children import Outcome

from espnet_kd.pruning import PruningConfig, StructuredPruning, prune_encoder

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


def _asr_model(student: Path, folder: Path) -> torch.nn.Module:
    """A stock ESPnet CTC model around a saved student."""
    from espnet2.tasks.asr import ASRTask

    tokens, config = folder / "tokens.txt", folder / "asr.yaml"
    tokens.write_text("<blank>\n<unk>\nA\nB\nC\n<sos/eos>\n")
    config.write_text(yaml.safe_dump({**CONFIG, "encoder_conf": {"pretrained": str(student)}}))
    words = ["--config", str(config), "--token_list", str(tokens), "--output_dir", str(folder)]
    model: torch.nn.Module = ASRTask.build_model(ASRTask.get_parser().parse_args(words))
    return model


def test_structured_pruning_with_the_tasks_own_loss(distilled: Path, tmp_path: Path) -> None:
    """HJ-Pruning (arXiv 2302.14132): the gates join a stock ASR model and its CTC loss."""
    torch.manual_seed(0)
    model = _asr_model(distilled / "student", tmp_path)
    encoder = model.encoder.encoder
    options = PruningConfig(
        target_sparsity=0.3, pruning_units=["head", "interm"], sparsity_warmup=100, reg_lr=0.05
    )
    pruning = StructuredPruning(encoder, options)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(pruning.parameter_groups(trainable), lr=1e-3)
    speech_BS, lengths_B = torch.randn(3, 8000), torch.tensor([8000, 7000, 6000])
    text_BU, text_lengths_B = torch.randint(2, 5, (3, 4)), torch.tensor([4, 3, 2])
    batch = (speech_BS, lengths_B, text_BU, text_lengths_B)
    for step in range(600):
        loss = pruning.loss(step)["loss"]
        if step % 50 == 0:
            with pruning.applied(encoder):
                loss = loss + model(*batch)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert pruning.expected_sparsity().item() == pytest.approx(0.3, abs=0.05)
    model.eval()
    masks = pruning.eval().gates.masks()
    with torch.no_grad():
        with pruning.applied(encoder, masks):
            gated = model(*batch)[0]
        model.encoder.encoder, report = prune_encoder(encoder, masks)
        pruned = model(*batch)[0]
    assert report.parameters[1] < report.parameters[0]
    assert report.notes == []
    torch.testing.assert_close(pruned, gated, atol=1e-5, rtol=1e-4)
