"""Toy inputs of egs/librispeech/mvq1: speech, a fine-tuned teacher, an experiment file, codes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import yaml

from tests.integration.s3prl.conftest import WORDS, tone, write
from tests.integration.toy_librispeech import CONV, ROOT

SPLITS = {"train-clean-100": 8, "dev-clean": 2, "dev-other": 1, "test-clean": 2, "test-other": 2}
SECONDS = 1.0
LETTERS = "|ETAONIHSRDLUMWCFGYPBVK'XJQZ"


def make_speech(root: Path) -> None:
    """Tones of a second, each with two words."""
    for number, (split, count) in enumerate(SPLITS.items(), start=1):
        folder, lines = root / split / str(number) / "10", []
        for index in range(count):
            name = f"{number}-10-{index:04d}"
            words = [list(WORDS)[(number + index + more) % len(WORDS)] for more in (0, 1)]
            write(folder / f"{name}.flac", tone(SECONDS, 150.0 * number + 20 * index, index))
            lines.append(f"{name} {' '.join(words).upper()}\n")
        (folder / f"{number}-10.trans.txt").write_text("".join(lines))


def make_fine_tuned(file: Path) -> None:
    """A random HuBERT of two layers as fairseq saves one that was fine-tuned with CTC."""
    import torch

    from espnet_kd.encoder import SpeechEncoder
    from espnet_kd.encoder.architectures import architecture
    from espnet_kd.encoder.config import LayerConfig
    from tests.unit.checkpoints.foreign import fairseq_options, fairseq_weights

    layers = [LayerConfig(num_heads=2, head_dim=8, ffn_dim=24) for _ in range(2)]
    config = architecture("hubert_large").replace(
        layers=layers, conv_layers=CONV, embed_dim=16, pos_conv_kernel=8, pos_conv_groups=2
    )
    torch.manual_seed(0)
    weights = fairseq_weights(SpeechEncoder.from_config(config))
    weights = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in weights.items()}
    labels = len(LETTERS) + 4
    weights["w2v_encoder.proj.weight"] = torch.randn(labels, 16)
    weights["w2v_encoder.proj.bias"] = torch.zeros(labels)
    inner = {"model": fairseq_options(config), "task": {"normalize": True}}
    model = {"_name": "hubert_ctc", "w2v_args": inner, "normalize": True}
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"cfg": {"model": model, "task": {"normalize": True}}, "model": weights}, file)
    lines = (f"{letter} {100 - rank}\n" for rank, letter in enumerate(LETTERS))
    (file.parent / "dict.ltr.txt").write_text("".join(lines))


def make_conf(file: Path) -> None:
    """The published file with three narrow layers and a warm-up of a few updates."""
    conf = yaml.safe_load((ROOT / "conf" / "mvq" / "conformer_100h.yaml").read_text())
    conf["frontend_conf"].update(n_mels=20)
    encoder = conf["encoder_conf"]
    encoder["input_conf"].update(conv_size=4)
    encoder["body_conf"][0].update(
        hidden_size=16, linear_size=16, heads=2, conv_mod_kernel_size=3, num_blocks=3
    )
    conf["decoder_conf"].update(embed_size=16)
    conf["joint_network_conf"].update(joint_space_size=16)
    conf["kd_conf"] = {"model_warm_step": 2}
    conf["scheduler_conf"].update(warmup_batches=4)
    conf.update(use_tensorboard=False, use_matplotlib=False)
    file.write_text(yaml.safe_dump(conf))


def make_published_codes(folder: Path, speeds: tuple[float, ...], codebooks: int) -> None:
    """Codes of the training split as icefall's authors publish them."""
    import h5py
    import numpy as np

    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    with h5py.File(folder / "train-1.h5", "w") as file:
        for index in range(SPLITS["train-clean-100"]):
            for speed in speeds:
                cut = f"1-10-{index:04d}-{index}" + ("" if speed == 1 else f"_sp{speed:g}")
                seconds = SECONDS / speed
                codes = rng.integers(0, 256, (int(seconds * 50), codebooks)).astype(np.uint8)
                file.create_dataset(cut, data=codes)
                array = {
                    "storage_type": "numpy_hdf5",
                    "storage_path": "exp/vq/splits1/train-1.h5",
                    "storage_key": cut,
                    "shape": list(codes.shape),
                }
                field = {"array": array, "temporal_dim": 0, "frame_shift": 0.02, "start": 0}
                custom = {"codebook_indexes": field}
                rows.append({"id": cut, "start": 0, "duration": seconds, "custom": custom})
    with gzip.open(
        folder / "with_codebook_indexes-librispeech-cuts_train-clean-100.jsonl.gz", "wt"
    ) as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
