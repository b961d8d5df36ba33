"""Stage 4: a Whisper for CTranslate2 (faster-whisper), converted by CTranslate2's own converter.

``convert_ctranslate2.py exp/student --out exp/ctranslate2``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espnet_kd.errors import KDError
from espnet_kd.whisper.ct2 import convert_to_ctranslate2
from espnet_kd.whisper.load import load_whisper


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        convert_to_ctranslate2(load_whisper(args.model), args.out)
    except KDError as error:
        sys.exit(f"convert_ctranslate2.py: {error}")
    print(f"{args.out}: faster_whisper.WhisperModel reads it")


if __name__ == "__main__":
    main()
