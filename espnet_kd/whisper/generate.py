"""Labels decoded by transformers: one call of its generation loop per batch, the scores kept.

Whisper's own ``generate`` changed in transformers 4.48: it returns new tokens only, and with
timestamps it goes on seeking inside the 30 s (spec whisper.md 2.5). The general loop below it gives
what the published command was written for: prefix, text and end of one pass, as
``force_unique_generate_call=True`` does, with the encoder run once for language and text.

Shape suffixes: B segments, M mel bins, F feature frames, P prefix, L decoded tokens.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from espnet_kd.errors import KDError, WhisperError
from espnet_kd.whisper.hypothesis import DecodingOptions, Hypothesis
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.scores import ScoreRecorder
from espnet_kd.whisper.specials import SpecialIds
from espnet_kd.whisper.timestamp_rules import TimestampRules


class TransformersBackend:
    """Decode with a ``WhisperForConditionalGeneration``, greedily or with beams."""

    name = "transformers"

    def __init__(self, model: Any, specials: SpecialIds, options: DecodingOptions) -> None:
        """Prepare decoding.

        Args:
            model: in eval mode, on its device and in its dtype.
            specials: ids of the special tokens.
            options: length, beams, timestamps.
        """
        self.model = model
        self.specials = specials
        self.options = options

    @classmethod
    def of(cls, bundle: WhisperBundle, options: DecodingOptions) -> TransformersBackend:
        """The backend of a loaded model."""
        return cls(bundle.model, bundle.specials, options)

    @torch.inference_mode()
    def encode(self, features_BMF: Tensor) -> Tensor:
        """Run the encoder: (B, M, F) features, F = 2 x max_source_positions."""
        features_BMF = features_BMF.to(self.model.device, self.model.dtype)
        with _memory_advice():
            encoded: Tensor = self.model.get_encoder()(features_BMF).last_hidden_state
        return encoded

    @torch.inference_mode()
    def detect_languages(self, encoded: Tensor) -> list[int]:
        """The likeliest language token of each segment."""
        ids = list(self.specials.languages.values())
        start_B1 = torch.full((len(encoded), 1), self.specials.start, device=encoded.device)
        output = self.model(
            encoder_outputs=_encoder_output(encoded),
            decoder_input_ids=start_B1,
            use_cache=False,
        )
        best_B = output.logits[:, -1, ids].argmax(dim=-1)
        return [ids[i] for i in best_B.tolist()]

    @torch.inference_mode()
    def generate(self, encoded: Tensor, prefixes: Sequence[Sequence[int]]) -> list[Hypothesis]:
        """Decode after the given prefixes.

        Raises:
            WhisperError: prefixes of several lengths, or not one for each segment.
        """
        from transformers import GenerationMixin

        check_prefixes(prefixes, len(encoded), self.options)
        prefix_BP = torch.tensor([list(prefix) for prefix in prefixes], device=encoded.device)
        recorder = ScoreRecorder(self.options.num_beams)
        with _memory_advice():
            # The general loop: Whisper's override would seek, detect and cut on its own.
            output = GenerationMixin.generate(
                self.model,
                generation_config=self._config(),
                use_model_defaults=False,
                logits_processor=self._processors(prefix_BP.shape[1], recorder),
                encoder_outputs=_encoder_output(encoded),
                # Of no effect, but without it every run warns that there is none.
                attention_mask=torch.ones(encoded.shape[:2], device=encoded.device),
                decoder_input_ids=prefix_BP,
                max_length=self.options.max_label_length,
                num_beams=self.options.num_beams,
            )
        tokens_BL = output.sequences[:, prefix_BP.shape[1] :]
        rows_BL = getattr(output, "beam_indices", None)
        if rows_BL is None:
            rows_BL = torch.arange(len(encoded), device=encoded.device)[:, None]
        scores = recorder.of(tokens_BL, rows_BL.long().clamp_min(0).expand(tokens_BL.shape))
        return [
            hypothesis_of(prefix, tokens, self.specials.end, logprobs, entropies)
            for prefix, tokens, logprobs, entropies in zip(
                prefixes, tokens_BL.tolist(), scores[0].tolist(), scores[1].tolist(), strict=True
            )
        ]

    def _config(self) -> Any:
        """The model's generation configuration (suppressed tokens above all), greedy or beams."""
        config = copy.deepcopy(self.model.generation_config)
        config.update(
            do_sample=False,
            temperature=None,
            forced_decoder_ids=None,
            max_new_tokens=None,
            num_return_sequences=1,
            return_dict_in_generate=True,
            output_scores=False,
            output_logits=False,
            output_attentions=False,
            output_hidden_states=False,
            eos_token_id=self.specials.end,
            pad_token_id=self.specials.end,
        )
        return config

    def _processors(self, prefix_length: int, recorder: ScoreRecorder) -> Any:
        """Timestamp rules where asked for, then the recorder; suppression comes before both."""
        from transformers import LogitsProcessorList

        processors = LogitsProcessorList()
        if self.options.return_timestamps:
            config = self.model.generation_config
            processors.append(
                TimestampRules(
                    begin_index=prefix_length,
                    end=self.specials.end,
                    timestamp_begin=self.specials.timestamp_begin,
                    max_initial_timestamp=getattr(config, "max_initial_timestamp_index", None),
                )
            )
        processors.append(recorder)
        return processors


def _encoder_output(encoded: Tensor) -> Any:
    """A new one for each call: beams are expanded in place."""
    from transformers.modeling_outputs import BaseModelOutput

    return BaseModelOutput(last_hidden_state=encoded)


def check_prefixes(
    prefixes: Sequence[Sequence[int]], segments: int, options: DecodingOptions
) -> None:
    """Refuse prefixes that do not fit the batch.

    Raises:
        WhisperError: prefixes of several lengths, too long, or not one for each segment.
    """
    lengths = {len(prefix) for prefix in prefixes}
    if len(prefixes) != segments or len(lengths) != 1:
        raise WhisperError(
            f"{segments} segment(s) need as many prefixes of one length, not {len(prefixes)} of "
            f"{sorted(lengths)} tokens"
        )
    if max(lengths) + 1 >= options.max_label_length:
        raise WhisperError(
            f"max_label_length {options.max_label_length} leaves no room for text behind a prefix "
            f"of {max(lengths)} tokens"
        )


def hypothesis_of(
    prefix: Sequence[int],
    tokens: Sequence[int],
    end: int,
    logprobs: Sequence[float],
    entropies: Sequence[float],
) -> Hypothesis:
    """Cut a padded row at its end token and average the scores up to and including it.

    Args:
        prefix: decoder input before the text.
        tokens: decoded row.
        end: id of the end token, also the padding.
        logprobs: of each token of the row.
        entropies: likewise.
    """
    finished = end in tokens
    length = list(tokens).index(end) if finished else len(tokens)
    scored = length + finished
    return Hypothesis(
        prefix=tuple(prefix),
        tokens=tuple(tokens[:length]),
        finished=finished,
        avg_logprob=sum(logprobs[:scored]) / scored if scored else None,
        mean_entropy=sum(entropies[:scored]) / scored if scored else None,
        logprobs=tuple(logprobs[:scored]),
        entropies=tuple(entropies[:scored]),
    )


@contextlib.contextmanager
def _memory_advice() -> Iterator[None]:
    """Turn the device's lack of memory into advice."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise KDError(
            "the device has too little memory for this batch; lower "
            "--per_device_eval_batch_size, or use --dtype bfloat16"
        ) from None
