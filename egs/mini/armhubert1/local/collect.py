"""Stage 6: write the run JSON of each system from its scores, profile and training curves."""

from __future__ import annotations

from egs.TEMPLATE.collect_runs import System, get_parser, write_runs

SYSTEMS = {
    "teacher": System("teacher", "trained here on cluster targets"),
    "student": System("student", "attention-reusing, distilled from the teacher"),
    "no_teacher": System(
        "baseline", "the student's architecture, as many updates, cluster targets"
    ),
    "star": System("student", "temporal relations distilled from the teacher"),
    "untrained": System("baseline", "the student's architecture, random weights"),
}


def main() -> None:
    args = get_parser(__doc__).parse_args()
    made = (args.seed_dir / "downstream" / "star").is_dir()  # only with --star true
    write_runs({n: s for n, s in SYSTEMS.items() if n != "star" or made}, args)


if __name__ == "__main__":
    main()
