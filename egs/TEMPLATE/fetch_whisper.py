"""Stage 0: fetch a Whisper from the Hugging Face Hub into a folder; what is there is kept.

``fetch_whisper.py openai/whisper-large-v3 --out downloads/teachers/whisper-large-v3``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espnet_kd.whisper.load import FILES

UNWANTED = ("model.fp32*",)
"""Single precision beside the half precision that large-v3 was published in."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("repository", help="OWNER/NAME on the hub")
    parser.add_argument("--revision", default="", help="commit or tag (default: the newest)")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    args = parser.parse_args()
    if args.repository.count("/") != 1 or args.repository.startswith((".", "/")):
        sys.exit(f"--teacher {args.repository}: no such folder, and no OWNER/NAME on the hub")
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            args.repository,
            revision=args.revision or None,
            local_dir=args.out,
            allow_patterns=list(FILES),
            ignore_patterns=list(UNWANTED),
        )
    except (OSError, ValueError) as error:
        sys.exit(
            f"fetch_whisper.py: {args.repository} cannot be fetched: {str(error).splitlines()[0]}. "
            "The same command goes on where it stopped; without a network give a folder: --teacher"
        )
    print(f"{args.out}: fetched from {args.repository}")


if __name__ == "__main__":
    main()
