"""Toy inputs of the LibriSpeech recipe: corpora in their real layouts, a random teacher."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.integration.s3prl.conftest import (
    WORDS,
    make_commands,
    make_libri,
    make_voxceleb,
    tone,
    write,
)

ROOT = Path(__file__).resolve().parents[2]
CONV = [[8, 10, 5], *[[8, 3, 2]] * 4, [8, 2, 2], [16, 2, 2]]
WIDTH = 12
STUDENT = {
    "conv_layers": CONV,
    "embed_dim": 16,
    "pos_conv_kernel": 8,
    "pos_conv_groups": 2,
    "head_dim": WIDTH,
    "layers": {"num_heads": 2, "head_dim": 8, "ffn_dim": 24, "reuse_pattern": [True, False]},
}
MORE_SPLITS = {"train-clean-360": 3, "train-other-500": 3, "dev-other": 2}


@dataclass(frozen=True)
class Toy:
    """Where everything is, and what starts the recipe's commands."""

    root: Path
    python: Path

    @property
    def options(self) -> list[str]:
        """What makes the recipe use the toys and run in seconds."""
        small = "--max_epoch 12 --num_workers 0 --use_matplotlib false"
        student = f"--student_conf '{json.dumps(STUDENT)}'"
        options = {
            "teacher": self.root / "teacher",
            "librispeech": self.root / "LibriSpeech",
            "lexicon": self.root / "lexicon.txt",
            "speech_commands": self.root,
            "voxceleb": self.root / "VoxCeleb1",
            "superb_conf": self.root / "superb",
            "datadir": self.root / "data",
            "expdir": self.root / "exp",
            "ngpu": 0,
            "utterances_per_update": 8,
            "per_gpu": 4,
            "train_args": f"{small} {student} --kd_conf '{{mask: {{mask_length: 3}}}}'",
        }
        return [f"--{name}={value}" for name, value in options.items()]


def make_more_splits(root: Path) -> None:
    """The rest of the 960 hours, and of the validation set."""
    for number, (split, count) in enumerate(MORE_SPLITS.items(), start=20):
        folder = root / split / str(number) / "10"
        names = [f"{number}-10-{index:04d}" for index in range(count)]
        for index, name in enumerate(names):
            write(folder / f"{name}.flac", tone(0.5 + 0.1 * index, 10.0 * number, index))
        lines = [f"{name} {next(iter(WORDS)).upper()}\n" for name in names]
        (folder / f"{number}-10.trans.txt").write_text("".join(lines))


def make_teacher(folder: Path, name: str = "hubert_base") -> None:
    """A random HuBERT or WavLM of two layers in our own format."""
    import torch

    from espnet_kd.encoder import SpeechEncoder
    from espnet_kd.encoder.architectures import architecture
    from espnet_kd.encoder.config import LayerConfig

    layers = [LayerConfig(num_heads=2, head_dim=6, ffn_dim=24) for _ in range(2)]
    config = architecture(name).replace(
        layers=layers, conv_layers=CONV, embed_dim=WIDTH, pos_conv_kernel=8, pos_conv_groups=2
    )
    torch.manual_seed(0)
    SpeechEncoder.from_config(config).save_pretrained(folder)


def make_superb_conf(folder: Path) -> None:
    """SUPERB's files with two updates and narrow heads."""
    folder.mkdir()
    for task in ("asr", "pr", "ks", "sid"):
        conf = yaml.safe_load((ROOT / "conf" / "superb" / f"{task}.yaml").read_text())
        conf["runner"].update(
            total_steps=2, eval_step=2, save_step=2, log_step=1, gradient_accumulate_steps=1
        )
        expert = conf["downstream_expert"]
        expert["corpus" if task == "pr" else "datarc"]["num_workers"] = 0
        if task == "ks":
            expert["datarc"]["batch_size"] = 4  # S3PRL drops incomplete batches
        if task == "asr":
            expert["modelrc"]["project_dim"] = 16
            expert["modelrc"]["RNNs"].update(dim=[16, 16])
        (folder / f"superb_{task}.yaml").write_text(yaml.safe_dump(conf))


def make_toy(root: Path, python: Path) -> Toy:
    """Write all of it."""
    make_libri(root / "LibriSpeech")
    make_more_splits(root / "LibriSpeech")
    make_voxceleb(root / "VoxCeleb1")
    make_commands(root / "speech_commands", root / "speech_commands_test")
    make_teacher(root / "teacher")
    make_superb_conf(root / "superb")
    return Toy(root, python)
