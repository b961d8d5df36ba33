"""What S3PRL needs of ``torchaudio.sox_effects`` where libsox cannot be loaded.

Shape suffixes: C channels, S samples.
"""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from espnet_kd.errors import AudioError, MissingDependencyError

Effects = Sequence[Sequence[str]]

_HARMLESS = {("channels", "1"), ("rate", "16000")}
"""Effects that change nothing about a 16 kHz mono recording."""


def libsox_works() -> bool:
    """Whether torchaudio has sox effects and finds the library behind them."""
    try:
        from torchaudio import sox_effects

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchaudio 2.8 announces their removal in 2.9
            sox_effects.effect_names()
    except Exception:
        return False
    return True


def apply_effects_file(
    path: str,
    effects: Effects,
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,  # noqa: A002 - torchaudio's name
) -> tuple[Tensor, int]:
    """Read a file through sox effects, with torchaudio's signature.

    A gain on 16 kHz mono is a multiplication (equal to libsox within 4e-8); anything else goes
    through the ``sox`` program without dither, whose samples equal libsox's bit for bit.

    Args:
        path: recording.
        effects: chain such as ``[["rate", "16000"], ["gain", "-3.0"]]``.
        normalize: only True is supported: float32 samples in [-1, 1].
        channels_first: (C, S) or (S, C).
        format: format of the file where its suffix does not say it; only the program uses it.

    Returns:
        Samples and the sample rate in Hz.

    Raises:
        AudioError: the file cannot be read.
        MissingDependencyError: the chain needs the ``sox`` program, which is not installed.
    """
    if not normalize:
        raise AudioError(f"{path}: only normalize=True is supported without libsox")
    wave_CS, rate = _by_hand(path, effects) or _by_program(path, effects, format)
    return (wave_CS if channels_first else wave_CS.T), rate


def _by_hand(path: str, effects: Effects) -> tuple[Tensor, int] | None:
    """Apply gains to 16 kHz mono; None = not that simple."""
    chain = [tuple(effect) for effect in effects if tuple(effect) not in _HARMLESS]
    if any(len(effect) != 2 or effect[0] != "gain" for effect in chain):
        return None
    try:
        samples_SC, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path} is not readable as audio: {error}") from error
    if rate != 16000 or samples_SC.shape[1] != 1:
        return None
    gain = 10.0 ** (sum(float(effect[1]) for effect in chain) / 20.0)
    # float64 in between, one rounding; libsox clips as well
    wave = np.clip(samples_SC.T.astype(np.float64) * gain, -1.0, 1.0).astype(np.float32)
    return torch.from_numpy(wave), rate


def _by_program(path: str, effects: Effects, kind: str | None) -> tuple[Tensor, int]:
    if not Path(path).is_file():
        raise AudioError(f"{path} is not there")
    program = shutil.which("sox")
    if program is None:
        raise MissingDependencyError(
            f"{path}: the effects {' '.join(word for e in effects for word in e)} need sox: "
            "install the package sox (apt install sox) or libsox-dev, "
            "or convert the corpus to 16 kHz mono"
        )
    rate, channels = _result_format(path, effects)
    source = [path] if kind is None else ["-t", kind, path]
    words = [word for effect in effects for word in effect]
    command = [program, "-D", "-V1", *source, "-t", "f32", "-L", "-", *words]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise AudioError(f"{path}: sox failed: {done.stderr.decode(errors='replace').strip()}")
    samples_SC = np.frombuffer(done.stdout, dtype="<f4").reshape(-1, channels)
    return torch.from_numpy(samples_SC.T.copy()), rate


def _result_format(path: str, effects: Effects) -> tuple[int, int]:
    """Return rate and channels after the chain."""
    try:
        header = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path} is not readable as audio: {error}") from error
    rate, channels = header.samplerate, header.channels
    for name, *values in effects:
        if name == "rate":
            rate = int(values[-1])
        if name == "channels":
            channels = int(values[-1])
    return rate, channels
