"""What a model costs: parameters, MACs, real-time factor and memory.

``python -m espnet_kd.bin.profile DIR [--seconds 16] [--json OUT]`` for a checkpoint, or
``--architecture armhubert`` for a published architecture with random weights. The leaderboard's
MACs come with ``--superb``; ``--superb --no_timing`` counts them without running the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from espnet_kd.errors import KDError


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="espnet_kd.bin.profile", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("model", nargs="?", metavar="DIR", help="checkpoint (any supported format)")
    what.add_argument("--architecture", metavar="NAME", help="published architecture instead")
    parser.add_argument("--seconds", type=float, default=16.0, help="length of the utterance")
    parser.add_argument("--batch", type=int, default=1, help="utterances per call (time, memory)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--runs", type=int, default=5, help="timed calls (median is reported)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--superb", action="store_true", help="also SUPERB's MACs (32 utterances)")
    parser.add_argument("--no_timing", action="store_true", help="only count, do not run the model")
    parser.add_argument("--json", metavar="OUT", help="write the profile there as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON."""
    args = get_parser().parse_args(argv)
    # Torch takes seconds to import; --help need not wait for it.
    from espnet_kd.evaluation.profile import profile, profile_table
    from espnet_kd.utils.files import write_json

    options: dict[str, Any] = {
        key: getattr(args, key)
        for key in ("seconds", "batch", "threads", "runs", "device", "superb")
    }
    try:
        measured = profile(args.architecture or args.model, timing=not args.no_timing, **options)
        if args.json:
            write_json(args.json, measured)
    except KDError as error:
        sys.exit(f"espnet_kd.bin.profile: {error}")
    print(profile_table(measured))


if __name__ == "__main__":
    main()
