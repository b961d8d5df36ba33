"""Stage 6: write the run JSON of each system from its scores, profile and training curves."""

from __future__ import annotations

from egs.TEMPLATE.collect_runs import System, get_parser, write_runs

SYSTEMS = {
    "teacher": System("teacher", "trained here on cluster targets"),
    "student": System("student", "attention-reusing, distilled from the teacher"),
    "no_teacher": System(
        "baseline", "the student's architecture, as many updates, cluster targets"
    ),
    "untrained": System("baseline", "the student's architecture, random weights"),
}


def main() -> None:
    write_runs(SYSTEMS, get_parser(__doc__).parse_args())


if __name__ == "__main__":
    main()
