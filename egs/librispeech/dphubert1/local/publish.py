"""Stage 4: the student as one file in DPHuBERT's published layout, which others' programs read.

``publish.py --student DIR --teacher DIR --config phase2/config.yaml --out dphubert_960h.pth``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from espnet_kd import load_model
from espnet_kd.checkpoints.dphubert import save_dphubert
from espnet_kd.errors import KDError
from espnet_kd.losses.layer_distill import parse_layers
from espnet_kd.pruning.sizes import parameter_total
from espnet_kd.utils.model_directory import read_safetensors

PROJECTIONS = "distill_projections.safetensors"


def published_projections(own: dict[str, Tensor], options: dict[str, Any]) -> dict[str, Tensor]:
    """One Linear per distilled layer, where ours have one per group of layers.

    Args:
        own: ``projections.GROUP.weight`` and ``.bias``.
        options: of the objective layer_distill. Those of predlayer are left out: the published
            files have no place for them.
    """
    if options.get("distill_mode", "layer2layer") != "layer2layer":
        return {}
    groups = parse_layers(options.get("distill_layers", "0.4,8,12"))
    owners = [number for number, layers in enumerate(groups) for _ in layers]
    return {
        f"{place}.{part}": own[f"projections.{owner}.{part}"]
        for place, owner in enumerate(owners)
        for part in ("weight", "bias")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--student", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True, help="config.yaml of phase 2")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    conf = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    try:
        student, teacher = load_model(str(args.student)), load_model(str(args.teacher))
        own = read_safetensors(args.student / PROJECTIONS)
        projections = published_projections(own, conf["kd_conf"]["objectives"]["layer_distill"])
        save_dphubert(student, args.out, projections)
    except KDError as error:
        sys.exit(f"publish.py: {error}")
    before, after = parameter_total(teacher), parameter_total(student)
    print(
        f"{args.out}: {after:,} of {before:,} parameters, {1 - after / before:.3%} removed "
        "(as published figures count them)"
    )


if __name__ == "__main__":
    main()
