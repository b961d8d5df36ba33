"""Stage 2: a teacher must recognise speech well enough to label it; its WER says whether it does.

``check_wer.py exp/proof --at_most 40`` reads the metrics that bin.whisper_evaluate left there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at_most", type=float, default=0.0, help="percent; 0 = only say it")
    args = parser.parse_args()
    files = sorted(args.folder.glob("*_metrics.json"))
    if not files:
        sys.exit(f"{args.folder}: no metrics; run the stage that evaluates")
    for file in files:
        found = json.loads(file.read_text(encoding="utf-8"))
        if "WER" not in found:
            print(f"{found['model_id']}: {found['split']} has no transcripts, its WER is not known")
            continue
        name = Path(found["model_id"]).name
        print(f"{name}: WER {found['WER']:.2f} % on {found['num_samples']} utterances")
        if args.at_most and found["WER"] > args.at_most:
            sys.exit(
                f"that is above {args.at_most:g} %: its labels would teach little. Is it the right "
                "language and data? --teacher_max_wer 0 goes on all the same"
            )


if __name__ == "__main__":
    main()
