"""``decoder: kd_whisper_decoder``: a Whisper's decoder in stock ESPnet ASR, with its beam search.

Each hypothesis carries the attention keys and values of its tokens; those of the speech are made
once per utterance and shared by all its hypotheses.

Shapes: B batch or hypotheses, T tokens, E encoder positions, D width, V vocabulary, H heads,
K width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from espnet.nets.scorer_interface import BatchScorerInterface
from espnet2.asr.decoder.abs_decoder import AbsDecoder
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.errors import ConfigError, WhisperError
from espnet_kd.tasks.whisper_student import load_student

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class DecoderState:
    """What one hypothesis remembers, per layer."""

    own: list[KeysValues]
    """(1, H, T, K) keys and values of its tokens."""

    speech: list[KeysValues]
    """(1, H, E, K) keys and values of the encoder states; one object for all hypotheses."""


class KDWhisperDecoder(AbsDecoder, BatchScorerInterface):
    """A transformers Whisper decoder with its output projection under ESPnet's interface.

    Args:
        vocab_size: number of tokens in ``--token_list``; ``bin.whisper_token_list`` writes it.
        encoder_output_size: width of the encoder states.
        pretrained: folder of a Whisper.
        student_conf: changes as in ``WhisperDistillTask``, e.g. ``{dropout: 0.1}``.
        language: decode in this language: the tokens of language, task and timestamps behind the
            start are then given, not searched. null leaves them to the search.
        task: transcribe or translate.
        timestamps: whether timestamps follow.
    """

    def __init__(
        self,
        vocab_size: int,
        encoder_output_size: int,
        pretrained: str | None = None,
        student_conf: dict[str, Any] | None = None,
        language: str | None = None,
        task: str = "transcribe",
        timestamps: bool = False,
    ) -> None:
        super().__init__()
        if pretrained is None:
            raise ConfigError("decoder_conf of kd_whisper_decoder", ["give pretrained: FOLDER"])
        bundle = load_student(pretrained, student_conf or {})
        _check_sizes(bundle, vocab_size, encoder_output_size)
        self.decoder = bundle.model.model.decoder
        self.vocab_size = vocab_size
        self.end = bundle.specials.end
        self.longest = int(bundle.model.config.max_target_positions)
        known = language is not None or not bundle.specials.is_multilingual
        prefix = bundle.specials.prefix(language, task, timestamps) if known else []
        self.forced = prefix[1:]  # ESPnet puts the start token there itself

    def forward(
        self, hs_pad: Tensor, hlens: Tensor, ys_in_pad: Tensor, ys_in_lens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of whole transcripts.

        Args:
            hs_pad: (B, E, D) encoder states; the decoder looks at all of them, as Whisper does.
            hlens: (B,) ignored.
            ys_in_pad: (B, T) tokens, beginning with the start token.
            ys_in_lens: (B,) their lengths.

        Returns:
            Logits (B, T, V), and the lengths.

        Raises:
            WhisperError: a transcript longer than the model's positions.
        """
        if ys_in_pad.shape[1] > self.longest:
            raise WhisperError(
                f"a transcript of {ys_in_pad.shape[1]} tokens is in the batch; the decoder takes "
                f"{self.longest}. Segment its utterance, or leave it out"
            )
        output = self.decoder(input_ids=ys_in_pad, encoder_hidden_states=hs_pad, use_cache=False)
        return self._logits(output.last_hidden_state), ys_in_lens

    def score(
        self, ys: Tensor, state: DecoderState | None, x: Tensor
    ) -> tuple[Tensor, DecoderState]:
        """Log-probabilities (V,) after one hypothesis ``ys`` (T,) on states ``x`` (E, D)."""
        scores_1V, states = self.batch_score(ys[None], [state], x[None])
        return scores_1V[0], states[0]

    def batch_score(
        self, ys: Tensor, states: Sequence[DecoderState | None], xs: Tensor
    ) -> tuple[Tensor, list[DecoderState]]:
        """Log-probabilities of the next token of several hypotheses of one length.

        Args:
            ys: (B, T) tokens.
            states: of the hypotheses without their last token; None at the beginning.
            xs: (B, E, D) encoder states.

        Returns:
            (B, V), and the states with the last token.
        """
        if ys.shape[1] > self.longest:
            raise WhisperError(f"a hypothesis has {ys.shape[1]} tokens; at most {self.longest} fit")
        known = [state for state in states if state is not None]
        cache = _joined(known) if len(known) == len(states) else None
        output = self.decoder(
            input_ids=ys if cache is None else ys[:, -1:],
            encoder_hidden_states=xs,
            past_key_values=cache,
            use_cache=True,
        )
        scores_BV = F.log_softmax(self._logits(output.last_hidden_state[:, -1]).float(), dim=-1)
        self._constrain(scores_BV, ys.shape[1])
        return scores_BV, _split(output.past_key_values, known if cache is not None else [])

    def _logits(self, states: Tensor) -> Tensor:
        return F.linear(states, self.decoder.embed_tokens.weight[: self.vocab_size])

    def _constrain(self, scores_BV: Tensor, length: int) -> None:
        """Leave only the given prefix at the beginning, and only the end where no room is left."""
        only = None
        if length <= len(self.forced):
            only = self.forced[length - 1]
        elif length == self.longest:
            only = self.end
        if only is not None:
            kept_B = scores_BV[:, only].clone() if only == self.end else 0.0
            scores_BV.fill_(-torch.inf)
            scores_BV[:, only] = kept_B


