"""Stage 6: write the run JSON of each system from its scores, profile, curves and pruning."""

from __future__ import annotations

from egs.TEMPLATE.collect_runs import System, get_parser, write_runs

TEACHER = {"teacher": System("teacher", "trained on cluster targets")}
COMBINATION = {
    "reuse": System("student", "attention-reusing, distilled with masking loss"),
    "reuse_pruned": System(
        "student", "reuse, pruned under masking loss in one run", "pruned_reuse"
    ),
}


def systems_of(target: str) -> dict[str, System]:
    """What is compared for one target sparsity."""
    return {
        f"phase1_sp{target}": System(
            "student", "teacher pruned while it distils", f"pruned_sp{target}"
        ),
        f"phase2_sp{target}": System("student", f"phase1_sp{target}, distilled once more"),
        f"same_size_sp{target}": System(
            "baseline", f"phase1_sp{target}'s shape from random weights, as many updates"
        ),
    }


def main() -> None:
    parser = get_parser(__doc__)
    parser.add_argument("--targets", nargs="+", required=True)
    parser.add_argument("--combine", choices=("true", "false"), default="true")
    args = parser.parse_args()
    systems = dict(TEACHER)
    for target in args.targets:
        systems.update(systems_of(target))
    if args.combine == "true":
        systems.update(COMBINATION)
    write_runs(systems, args)


if __name__ == "__main__":
    main()
