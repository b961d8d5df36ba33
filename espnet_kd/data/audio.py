"""Read one recording, or say exactly why it cannot be used.

Every function raises :class:`espnet_kd.errors.AudioError` with the utterance, the path and the
remedy. Nothing is repaired in silence: resampling and channel selection happen only on request.

Shape suffixes: S samples, C channels.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile

from espnet_kd.data.headers import promised_samples
from espnet_kd.errors import AudioError

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AudioPolicy:
    """What an acceptable recording is and what may be done to make it one."""

    sample_rate: int = 16000
    """Rate in Hz that the models expect; all published ones take 16000."""

    rate_policy: Literal["error", "resample"] = "error"
    """What to do with another rate; resampling is never silent, it must be asked for."""

    channels: Literal["error", "first"] = "error"
    """What to do with more than one channel: refuse, or take channel 0."""

    min_samples: int = 400
    """Shortest recording in samples; 400 samples (25 ms) give one frame."""

    max_seconds: float = 0.0
    """Longest recording in seconds; 0 = no limit."""


DEFAULT_POLICY = AudioPolicy()


@dataclass(frozen=True)
class AudioInfo:
    """What the header says."""

    path: Path
    sample_rate: int
    channels: int
    samples: int
    """Samples per channel."""

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.samples / self.sample_rate


def inspect_audio(
    path: str | Path,
    utterance: str,
    policy: AudioPolicy = DEFAULT_POLICY,
    *,
    content: bytes | None = None,
) -> AudioInfo:
    """Check a recording by its header (no samples are decoded, but the last one of a FLAC file).

    Args:
        path: WAV, FLAC, OGG, NIST SPH, or whatever else libsndfile reads.
        utterance: its id, for the message.
        policy: what is acceptable.
        content: the bytes of the file, where they are not on the disk; ``path`` only names them.

    Raises:
        AudioError: missing, a folder, 0 bytes, not audio, truncated, empty, too short or long,
            wrong rate, several channels.
    """
    file = Path(path)
    _check_is_file(file, utterance, content)
    try:
        header = soundfile.info(_opened(file, content))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        what = f"not readable as audio ({error})"
        raise _problem(utterance, file, what, _REMEDY_CONVERT) from error
    info = AudioInfo(file, header.samplerate, header.channels, header.frames)
    promised = promised_samples(file if content is None else io.BytesIO(content))
    if promised is not None and promised > info.samples:
        raise _truncated(utterance, file, info.samples, promised)
    if header.format == "FLAC" and info.samples > 0:
        _check_end(info, utterance, content)
    _check_policy(info, utterance, policy)
    return info


def read_audio(
    path: str | Path,
    utterance: str,
    policy: AudioPolicy = DEFAULT_POLICY,
    *,
    content: bytes | None = None,
    span: tuple[int, int] | None = None,
) -> Wave:
    """Read a recording as mono float32 in [-1, 1] at ``policy.sample_rate``.

    Args:
        path: a file as for :func:`inspect_audio`.
        utterance: its id, for the message.
        policy: what is acceptable.
        content: the bytes of the file, where they are not on the disk.
        span: first sample and the one behind the last, at ``policy.sample_rate``; the rest of the
            file is not decoded.

    Returns:
        (S,) float32 array, contiguous.

    Raises:
        AudioError: whatever :func:`inspect_audio` finds, fewer samples than promised, NaN, Inf.
    """
    info = inspect_audio(path, utterance, policy, content=content)
    first, stop = _frames(span, info, policy.sample_rate)
    try:
        wave_SC, _ = soundfile.read(
            _opened(info.path, content), dtype="float32", always_2d=True, start=first, stop=stop
        )
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise _problem(utterance, info.path, f"damaged inside ({error})", _REMEDY_AGAIN) from error
    if len(wave_SC) < stop - first:
        raise _truncated(utterance, info.path, first + len(wave_SC), stop)
    wave_S: Wave = np.ascontiguousarray(wave_SC[:, 0])
    check_samples(wave_S, utterance, info.path)
    if info.sample_rate != policy.sample_rate:
        wave_S = resample(wave_S, info.sample_rate, policy.sample_rate)
    return wave_S if span is None else wave_S[: span[1] - span[0]]


def _check_end(info: AudioInfo, utterance: str, content: bytes | None) -> None:
    """The header of FLAC says nothing of bytes; looking for the last sample takes microseconds."""
    try:
        with soundfile.SoundFile(_opened(info.path, content)) as recording:
            recording.seek(info.samples - 1)
            found = len(recording.read(1))
    except (soundfile.LibsndfileError, RuntimeError):
        found = 0
    if not found:
        what = f"truncated: the last of {info.samples} samples cannot be read"
        raise _problem(utterance, info.path, what, _REMEDY_AGAIN)


def _frames(span: tuple[int, int] | None, info: AudioInfo, rate: int) -> tuple[int, int]:
    """Frames of the file that hold the samples of ``span`` at ``rate``."""
    if span is None:
        return 0, info.samples
    first, stop = span
    return first * info.sample_rate // rate, -(-stop * info.sample_rate // rate)


def check_samples(wave_S: Wave, utterance: str, path: str | Path) -> None:
    """Refuse NaN and Inf (one such sample poisons a whole batch); warn about digital silence."""
    finite_S = np.isfinite(wave_S)
    if not finite_S.all():
        first = int(np.argmin(finite_S))
        count = int((~finite_S).sum())
        raise _problem(
            utterance,
            Path(path),
            f"{count} sample(s) are NaN or infinite, the first at {first}",
            "write the recording again from its source, or leave it out",
        )
    if not wave_S.any():
        warnings.warn(f"utterance {utterance}: {path} is silent (all zero)", stacklevel=2)


def resample(wave_S: Wave, from_rate: int, to_rate: int) -> Wave:
    """Change the rate by a polyphase filter (scipy); ceil(S * to / from) samples come out."""
    from scipy.signal import resample_poly

    divisor = int(np.gcd(from_rate, to_rate))
    changed: Wave = resample_poly(wave_S, to_rate // divisor, from_rate // divisor).astype(
        np.float32
    )
    return changed


_REMEDY_CONVERT = "check the path, or convert the file to 16 kHz mono WAV or FLAC"
_REMEDY_AGAIN = "copy or download it again, or leave the utterance out"


def _problem(utterance: str, path: Path, what: str, remedy: str) -> AudioError:
    return AudioError(f"utterance {utterance}: {path}: {what}; {remedy}")


def _truncated(utterance: str, path: Path, found: int, promised: int) -> AudioError:
    what = f"truncated: the header promises {promised} samples, {found} are there"
    return _problem(utterance, path, what, _REMEDY_AGAIN)


def _opened(path: Path, content: bytes | None) -> Any:
    """What soundfile reads from."""
    return str(path) if content is None else io.BytesIO(content)


def _check_is_file(path: Path, utterance: str, content: bytes | None) -> None:
    if content is not None:
        if not content:
            raise _problem(utterance, path, "there are 0 bytes", _REMEDY_AGAIN)
        return
    if path.is_dir():
        raise _problem(utterance, path, "is a folder, not a recording", _REMEDY_CONVERT)
    if not path.exists():
        raise _problem(utterance, path, "no such file", "correct wav.scp or restore the file")
    if path.stat().st_size == 0:
        raise _problem(utterance, path, "the file has 0 bytes", _REMEDY_AGAIN)


def _check_policy(info: AudioInfo, utterance: str, policy: AudioPolicy) -> None:
    if info.channels > 1 and policy.channels == "error":
        what = f"has {info.channels} channels, the models take one"
        remedy = "mix it down, or take the first (--channels first)"
        raise _problem(utterance, info.path, what, remedy)
    if info.sample_rate != policy.sample_rate and policy.rate_policy == "error":
        what = f"is sampled at {info.sample_rate} Hz, {policy.sample_rate} Hz is needed"
        raise _problem(utterance, info.path, what, "resample it (--rate_policy resample)")
    shortest = policy.min_samples * info.sample_rate / policy.sample_rate
    if info.samples < shortest:
        what = f"has {info.samples} sample(s), at least {int(np.ceil(shortest))} are needed"
        raise _problem(utterance, info.path, what, "leave it out (--skip_bad true)")
    if policy.max_seconds and info.seconds > policy.max_seconds:
        what = f"lasts {info.seconds:.1f} s, more than the limit of {policy.max_seconds:g} s"
        raise _problem(utterance, info.path, what, "segment it or raise --max_seconds")
