"""Write any encoder, pruned ones in particular, as an ONNX file and compare it with the original.

``python -m espnet_kd.bin.export_onnx --model DIR --out FILE.onnx``

Inputs are ``waveforms`` (batch, samples) and ``lengths`` (batch,), both of any size; outputs are
all hidden states and ``frame_lengths``. Needs ``pip install espnet_kd[onnx]``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.bin.run import run_command
from espnet_kd.checkpoints import load_model
from espnet_kd.checkpoints.onnx_export import export_onnx


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_kd.bin.export_onnx",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="directory or published file")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    return parser


def export(source: Path, target: Path) -> str:
    """Export and return one line that says what was written and how close it is.

    Raises:
        KDError: the model cannot be read, exported or written, or onnxruntime disagrees.
    """
    model = load_model(source)
    differences = export_onnx(model, target)
    count = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"{target}: {count:,} parameters, {target.stat().st_size:,} bytes; onnxruntime differs by "
        f"at most {max(differences.values()):.1e} for {', '.join(differences)} samples"
    )


def main(cmd: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = get_parser().parse_args(cmd)
    return run_command(lambda: print(export(arguments.model, arguments.out)))


if __name__ == "__main__":
    sys.exit(main())
