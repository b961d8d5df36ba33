"""Command-line options that the data commands share."""

from __future__ import annotations

import argparse

from espnet_kd.data.audio import AudioPolicy


def boolean(text: str) -> bool:
    """Parse ``true`` or ``false``, as ESPnet's options are written."""
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of :class:`AudioPolicy`."""
    default = AudioPolicy()
    group = parser.add_argument_group("what an acceptable recording is")
    group.add_argument("--sample_rate", type=int, default=default.sample_rate, help="Hz (16000)")
    group.add_argument(
        "--rate_policy",
        choices=("error", "resample"),
        default=default.rate_policy,
        help="another rate: refuse (default) or resample when it is read",
    )
    group.add_argument(
        "--channels",
        choices=("error", "first"),
        default=default.channels,
        help="several channels: refuse (default) or take the first",
    )
    group.add_argument("--min_samples", type=int, default=default.min_samples, help="400 = 1 frame")
    group.add_argument(
        "--max_seconds", type=float, default=default.max_seconds, help="0 = no limit"
    )


def policy_from(args: argparse.Namespace) -> AudioPolicy:
    """Collect the options into a policy."""
    return AudioPolicy(
        sample_rate=args.sample_rate,
        rate_policy=args.rate_policy,
        channels=args.channels,
        min_samples=args.min_samples,
        max_seconds=args.max_seconds,
    )
