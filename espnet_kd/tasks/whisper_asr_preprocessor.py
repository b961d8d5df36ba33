"""``preprocessor: kd_whisper``: transcripts as Whisper's decoder wants them, in stock ESPnet ASR.

ESPnet puts the start and the end token around a text; Whisper also wants language, task and
notimestamps behind the start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from espnet2.train.preprocessor import CommonPreprocessor

from espnet_kd.errors import ConfigError
from espnet_kd.whisper.load import read_tokenizer
from espnet_kd.whisper.specials import SpecialIds

BLANK = 0
"""ESPnet's CTC takes token 0 for its blank, and its inference deletes it: Whisper's lone "!"."""


class KDWhisperPreprocessor(CommonPreprocessor):
    """ESPnet's preprocessor, with Whisper's prefix before the text.

    Args:
        train: as ESPnet gives it.
        language: code or name; null for an English-only model.
        task: transcribe or translate.
        **common: options of ESPnet's preprocessor; ``token_type`` must be hugging_face, and
            ``bpemodel`` the folder of the Whisper.
    """

    def __init__(
        self, train: bool, language: str | None = None, task: str = "transcribe", **common: Any
    ) -> None:
        kind, folder = common.get("token_type"), common.get("bpemodel")
        if kind != "hugging_face" or folder is None:
            raise ConfigError(
                "preprocessor kd_whisper",
                [
                    f"token_type is {kind}, bpemodel {folder}; write token_type: "
                    "hugging_face and bpemodel: FOLDER of the Whisper"
                ],
            )
        # First ours, which refuses code: ESPnet's takes whatever class the folder names.
        self.whisper = read_tokenizer(Path(folder))
        super().__init__(train, **common)
        specials = SpecialIds.of(self.whisper)
        self.prefix = specials.prefix(language, task)[1:]

    def _text_process(self, data: dict[str, Any]) -> dict[str, Any]:
        text = data.get(self.text_name)
        if isinstance(text, str):
            words = self.text_cleaner(text)
            ids = self.whisper(words, add_special_tokens=False).input_ids
            kept = [token for token in ids if token != BLANK]
            data[self.text_name] = np.array([*self.prefix, *kept], dtype=np.int64)
        return data
