r"""Import codes that icefall's recipes extracted or published (lhotse manifests and HDF5 files).

``python -m espnet_kd.bin.import_codebook_indexes \\
    --manifest 'data/vq/with_codebook_indexes-*.jsonl.gz' --data data/train --out codes/train``

OUT becomes a folder like those of ``extract_codebook_indexes``. Ids are matched as they are, or by
their first three parts and speed. Neither lhotse nor its recipe directory is needed.
"""

from __future__ import annotations

import argparse
import glob
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.bin.run import run_command
from espnet_kd.data.icefall_codes import FIELD
from espnet_kd.data.import_codes import ImportOptions, import_codes
from espnet_kd.data.options import boolean


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_kd.bin.import_codebook_indexes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--manifest", nargs="+", required=True, help="manifests (.jsonl, .jsonl.gz), or patterns")
    add("--out", type=Path, required=True, help="folder to write")
    add("--data", help="Kaldi folder of the speech; without it, ids and lengths are the cuts'")
    add("--storage_dir", type=Path, help="where the HDF5 files lie, if not where manifests say")
    add("--field", default=FIELD, help="custom field of the cuts")
    add("--codebook_size", type=int, default=256, help="all codes must be below it")
    add("--tolerance", type=int, default=1, help="frames off samples // hop")
    add("--allow_missing", type=boolean, default=False,
        help="true: utterances of the data may be without codes")  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Import; returns the exit code."""
    args = get_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return run_command(lambda: import_all(args))


def import_all(args: argparse.Namespace) -> None:
    """Import as the options say, and print what there is.

    Raises:
        KDError: something is missing, damaged, or does not fit.
    """
    names = {field for field in ImportOptions.__dataclass_fields__ if hasattr(args, field)}
    values = {name: getattr(args, name) for name in names}
    done = import_codes(ImportOptions(manifests=expand(args.manifest), **values))
    print(
        f"{args.out / 'codes.scp'}: {done.info}; {done.missing} utterance(s) without codes, "
        f"{done.unused} cut(s) of other speech"
    )


def expand(patterns: Sequence[str]) -> list[Path]:
    """Files of names and patterns, each once."""
    found = [name for pattern in patterns for name in sorted(glob.glob(pattern)) or [pattern]]
    return [Path(name) for name in dict.fromkeys(found)]


if __name__ == "__main__":
    sys.exit(main())
