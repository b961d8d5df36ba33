"""Tiny corpora in the layouts of SUPERB's tasks: tones of a speaker's own pitch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

WORDS = {"yes": "Y EH1 S", "no": "N OW1", "up": "AH1 P", "go": "G OW1"}


def tone(seconds: float, pitch: float, seed: int) -> np.ndarray:
    """A tone with a little noise, (S,) float32 at 16 kHz."""
    time = np.arange(round(seconds * 16000)) / 16000
    noise = np.random.default_rng(seed).normal(0, 0.01, len(time))
    return (0.3 * np.sin(2 * np.pi * pitch * time) + noise).astype(np.float32)


def write(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, 16000)


def make_libri(root: Path) -> None:
    splits = {"train-clean-100": 4, "dev-clean": 2, "test-clean": 2}
    for number, (split, count) in enumerate(splits.items(), start=1):
        folder = root / split / f"{number}" / "10"
        lines = []
        for index in range(count):
            name = f"{number}-10-{index:04d}"
            word = list(WORDS)[(number + index) % len(WORDS)].upper()
            write(folder / f"{name}.flac", tone(0.6 + 0.1 * index, 150.0 * number, index))
            lines.append(f"{name} {word} GO\n")
        (folder / f"{number}-10.trans.txt").write_text("".join(lines))
    lexicon = "".join(f"{word.upper()}\t{phones}\n" for word, phones in WORDS.items())
    (root.parent / "lexicon.txt").write_text(lexicon)


def make_voxceleb(root: Path) -> None:
    lines = []
    for speaker in (1, 2):
        for part, folder in ((1, "dev"), (1, "dev"), (2, "dev"), (3, "test")):
            path = f"id{10000 + speaker}/video/{len(lines):05d}.wav"
            write(root / folder / "wav" / path, tone(0.8, 120.0 * speaker, len(lines)))
            lines.append(f"{part} {path}\n")
    (root / "iden_split.txt").write_text("".join(lines))


def speaker_of(part: str) -> str:
    """A speaker name that Speech Commands' hash puts into ``train`` or ``valid``."""
    for number in range(1000):
        name = f"{number:08x}"
        digest = int(hashlib.sha1(name.encode()).hexdigest(), 16)
        percentage = digest % 2**27 * 100.0 / (2**27 - 1)
        if (part == "valid" and percentage < 10) or (part == "train" and percentage >= 20):
            return name
    raise AssertionError


def make_commands(root: Path, test_root: Path) -> None:
    for number, word in enumerate([*WORDS, "down", "left", "right", "on", "off", "stop", "cat"]):
        for part in ("train", "valid"):
            name = f"{speaker_of(part)}_nohash_0.wav"
            write(root / word / name, tone(0.3, 100.0 + 40 * number, number))
        where = "_unknown_" if word == "cat" else word
        write(test_root / where / "a_nohash_0.wav", tone(0.3, 100.0 + 40 * number, number))
    write(root / "_background_noise_" / "hum.wav", tone(1.5, 50.0, 0))
    write(test_root / "_silence_" / "a.wav", tone(0.3, 50.0, 1))


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with LibriSpeech/, lexicon.txt, VoxCeleb1/, speech_commands{,_test}/."""
    root = tmp_path_factory.mktemp("corpora")
    make_libri(root / "LibriSpeech")
    make_voxceleb(root / "VoxCeleb1")
    make_commands(root / "speech_commands", root / "speech_commands_test")
    return root


CONV = [[8, 10, 5], [8, 3, 2], [8, 3, 2], [8, 3, 2], [8, 3, 2], [8, 2, 2], [16, 2, 2]]


def tiny_student(**changes):
    """ARMHuBERT with four layers of 16 channels, in eval mode."""
    import torch

    from espnet_kd.encoder import SpeechEncoder
    from espnet_kd.encoder.architectures import architecture
    from espnet_kd.encoder.config import LayerConfig

    layers = [
        LayerConfig(attention=kind, num_heads=2, head_dim=8, ffn_dim=24)
        for kind in ("full", "reused", "full", "reused")
    ]
    config = architecture("armhubert").replace(
        layers=layers, conv_layers=CONV, embed_dim=16, pos_conv_kernel=8, pos_conv_groups=2,
        head_dim=12, **changes,
    )  # fmt: skip
    torch.manual_seed(0)
    return SpeechEncoder.from_config(config).eval()


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our directory of a random student."""
    path = tmp_path_factory.mktemp("student")
    tiny_student().save_pretrained(path)
    return path


@pytest.fixture
def waves_seen(monkeypatch):
    """Lengths of the waves that went through the upstream, batch by batch."""
    from s3prl_upstreams.expert import UpstreamExpert

    seen = []
    forward = UpstreamExpert.forward

    def counted(self, wavs, **options):
        seen.append([len(wav) for wav in wavs])
        return forward(self, wavs, **options)

    monkeypatch.setattr(UpstreamExpert, "forward", counted)
    return seen


@pytest.fixture(scope="session")
def layer_norm_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student to which the padding of a batch is nothing."""
    path = tmp_path_factory.mktemp("layer_norm")
    tiny_student(extractor_norm="layer_norm").save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pruned WavLM with three layers in the published layout (``.pth``)."""
    import torch

    from espnet_kd.checkpoints.dphubert import save_dphubert
    from espnet_kd.encoder import SpeechEncoder
    from espnet_kd.encoder.architectures import architecture
    from espnet_kd.encoder.config import LayerConfig

    layers = [
        LayerConfig(num_heads=1, head_dim=8, ffn_dim=24, kept_heads=[1]),
        LayerConfig(attention="none", ffn_dim=5),
        LayerConfig(num_heads=2, head_dim=8, ffn_dim=0),
    ]
    config = architecture("wavlm_base").replace(
        layers=layers, conv_layers=CONV, embed_dim=16, pos_conv_kernel=8, pos_conv_groups=2,
        total_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pruned") / "DPWavLM.pth"
    save_dphubert(SpeechEncoder.from_config(config), path)
    return path


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same student in the layout of the published repository: ``.ckpt`` and ``.yaml``."""
    import torch
    import yaml

    from espnet_kd.checkpoints.armhubert import STUDENT_PREFIX, name_table

    weights = name_table("group_norm").to_foreign(tiny_student().state_dict())
    distiller = {
        "extractor_mode": "default", "conv_feature_layers": str([tuple(c) for c in CONV]),
        "conv_pos": 8, "conv_pos_groups": 2, "encoder_layers": 4, "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 24, "encoder_attention_heads": 2, "pred_head_final_dim": 12,
        "reuse_pattern": "[True, False, True, False]", "layer_grad_scale": True,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("published")
    state = {f"{STUDENT_PREFIX}{name}": tensor for name, tensor in weights.items()}
    torch.save({"state_dict": state, "epoch": 1}, folder / "student.ckpt")
    (folder / "student.yaml").write_text(yaml.safe_dump({"distiller": distiller}))
    return folder / "student.ckpt", folder / "student.yaml"