def _check_sizes(bundle: Any, vocab_size: int, encoder_output_size: int) -> None:
    config, problems = bundle.model.config, []
    if not len(bundle.tokenizer) <= vocab_size <= config.vocab_size:
        problems.append(
            f"the token list has {vocab_size} tokens, {bundle.name} has {len(bundle.tokenizer)}; "
            "write it with python -m espnet_kd.bin.whisper_token_list (ESPnet's own export leaves "
            "the special tokens out)"
        )
    if encoder_output_size != config.d_model:
        problems.append(
            f"the encoder is {encoder_output_size} wide, the decoder of {bundle.name} "
            f"{config.d_model}; take both from one model"
        )
    if problems:
        raise ConfigError("decoder_conf of kd_whisper_decoder", problems)


def _joined(states: Sequence[DecoderState]) -> Any:
    """One cache of transformers for a batch of hypotheses."""
    from transformers import DynamicCache, EncoderDecoderCache
    from transformers.cache_utils import DynamicLayer

    own, speech = DynamicCache(), DynamicCache()
    shared = all(state.speech is states[0].speech for state in states)
    for number in range(len(states[0].own)):
        own.update(*(torch.cat([s.own[number][i] for s in states]) for i in (0, 1)), number)
        layer = DynamicLayer()
        rows = [states[0].speech[number]] if shared else [s.speech[number] for s in states]
        layer.lazy_initialization(rows[0][0])
        keys, values = (torch.cat([row[i] for row in rows]) for i in (0, 1))
        # A view: the speech is not copied for each hypothesis.
        layer.keys = keys.expand(len(states), -1, -1, -1)
        layer.values = values.expand(len(states), -1, -1, -1)
        speech.layers.append(layer)
    return EncoderDecoderCache(own, speech)


def _split(cache: Any, before: Sequence[DecoderState]) -> list[DecoderState]:
    """A state for each hypothesis of a cache; what is known of the speech is kept."""
    own, speech = cache.self_attention_cache.layers, cache.cross_attention_cache.layers
    return [
        DecoderState(
            [(layer.keys[row : row + 1], layer.values[row : row + 1]) for layer in own],
            before[row].speech
            if before
            else [(layer.keys[row : row + 1], layer.values[row : row + 1]) for layer in speech],
        )
        for row in range(len(own[0].keys))
    ]
