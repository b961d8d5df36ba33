"""The espeak-ng engine of the ``espeakng-loader`` package, driven through its C interface.

The engine keeps hidden state (a running index of its pitch flutter), so the same words sound a
little different the second time. What *is* reproducible is a sequence of utterances in a fresh
process: create one :class:`Engine` per process and let it speak in a fixed order.

Shape suffix: S samples.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from espnet_kd.errors import KDError, MissingDependencyError

_RETRIEVAL = 1
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Voice:
    """How to speak."""

    name: str
    """Language and variant, such as ``en-us+m3``."""

    pitch: int = 50
    """Base pitch, 0-100."""

    pitch_range: int = 50
    """Liveliness of the intonation, 0-100; 0 is monotone."""

    words_per_minute: int = 160
    """Speaking rate, 80-450."""


class Engine:
    """Turns text into samples; one per process (see the module's note)."""

    sample_rate: int
    """Hz of what :meth:`say` returns (22050)."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise MissingDependencyError(
                "speech synthesis needs the package espeakng-loader: pip install espeakng-loader"
            ) from error
        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        rate = self._library.espeak_Initialize(_RETRIEVAL, 0, data, 0)
        if rate <= 0:
            raise KDError(f"espeak-ng does not start with its data in {data.decode()}")
        self.sample_rate = int(rate)
        self._pieces: list[npt.NDArray[np.int16]] = []
        self._callback = _CALLBACK(self._collect)  # kept: the engine holds only a bare pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: Voice) -> npt.NDArray[np.float32]:
        """Speak ``text``.

        Returns:
            (S,) float32 in [-1, 1] at :attr:`sample_rate`, silence at both ends removed.

        Raises:
            KDError: the voice does not exist, or the engine said nothing.
        """
        self._pieces.clear()
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise KDError(f"espeak-ng has no voice {voice.name!r}")
        self._library.espeak_SetParameter(_RATE, voice.words_per_minute, 0)
        self._library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        self._library.espeak_SetParameter(_RANGE, voice.pitch_range, 0)
        data = text.encode() + b"\0"
        self._library.espeak_Synth(
            ctypes.c_char_p(data), ctypes.c_size_t(len(data)), 0, 1, 0, _UTF8, None, None
        )
        self._library.espeak_Synchronize()
        if not self._pieces:
            raise KDError(f"espeak-ng said nothing for {text!r} with voice {voice.name!r}")
        return trim(np.concatenate(self._pieces).astype(np.float32) / 32768.0)


def trim(wave_S: npt.NDArray[np.float32], threshold: float = 1e-3) -> npt.NDArray[np.float32]:
    """Cut what is quieter than ``threshold`` at both ends."""
    loud = np.flatnonzero(np.abs(wave_S) > threshold)
    return wave_S[loud[0] : loud[-1] + 1] if len(loud) else wave_S[:0]
