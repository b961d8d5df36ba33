"""What S3PRL needs of ``torchaudio.sox_effects`` where libsox cannot be loaded.

Shape suffixes: C channels, S samples.
"""

from __future__ import annotations

import functools
import math
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from espnet_kd.errors import AudioError, MissingDependencyError
from s3prl_upstreams.silence import Samples, SilenceEffect

Effects = Sequence[Sequence[str]]

LONG_SAMPLES = 30 * 16000
"""Recordings that are longer are kept in memory, the last few."""

_FULL, _STEP = 2**31, 2**7

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

    Gains on 16 kHz mono, and cutting of silence behind them, are done here with sox's arithmetic:
    on 32-bit integers, rounded to 25 bits at the end, equal to the program's samples bit for bit
    where a file holds integers and within 6e-8 where it holds floats. Anything else goes through
    the ``sox`` program without dither, whose samples equal libsox's bit for bit.

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
    """Apply gains, then perhaps one cutting of silence, to 16 kHz mono; None = not that simple."""
    chain = [tuple(effect) for effect in effects if tuple(effect) not in _HARMLESS]
    silence = SilenceEffect.parse(chain[-1]) if chain else None
    gains = chain if silence is None else chain[:-1]
    if any(len(effect) != 2 or effect[0] != "gain" for effect in gains):
        return None
    try:
        header = soundfile.info(path)
        if header.samplerate != 16000 or header.channels != 1:
            return None
        asked = _Asked(path, header.subtype, tuple(float(d) for _, d in gains), silence)
        if header.frames > LONG_SAMPLES:
            state = Path(path).stat()
            return _kept(asked, state.st_mtime_ns, state.st_size).clone(), header.samplerate
        return _applied(asked), header.samplerate
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path} is not readable as audio: {error}") from error


@dataclass(frozen=True)
class _Asked:
    """A file and what is to be done to it."""

    path: str
    subtype: str
    gains: tuple[float, ...]
    silence: SilenceEffect | None


def _applied(asked: _Asked) -> Tensor:
    x_S = _read_integers(asked.path, asked.subtype)
    for decibels in asked.gains:
        x_S = _amplified(x_S, decibels)
    if asked.silence is not None:
        x_S = asked.silence.apply(x_S, 16000)
    return torch.from_numpy(_as_float(x_S)[None])


@functools.lru_cache(maxsize=8)
def _kept(asked: _Asked, _changed: int, _size: int) -> Tensor:
    """Keep a few long recordings: KS cuts its silence out of six, a minute each, at random."""
    return _applied(asked)


def _read_integers(path: str, subtype: str) -> Samples:
    if subtype.startswith("PCM"):
        return np.asarray(soundfile.read(path, dtype="int32")[0], dtype=np.int32)
    return _rounded(soundfile.read(path, dtype="float64")[0] * _FULL)


def _amplified(x_S: Samples, decibels: float) -> Samples:
    """Multiply as sox does."""
    return _rounded(x_S * math.exp(decibels * math.log(10) / 20))


def _rounded(y_S: NDArray[np.floating[Any]]) -> Samples:
    """Round half away from zero, and clip."""
    rounded_S = np.trunc(y_S + np.copysign(0.5, y_S))
    return np.asarray(np.clip(rounded_S, -_FULL, _FULL - 1), dtype=np.int32)


def _as_float(x_S: Samples) -> NDArray[np.float32]:
    """Return samples in [-1, 1], rounded to the 25 bits that sox writes into float files."""
    wide_S = x_S.astype(np.int64)
    rounded_S = ((wide_S + _STEP // 2) & -_STEP) / _FULL
    clipped_S = np.where(wide_S > _FULL - 1 - _STEP // 2, 1.0, rounded_S)
    return np.asarray(clipped_S, dtype=np.float32)


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
