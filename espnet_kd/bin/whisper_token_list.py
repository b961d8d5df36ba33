"""Write a Whisper's tokens as ESPnet's ``--token_list``, special tokens and timestamps included.

``python -m espnet_kd.bin.whisper_token_list --model DIR --out tokens.txt``

ESPnet's own export stops before the special tokens, and start and end of a text are then wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.bin.run import run_command


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of the Whisper")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Write the list; returns the exit code."""
    args = get_parser().parse_args(cmd)
    return run_command(lambda: write_token_list(args.model, args.out))


def write_token_list(model: Path, out: Path) -> None:
    """Write one token a line, in the order of their ids.

    Raises:
        CheckpointError: there is no tokenizer, or a damaged one.
    """
    from espnet_kd.utils.files import write_text
    from espnet_kd.whisper.load import read_tokenizer

    tokenizer = read_tokenizer(model)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    write_text(out, "".join(f"{token}\n" for token in tokens))


if __name__ == "__main__":
    sys.exit(main())
