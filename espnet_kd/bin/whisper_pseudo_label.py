r"""Label speech with a Whisper teacher: transcripts, their scores and signs of what is wrong.

``python -m espnet_kd.bin.whisper_pseudo_label --model_name_or_path TEACHER --language hi \\
    --data_dir data/train --output_dir labels/train``
``python -m espnet_kd.bin.whisper_pseudo_label --model_name_or_path TEACHER --language hi \\
    --dataset_name FOLDER_OR_HUB_NAME --dataset_split_name train --output_dir labels/train``

Utterances of a speaker are joined into segments of up to 30 s. References are kept where there are
any; nothing needs them. OUTPUT_DIR receives ``labels.jsonl`` (a label with its scores a line), a
Kaldi folder of the segments, ``skipped.jsonl`` (what could not be used, and why) and
``summary.json``. A run that was stopped, even by kill -9, goes on when it is started again.
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


def get_parser() -> argparse.ArgumentParser:
    """Options of this command; names as in Distil-Whisper's where it has them."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_kd.bin.whisper_pseudo_label",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output_dir", required=True, help="folder for everything")
    for add in (_add_model, _add_data, _add_segments, _add_labels, _add_machine):
        add(parser)
    add_policy_options(parser)
    parser.set_defaults(rate_policy="resample")
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("teacher")
    add = group.add_argument
    add("--model_name_or_path", required=True, help="Hugging Face folder or name on the hub")
    add("--backend", choices=("transformers", "ctranslate2"), default="transformers",
        help="ctranslate2 is faster, but offers no entropies")  # fmt: skip
    add("--dtype", choices=("float32", "bfloat16", "float16"), default="float32",
        help="of transformers' computations (published recipe: bfloat16)")  # fmt: skip
    add("--attn_implementation", choices=("sdpa", "eager"), default="sdpa")
    add("--compute_type", default="float32", help="of CTranslate2: float32, float16, int8, ...")
    add("--ctranslate2_dir", help="where the converted model is kept (OUTPUT_DIR/ctranslate2)")


def _add_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speech")
    add = group.add_argument
    add("--data_dir", help="Kaldi folder (wav.scp, utt2spk; segments and text if there are any)")
    add("--use_speakers", type=boolean, default=True, help="false: all count as one speaker's")
    add("--dataset_name", help="saved dataset, folder of audio files, or name on the hub; several "
        "joined by + have a configuration, split and text column each, joined likewise",
        )  # fmt: skip
    add("--dataset_config_name", help="configuration of a dataset on the hub")
    add("--dataset_split_name", default="train", help="split, or several joined by +")
    add("--streaming", type=boolean, default=False, help="read while it is downloaded")
    add("--audio_column_name", default="audio")
    add("--text_column_name", help="column with references (default: text or sentence, if any)")
    add("--id_column_name", help="column with ids (default: id, else rows are numbered)")
    add("--speaker_id_column_name", help="column with speakers (default: all rows one speaker's)")
    add("--max_samples_per_split", type=int, help="only so many utterances")


def _add_segments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("segments")
    add = group.add_argument
    add("--concatenate_audio", type=boolean, default=True, help="join utterances of a speaker")
    add("--max_duration_in_seconds", type=float, default=30.0, help="longest segment")
    add("--preprocessing_batch_size", type=int, default=0,
        help="never join across so many rows (published 500; 0 = only speakers are borders)",
        )  # fmt: skip
    add("--long_audio", choices=("split", "skip"), default="split",
        help="longer utterances: cut where it is quiet, or left out")  # fmt: skip
    add("--segment_ids", choices=("source", "published"), default="source",
        help="names: of the first utterance, or dataset-speaker-number as published",
        )  # fmt: skip
    add("--write_audio", choices=("auto", "always"), default="auto",
        help="auto: FLAC files only of segments that no file holds as they are")  # fmt: skip


def _add_labels(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("labels")
    add = group.add_argument
    add("--language", help="code or name; default: detected in each segment")
    add("--task", choices=("transcribe", "translate"), default="transcribe")
    add("--return_timestamps", type=boolean, default=False, help="(published recipe: true)")
    add("--max_label_length", type=int, default=256, help="in tokens, prefix and end included")
    add("--generation_num_beams", type=int, default=1, help="1 = greedy")
    add("--decode_token_ids", type=boolean, default=True,
        help="false: whisper_transcript holds ids instead of text")  # fmt: skip
    add("--truncated", choices=("flag", "drop"), default="flag", help="labels that were cut")
    add("--prompts", choices=("fixed", "published", "none"), default="fixed",
        help="previous-text prompts; published: with the original's quirks")  # fmt: skip
    add("--compression_ratio_threshold", type=float, default=2.4, help="above: flagged as a loop")
    add("--max_repeats", type=int, default=8, help="more of a phrase: flagged as a loop")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("machine (may change when a run goes on)")
    add = group.add_argument
    add("--nj", type=int, default=None, help="processes (default: one per GPU, one without)")
    add("--ngpu", type=int, default=0, help="GPUs; 0 = CPU")
    add("--dataloader_num_workers", type=int, default=4, help="threads that read audio, each")
    group = parser.add_argument_group("batches")
    group.add_argument("--per_device_eval_batch_size", "--batch_size", type=int, default=8,
                       help="segments decoded together (part of the results: padding and "
                       "rounding)")  # fmt: skip


def main(cmd: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return run_command(lambda: label(args), resumable=True, saved="All labels of finished batches")


def label(args: argparse.Namespace) -> None:
    """Label all splits and print their totals.

    Raises:
        KDError: wrong options, unreadable data or model.
    """
    # Here, so that --help does not wait for torch and transformers.
    from espnet_kd.bin.label_processes import run_job
    from espnet_kd.bin.processes import Machine, processes_for
    from espnet_kd.data.label_job import splits_of

    machine = Machine(
        nj=processes_for(args.nj, args.ngpu),
        ngpu=args.ngpu,
        dataloader_num_workers=max(1, args.dataloader_num_workers),
    )
    for job in splits_of(job_from(args)):
        print(f"{job.folder}: {run_job(job, machine)}")


def job_from(args: argparse.Namespace) -> Any:
    """Collect the options into a :class:`espnet_kd.data.label_job.LabelJob`.

    Raises:
        ConfigError: not exactly one kind of data.
    """
    from espnet_kd.data.hf_source import DatasetOptions
    from espnet_kd.data.label_job import KaldiOptions, LabelJob, ModelOptions
    from espnet_kd.data.labelling import PseudoLabelOptions
    from espnet_kd.errors import ConfigError
    from espnet_kd.whisper.hypothesis import DecodingOptions
    from espnet_kd.whisper.label_checks import LoopLimits

    def of(cls: Any, **others: Any) -> Any:
        names = {name for name in cls.__dataclass_fields__ if hasattr(args, name)} - set(others)
        return cls(**{name: getattr(args, name) for name in names}, **others)

    if (args.data_dir is None) == (args.dataset_name is None):
        raise ConfigError("labelling", ["give the speech with --data_dir or with --dataset_name"])
    plan = ("concatenate_audio", "preprocessing_batch_size", "long_audio", "segment_ids")
    return of(
        LabelJob,
        model=of(ModelOptions),
        data=of(KaldiOptions if args.dataset_name is None else DatasetOptions),
        batch_size=args.per_device_eval_batch_size,
        plan={name: getattr(args, name) for name in plan},
        policy=policy_from(args),
        decoding=of(DecodingOptions, num_beams=args.generation_num_beams),
        label=of(PseudoLabelOptions, loops=of(LoopLimits)),
    )


if __name__ == "__main__":
    sys.exit(main())
