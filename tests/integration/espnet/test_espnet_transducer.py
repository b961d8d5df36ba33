"""ESPnet's transducer trained with our losses, then decoded by stock ESPnet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from children import Outcome

pytestmark = pytest.mark.integration

CONFIG = {
    "frontend_conf": {"n_fft": 256, "hop_length": 128, "n_mels": 16},
    "encoder_conf": {
        "input_conf": {"vgg_like": False, "subsampling_factor": 4, "conv_size": 8},
        "body_conf": [
            {
                "block_type": "conformer", "hidden_size": 16, "linear_size": 16, "heads": 2,
                "conv_mod_kernel_size": 3,
            }
        ],
    },
    "decoder": "stateless",
    "decoder_conf": {"embed_size": 16},
    "joint_network_conf": {"joint_space_size": 16},
    "token_type": "word",
    "normalize": "utterance_mvn",
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "max_epoch": 2,
    "batch_type": "sorted",
    "batch_size": 6,
    "num_workers": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 1,
}  # fmt: skip


def train(
    forked: Callable[..., Outcome], corpus: Path, folder: Path, *options: str, **model_conf: object
) -> Outcome:
    """`python -m espnet_kd.bin.asr_transducer_train ...` in a child."""
    folder.mkdir(exist_ok=True)
    tokens, config = folder / "tokens.txt", folder / "train.yaml"
    tokens.write_text("<blank>\n<unk>\nA\nB\nC\n<sos/eos>\n")
    config.write_text(yaml.safe_dump({**CONFIG, "model_conf": model_conf}))
    words: list[object] = ["--config", config, "--token_list", tokens, *options]
    words += ["--output_dir", folder / "exp"]
    for part in ("train", "valid"):
        option = f"--{part}_data_path_and_name_and_type"
        words += [option, f"{corpus / part / 'wav.scp'},speech,sound"]
        words += [option, f"{corpus / part / 'text'},text,text"]
        words += [f"--{part}_shape_file", corpus / part / "utt2num_samples"]

    def child() -> int:
        from espnet_kd.bin.asr_transducer_train import main

        return main([str(word) for word in words])

    return forked(child)


def test_a_run_that_is_started_again_goes_on() -> None:
    from espnet_kd.tasks.asr_transducer import KDTransducerTask

    assert KDTransducerTask.get_parser().parse_args(["--output_dir", "exp"]).resume is True


def test_schedules_of_ours_and_a_checkpoint_that_was_cut_off(
    forked: Callable[..., Outcome], corpus: Path, tmp_path: Path
) -> None:
    import torch

    eden = ("--scheduler", "eden", "--scheduler_conf", "lr_epochs=0.5")
    assert train(forked, corpus, tmp_path / "run", *eden).code == 0
    last = tmp_path / "run" / "exp" / "checkpoint.pth"
    epochs = torch.load(last, weights_only=False)["reporter"]["stats"]
    rates = [epochs[number]["train"]["optim0_lr0"] for number in (1, 2)]
    assert rates[1] < 0.7 * rates[0]  # (1 + (1 / 0.5)**2)**-0.25
    last.write_bytes(last.read_bytes()[:-100])
    again = train(forked, corpus, tmp_path / "run", *eden, "--max_epoch", "3")
    assert again.code == 1
    assert "checkpoint.pth is damaged" in again.output


def valid_loss(folder: Path, epoch: int) -> float:
    import torch

    checkpoint = torch.load(folder / "exp" / "checkpoint.pth", weights_only=False)
    return float(checkpoint["reporter"]["stats"][epoch]["valid"]["loss"])


PRUNED = {"use_k2_pruned_loss": True, "k2_pruned_loss_args": {"prune_range": 3, "lm_scale": 0.25}}


@pytest.mark.parametrize("model_conf", [{}, PRUNED], ids=["full", "pruned"])
def test_train_and_decode_with_stock_espnet(
    forked: Callable[..., Outcome], corpus: Path, tmp_path: Path, model_conf: dict[str, object]
) -> None:
    outcome = train(forked, corpus, tmp_path / "rnnt", **model_conf)
    assert outcome.code == 0, outcome.output
    if not model_conf:  # the warm-up of the pruned loss changes what is summed
        assert valid_loss(tmp_path / "rnnt", 2) < valid_loss(tmp_path / "rnnt", 1)

    def decode() -> None:
        from espnet2.bin.asr_transducer_inference import main

        exp = tmp_path / "rnnt" / "exp"
        words = [
            "--ngpu", "0", "--beam_size", "2", "--output_dir", str(tmp_path / "decoded"),
            "--data_path_and_name_and_type", f"{corpus / 'valid' / 'wav.scp'},speech,sound",
            "--asr_train_config", str(exp / "config.yaml"),
            "--asr_model_file", str(exp / "2epoch.pth"),
        ]  # fmt: skip
        main(words)

    decoded = forked(decode)
    assert decoded.code == 0, decoded.output
    lines = (tmp_path / "decoded" / "1best_recog" / "text").read_text().splitlines()
    assert len(lines) == 4


def test_options_that_our_losses_lack_are_one_message(
    forked: Callable[..., Outcome], corpus: Path, tmp_path: Path
) -> None:
    wrong = {**PRUNED, "k2_pruned_loss_args": {"prun_range": 3}, "fastemit_lambda": 0.1}
    outcome = train(forked, corpus, tmp_path / "rnnt", **wrong)
    assert outcome.code == 1
    assert "2 problem(s)" in outcome.output
    assert "FastEmit" in outcome.output
    assert "prun_range" in outcome.output
    assert "Traceback" not in outcome.output


def test_a_backend_without_the_loss_is_one_message(
    forked: Callable[..., Outcome], corpus: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torchaudio")
    folder = tmp_path / "rnnt"
    outcome = train(forked, corpus, folder, "--transducer_backend", "torchaudio", **PRUNED)
    assert outcome.code == 1
    assert "torchaudio has no pruned loss" in outcome.output
    assert "Traceback" not in outcome.output
