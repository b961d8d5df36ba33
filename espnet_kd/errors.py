"""Errors that users see: one sentence on what is wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable


class KDError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(KDError, ValueError):
    """A configuration is wrong; the message lists all problems at once."""

    def __init__(self, subject: str, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{subject}: {len(self.problems)} problem(s){lines}")


class ScoreError(ConfigError):
    """Scores of a benchmark are missing, or cannot be what they are said to be; lists them all."""


class CheckpointError(KDError, ValueError):
    """A checkpoint is missing, damaged, or does not fit the model that should read it."""


class AudioError(KDError, ValueError):
    """A recording cannot be used; the message names the utterance and the file."""


class DataDirError(KDError, ValueError):
    """A data directory is inconsistent; the message names the file and the line."""


class WhisperError(KDError, ValueError):
    """A Whisper model, its tokens or its labels cannot be used as asked."""


class MissingDependencyError(KDError, ImportError):
    """An optional dependency is not installed; the message says what to install."""
