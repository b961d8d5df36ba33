"""Whisper's rules of timestamps, for all rows of a batch at once.

Transformers applies them row by row with several waits for the device in each, which for a batch of
64 takes as long as a decoder step. The rules are OpenAI's (robust speech recognition via
large-scale weak supervision, arXiv 2212.04356, section 4.5).

Shape suffixes: R rows, L decoder input, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NEVER = float("-inf")


class TimestampRules:
    """A logits processor: times come in pairs, never go back, and come when likelier than words."""

    def __init__(
        self, *, begin_index: int, end: int, timestamp_begin: int, max_initial_timestamp: int | None
    ) -> None:
        """Set the rules.

        Args:
            begin_index: length of the prefix.
            end: id of the end token; all ids below it are text.
            timestamp_begin: id of 0.00; notimestamps is the id before it.
            max_initial_timestamp: latest first timestamp in steps of 0.02 s; None = no limit.
        """
        self.begin_index = begin_index
        self.end = end
        self.timestamp_begin = timestamp_begin
        self.max_initial_timestamp = max_initial_timestamp

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return (R, V) scores with -inf where the rules forbid a token after (R, L) ids."""
        scores_RV = scores.clone()
        scores_RV[:, self.timestamp_begin - 1] = _NEVER
        said_RL = input_ids[:, self.begin_index :]
        if said_RL.shape[1] == 0:
            self._first(scores_RV)
        else:
            self._pairs_in_order(said_RL, scores_RV)
        return self._prefer_likely_time(scores_RV)

    def _first(self, scores_RV: Tensor) -> None:
        scores_RV[:, : self.timestamp_begin] = _NEVER
        if self.max_initial_timestamp is not None:
            scores_RV[:, self.timestamp_begin + self.max_initial_timestamp + 1 :] = _NEVER

    def _pairs_in_order(self, said_RL: Tensor, scores_RV: Tensor) -> None:
        is_time_RL = said_RL >= self.timestamp_begin
        last_R = is_time_RL[:, -1]
        before_R = is_time_RL[:, -2] if said_RL.shape[1] > 1 else torch.ones_like(last_R)
        times_RV = scores_RV[:, self.timestamp_begin :]
        times_RV.masked_fill_((last_R & before_R)[:, None], _NEVER)
        scores_RV[:, : self.end].masked_fill_((last_R & ~before_R)[:, None], _NEVER)
        # A time that closes a stretch may open the next one; any other time must be later.
        latest_R = torch.where(is_time_RL, said_RL - self.timestamp_begin, -1).amax(dim=1)
        least_R = torch.where(last_R & ~before_R, latest_R, latest_R + 1)
        step_V = torch.arange(times_RV.shape[1], device=scores_RV.device)
        times_RV.masked_fill_(step_V < least_R[:, None], _NEVER)

    def _prefer_likely_time(self, scores_RV: Tensor) -> Tensor:
        times_R = scores_RV[:, self.timestamp_begin :].float().logsumexp(dim=-1)
        word_R = scores_RV[:, : self.timestamp_begin].float().amax(dim=-1)
        scores_RV[:, : self.timestamp_begin].masked_fill_((times_R > word_R)[:, None], _NEVER)
        return scores_RV
