"""The size of a multi-codebook quantiser and what its codes cost on disk."""

from __future__ import annotations

from dataclasses import dataclass

from espnet_kd.errors import ConfigError
from espnet_kd.utils.options import too_small

MAX_BYTE = 256
FRAMES_PER_HOUR = 50 * 3600
"""Of the published teachers: a frame every 20 ms."""


@dataclass(frozen=True)
class QuantizerConfig:
    """Number and size of the codebooks; published ones are powers of two, others work too."""

    dim: int
    """Width D of the vectors."""

    num_codebooks: int = 8
    """Codebooks N; a vector is the sum of one centre of each (published: 8 or 16)."""

    codebook_size: int = 256
    """Centres K of a codebook (published: 256; 16 during the first phase of training)."""

    keep_best: bool = False
    """Codes are the best of all passes of refinement, not those of the last (published: False).
    Later passes may be worse, above all with many centres learnt from few vectors."""

    def __post_init__(self) -> None:
        problems = too_small(self, {"dim": 1, "num_codebooks": 1, "codebook_size": 2})
        if problems:
            raise ConfigError("quantiser", problems)

    @property
    def codes_per_byte(self) -> int:
        """Codes r in a byte; 0 where a code needs more than one."""
        if self.codebook_size > MAX_BYTE:
            return 0
        codes, size = 1, self.codebook_size
        while size * size <= MAX_BYTE and self.num_codebooks % (2 * codes) == 0:
            codes, size = 2 * codes, size * size
        return codes

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of a frame's packed codes.

        Raises:
            ConfigError: the codebooks are too large for bytes.
        """
        if self.codes_per_byte == 0:
            raise ConfigError(
                "quantiser",
                [f"codes of codebook_size {self.codebook_size} do not fit bytes; use 256 or less"],
            )
        return self.num_codebooks // self.codes_per_byte

    def bytes_per_hour(self, frames_per_hour: float = FRAMES_PER_HOUR) -> float:
        """Bytes of an hour of speech as packed codes (8 a frame at 50 Hz: 1.44 MB)."""
        return self.bytes_per_frame * frames_per_hour
