r"""Turn speech into a teacher's codes, or into the vectors that a quantiser is trained on.

``python -m espnet_kd.bin.extract_codebook_indexes --data data/train --teacher TEACHER --layer 36 \\
    --out embeddings``
``python -m espnet_kd.bin.train_quantizer --embeddings embeddings/embeddings.scp --out quantizer``
``python -m espnet_kd.bin.extract_codebook_indexes --data data/train --teacher TEACHER --layer 36 \\
    --quantizer quantizer --out codes/train``

Without --quantizer, OUT receives the vectors of 1000 utterances (the published number). With one it
receives ``codes.scp``, which ESPnet reads as ``--train_data_path_and_name_and_type
codes/train/codes.scp,codes,kaldi_ark``, an archive per process, ``codes.json`` (teacher, quantiser,
sizes) and ``utt2num_frames``. A run that was stopped, even by kill -9, goes on when it is started
again; it refuses to go on with another teacher, layer, quantiser or other data.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from espnet_kd.bin.run import run_command
from espnet_kd.bin.spawned import report_to_parent
from espnet_kd.data.options import add_policy_options, boolean, policy_from

report_to_parent(__name__)

EMBEDDED_UTTERANCES = 1000
"""That the published quantisers are trained on."""


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_kd.bin.extract_codebook_indexes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", required=True, help="Kaldi folder (wav.scp, utt2spk; segments are read)")
    add("--out", required=True, help="folder to write")
    for add_group in (_add_teacher, _add_quantizer, _add_choice, _add_machine):
        add_group(parser)
    add_policy_options(parser)
    return parser


def _add_teacher(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("teacher").add_argument
    add("--teacher", required=True, help="a checkpoint, or s3prl:NAME[:CHECKPOINT]")
    add("--teacher_conf", type=_mapping, default={}, help="changes of its configuration (YAML)")
    add("--layer", type=int, required=True,
        help="from 1: the output of this Transformer layer, no final LayerNorm")  # fmt: skip
    add("--normalize", choices=("utterance", "batch"), default="utterance",
        help="of teachers that normalise: over each utterance's samples, or (published) over all "
        "of a padded batch, so that results depend on it")  # fmt: skip
    add("--frames", choices=("teacher", "published"), default="teacher",
        help="as many as the teacher gives, or (published) samples // 320")  # fmt: skip
    add("--dtype", choices=("float32", "bfloat16"), default="float32",
        help="of the teacher's computations")  # fmt: skip


def _add_quantizer(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("quantiser").add_argument
    add("--quantizer", help="folder or published .pt file; without it vectors are written")
    add("--refine_indexes_iters", type=int, default=5, help="passes of refinement")
    add("--keep_best", type=boolean,
        help="the best codes of all passes, not those of the last "
        "(default: as the quantiser is configured; published ones: false)")  # fmt: skip
    add("--code_dtype", choices=("uint8", "int16"), default="uint8",
        help="int16: twice the bytes, and ESPnet's stock preprocessor takes it")  # fmt: skip


def _add_choice(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("utterances").add_argument
    add("--num_utts", type=int, help="only so many; 0 = all (default: all, vectors of 1000)")
    add("--choose", choices=("first", "random"), default="first",
        help="which: the first ones of the folder (published), or random ones")  # fmt: skip
    add("--seed", type=int, default=0, help="of the random choice")
    add("--skip_bad", type=boolean, default=False,
        help="true: leave out recordings that cannot be used, and list them")  # fmt: skip


def _add_machine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("machine (may change when a run goes on)").add_argument
    add("--nj", type=int, help="processes (default: one per GPU, one without)")
    add("--ngpu", type=int, default=0, help="GPUs; 0 = CPU")
    add("--batch_seconds", type=float, default=100.0, help="speech that is computed together")


def _mapping(text: str) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no mapping; write e.g. '{{name: value}}'")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Extract; returns the exit code."""
    args = get_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return run_command(lambda: extract(args), resumable=True, saved="All finished batches")


def extract(args: argparse.Namespace) -> None:
    """Extract as the options say, and print what there is.

    Raises:
        KDError: wrong options, unreadable data or model.
    """
    # Here, so that --help does not wait for torch.
    from espnet_kd.bin.extraction import run_extraction
    from espnet_kd.bin.extraction_job import ExtractionJob
    from espnet_kd.bin.processes import Machine, processes_for
    from espnet_kd.tasks.teacher_layer import LayerOptions

    def of(cls: Any, **others: Any) -> Any:
        names = {name for name in cls.__dataclass_fields__ if hasattr(args, name)} - set(others)
        return cls(**{name: getattr(args, name) for name in names}, **others)

    usual = 0 if args.quantizer else EMBEDDED_UTTERANCES
    job = of(
        ExtractionJob,
        layer=of(LayerOptions),
        policy=policy_from(args),
        num_utts=usual if args.num_utts is None else args.num_utts,
    )
    machine = Machine(nj=processes_for(args.nj, args.ngpu), ngpu=args.ngpu)
    print(run_extraction(job, machine))


if __name__ == "__main__":
    sys.exit(main())
