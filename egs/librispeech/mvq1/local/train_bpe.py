"""Stage 2: byte-pair tokens by sentencepiece: ``bpe.model``, and ``tokens.txt`` for ESPnet."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espnet_kd.errors import KDError
from espnet_kd.evaluation.wer import read_text
from espnet_kd.utils.files import atomic_folder, write_text

BLANK, UNKNOWN, END = "<blank>", "<unk>", "<sos/eos>"


def train(texts: list[str], vocab_size: int, folder: Path) -> int:
    """Write both files; returns the number of tokens.

    Raises:
        RuntimeError: the texts are too few for so many tokens.
    """
    import sentencepiece

    with atomic_folder(folder, replaces=("bpe.*", "tokens.txt")) as new:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_prefix=str(new / "bpe"),
            vocab_size=vocab_size,
            model_type="bpe",
            character_coverage=1.0,
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
        )
        model = sentencepiece.SentencePieceProcessor(model_file=str(new / "bpe.model"))
        pieces = [model.id_to_piece(i) for i in range(len(model)) if not model.is_unknown(i)]
        tokens = [BLANK, UNKNOWN, *pieces, END]
        write_text(new / "tokens.txt", "".join(f"{token}\n" for token in tokens))
    return len(tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("texts", nargs="+", type=Path, help="Kaldi tables of transcripts")
    parser.add_argument("--vocab_size", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        texts = [text for path in args.texts for text in read_text(path).values()]
        count = train(texts, args.vocab_size, args.out)
    except (KDError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        sys.exit(f"train_bpe.py: --vocab_size {args.vocab_size}: {reason}")
    print(f"{args.out}: {count} tokens of {len(texts)} transcripts")


if __name__ == "__main__":
    main()
