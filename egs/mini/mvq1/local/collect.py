"""Stage 6: write the run JSON of both transducers from their transcripts, sizes and curves."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from egs.TEMPLATE.collect_runs import System, get_parser
from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.errors import KDError
from espnet_kd.evaluation.runs import Run, Score
from espnet_kd.evaluation.wer import read_text, word_error_rates

SYSTEMS = {
    "mvq": System("student", "transducer that also predicts the teacher's codes"),
    "no_codes": System("baseline", "the same transducer, as many updates, no codes"),
}
TRAINING_ONLY = ("codebook_loss.", "am_proj.", "lm_proj.", "num_updates")
"""Parts of the weights that decoding does without."""


def parameters(model: Path) -> int:
    """Parameters that decoding needs."""
    states = read_pickle(model)
    return sum(
        state.numel() for name, state in states.items() if not name.startswith(TRAINING_ONLY)
    )


def write_runs(args: argparse.Namespace) -> None:
    """Write ``SEED_DIR/results/NAME.json`` of both."""
    reference = read_text(args.reference)
    for name, system in SYSTEMS.items():
        found = read_text(args.seed_dir / "decode" / name / "1best_recog" / "text")
        wer = word_error_rates(reference, found).error_rate
        run = Run(
            name=name,
            role=system.role,
            scores=(Score("ASR", "WER", wer, "lower", "%"),),
            seed=args.seed,
            corpus=args.corpus,
            command=args.command,
            description=system.description,
            profile={
                "parameters": {"total": parameters(args.seed_dir / name / "valid.loss.ave.pth")}
            },
            curves=f"../{name}/tensorboard",
        )
        run.save(args.seed_dir / "results" / f"{name}.json")


def main() -> None:
    parser = get_parser(__doc__)
    parser.add_argument("--reference", type=Path, required=True, help="text of the test set")
    try:
        write_runs(parser.parse_args())
    except (KDError, OSError) as error:
        sys.exit(f"collect.py: {error}; run ./run.sh --stage 5")


if __name__ == "__main__":
    main()
