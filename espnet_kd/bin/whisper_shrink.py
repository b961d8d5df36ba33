r"""Make a smaller Whisper of some of a teacher's layers.

Options are those of Distil-Whisper's ``create_student_model``. Example::

    python -m espnet_kd.bin.whisper_shrink --teacher_checkpoint openai/whisper-large-v2 \
        --encoder_layers 16 --decoder_layers 16 --save_dir whisper-16-16
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.bin.run import run_command

DTYPES = ("float32", "float16", "bfloat16")


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_kd.bin.whisper_shrink",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--teacher_checkpoint", required=True, metavar="DIR", help="directory or hub repository"
    )
    parser.add_argument("--subfolder", default="", help="folder inside the checkpoint")
    parser.add_argument("--revision", help="commit or tag of a hub repository")
    parser.add_argument("--cache_dir", type=Path, help="where downloads are kept")
    parser.add_argument(
        "--encoder_layers", type=int, help="encoder layers to keep, evenly spaced (default: all)"
    )
    parser.add_argument(
        "--decoder_layers", type=int, help="decoder layers to keep, evenly spaced (default: 2)"
    )
    for stack in ("encoder", "decoder"):
        parser.add_argument(
            f"--{stack}_layers_numbers", type=int, nargs="+", metavar="N",
            help=f"these layers of the teacher's {stack} instead, e.g. 0 -1 for first and last",
        )  # fmt: skip
    parser.add_argument(
        "--max_source_positions", type=int, metavar="K",
        help="shorter context: 50 positions per second, whole seconds (default: the teacher's)",
    )  # fmt: skip
    parser.add_argument(
        "--compat", action="store_true",
        help="read lists of layers as the original does, faults included, to repeat an old run",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the weights")
    parser.add_argument("--save_dir", type=Path, required=True, help="directory to write")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the report there as JSON")
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    args = get_parser().parse_args(cmd)
    return run_command(lambda: shrink(args))


def shrink(args: argparse.Namespace) -> None:
    """Load the teacher, make and save the student, print what it kept.

    Raises:
        ConfigError: the student would be written over its teacher.
        KDError: the teacher cannot be read, lacks the layers, or the student cannot be written.
    """
    _refuse_teacher_as_target(args)
    # Torch and transformers take seconds to import; --help need not wait for them.
    import torch

    from espnet_kd.utils.files import write_json
    from espnet_kd.whisper.load import load_whisper
    from espnet_kd.whisper.shrink import save_student, shrink_whisper

    teacher = load_whisper(
        args.teacher_checkpoint,
        dtype=getattr(torch, args.dtype),
        subfolder=args.subfolder,
        revision=args.revision,
        cache_dir=args.cache_dir,
    )
    student, report = shrink_whisper(
        teacher,
        encoder_layers=args.encoder_layers,
        decoder_layers=args.decoder_layers,
        encoder_layers_numbers=args.encoder_layers_numbers,
        decoder_layers_numbers=args.decoder_layers_numbers,
        max_source_positions=args.max_source_positions,
        compat=args.compat,
    )
    save_student(student, args.save_dir)
    if args.json is not None:
        write_json(args.json, report.to_dict())
    print(report.table())
    print(f"written to {args.save_dir}")


def _refuse_teacher_as_target(args: argparse.Namespace) -> None:
    """A student takes the place of an earlier model; the teacher must not be that one."""
    from espnet_kd.errors import ConfigError

    teacher = Path(args.teacher_checkpoint) / args.subfolder
    if teacher.is_dir() and teacher.resolve() == args.save_dir.resolve():
        problem = f"--save_dir {args.save_dir} is the teacher's folder; choose another one"
        raise ConfigError("student", [problem])


if __name__ == "__main__":
    sys.exit(main())
