r"""Recognise Kaldi folders with Whisper models: error rates, speed, predictions.

``python -m espnet_kd.bin.whisper_evaluate --models TEACHER STUDENT --data data/test --out OUT \\
    --language ar``

For every model and folder OUT receives <model>_<dataset>_<split>_predictions.jsonl (one utterance
per line, from which a stopped run goes on) and ..._metrics.json: WER and CER (normalised),
wer_ortho and wer_raw, RTFx (seconds of audio per second of generation); results.md has them all.

Audio that is longer than a model's window (30 s) goes through the long form of --long_form; it is
never cut. With --assistant STUDENT each model is also decoded with the student as its draft: texts
must be identical, and the speed ratio is reported.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_kd.bin.run import run_command
from espnet_kd.data.options import add_policy_options, policy_from

if TYPE_CHECKING:
    from espnet_kd.evaluation.whisper_runs import DataSet, EvaluationPlan

COLUMNS = {
    "model": "model_id", "data": "split", "utterances": "num_samples", "WER": "WER", "CER": "CER",
    "WER ortho": "wer_ortho", "WER raw": "wer_raw", "RTFx": "rtfx", "parameters": "parameters",
}  # fmt: skip
"""Column of the table to key of the metrics."""


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="espnet_kd.bin.whisper_evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", required=True, metavar="DIR", help="Whisper folders")
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="Kaldi data folders")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--dataset_id", help="name of the corpus; by default the upper folder's")
    parser.add_argument("--assistant", metavar="DIR", help="student that drafts for each model")
    _add_decoding_options(parser)
    add_policy_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate all models on all folders; returns the exit code."""
    args = get_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return run_command(lambda: _run(args), resumable=True, saved="All predictions")


def _run(args: argparse.Namespace) -> None:
    # Here, so that --help does not wait for torch.
    import torch
    from transformers.utils import logging as transformers_logging

    from espnet_kd.data.recordings import check_recordings, open_recordings
    from espnet_kd.evaluation.drafting import compare_drafted
    from espnet_kd.evaluation.whisper_runs import DataSet, evaluate, file_stem
    from espnet_kd.utils.devices import check_device
    from espnet_kd.utils.files import write_json, write_text
    from espnet_kd.whisper.load import load_whisper

    transformers_logging.set_verbosity_error()  # it warns of its own processors
    check_device(args.device)
    plan = _plan(args)
    sets = [DataSet.of(folder, args.dataset_id) for folder in args.data]
    _refuse_clashes(args.models, sets)
    for data in sets:
        check_recordings(open_recordings(data.folder, plan.policy))
    place: dict[str, Any] = {"dtype": getattr(torch, args.dtype), "device": args.device}
    student = None if args.assistant is None else load_whisper(args.assistant, **place)
    results = []
    for model_id in args.models:
        bundle = load_whisper(model_id, **place)
        for data in sets:
            metrics = evaluate(bundle, model_id, data, args.out, plan)
            if student is not None:
                metrics["draft"] = compare_drafted(bundle, student, data, args.out, plan)
                write_json(args.out / f"{file_stem(bundle.name, data)}_metrics.json", metrics)
            results.append(metrics)
    table = results_table(results)
    write_text(args.out / "results.md", table)
    print(table)


def results_table(results: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of metrics, and one of drafted decoding where it was asked for."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [
        f"| {' | '.join(str(metrics.get(key, '–')) for key in COLUMNS.values())} |"
        for metrics in results
    ]
    drafted = [metrics for metrics in results if "draft" in metrics]
    if drafted:
        head = ("model", "data", "drafted by", "identical texts", "speed ratio")
        lines += ["", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for metrics in drafted:
        draft = metrics["draft"]
        same = f"{draft['identical']} of {draft['utterances']}"
        cells = (metrics["model_id"], metrics["split"], draft["assistant"], same)
        lines.append(f"| {' | '.join(cells)} | {draft['speed_ratio']} |")
    return "\n".join(lines) + "\n"


def _plan(args: argparse.Namespace) -> EvaluationPlan:
    from espnet_kd.errors import ConfigError
    from espnet_kd.evaluation.whisper_runs import EvaluationPlan
    from espnet_kd.whisper.transcribe import DecodeOptions

    if args.batch_size < 1:
        problem = f"batch_size is {args.batch_size}; it must be at least 1"
        raise ConfigError("evaluation", [problem])
    names = DecodeOptions.__dataclass_fields__.keys() & vars(args).keys()
    options = {name: getattr(args, name) for name in names}
    return EvaluationPlan(
        decode=DecodeOptions(**{**options, "temperatures": tuple(args.temperatures)}),
        long_form=args.long_form,
        chunk_seconds=args.chunk_seconds,
        batch_size=args.batch_size,
        normaliser=args.normaliser,
        policy=policy_from(args),
    )


def _refuse_clashes(models: Sequence[str], sets: Sequence[DataSet]) -> None:
    """Two results must not have one name."""
    from espnet_kd.errors import ConfigError
    from espnet_kd.evaluation.whisper_runs import file_stem

    seen: dict[str, str] = {}
    problems = []
    for model in models:
        for data in sets:
            stem, what = file_stem(Path(model).name, data), f"{model} on {data.folder}"
            if stem in seen:
                problems.append(
                    f"{seen[stem]} and {what} would both be called {stem}; evaluate them into "
                    "different folders"
                )
            seen[stem] = what
    if problems:
        raise ConfigError("evaluation", problems)


def _add_decoding_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to decode and score")
    group.add_argument("--language", help="code or name; by default detected per utterance")
    group.add_argument("--task", choices=("transcribe", "translate"), default="transcribe")
    group.add_argument(
        "--normaliser",
        choices=("auto", "english", "basic", "arabic", "none"),
        default="auto",
        help="auto: English without a language or for en, Arabic for ar, else Basic",
    )
    group.add_argument("--num_beams", type=int, default=1, help="1 = greedy")
    group.add_argument("--max_length", type=int, default=256, help="tokens per window, with prefix")
    group.add_argument("--timestamps", action="store_true", help="also within one window")
    group.add_argument(
        "--long_form",
        choices=("sequential", "chunked", "refuse"),
        default="sequential",
        help="what to do with audio over the window",
    )
    group.add_argument("--chunk_seconds", type=float, help="of the chunked long form")
    group.add_argument(
        "--temperatures",
        nargs="+",
        type=float,
        default=[0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
        help="of the sequential long form, tried until a window looks right",
    )
    group.add_argument("--logprob_threshold", type=float, default=-1.0)
    group.add_argument("--compression_ratio_threshold", type=float, default=1.35)
    group.add_argument("--no_speech_threshold", type=float, default=0.6)
    group.add_argument("--batch_size", type=int, default=8, help="utterances or chunks per batch")
    group.add_argument("--seed", type=int, default=0, help="of sampling at temperatures above 0")
    group.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    group.add_argument("--device", default="cpu", help="cpu or cuda")


if __name__ == "__main__":
    sys.exit(main())
