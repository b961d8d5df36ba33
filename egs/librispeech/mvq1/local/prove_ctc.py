"""Stage 1: the teacher transcribes the test sets; its WER proves that it is computed rightly.

Greedy CTC decoding, an utterance at a time: the likeliest label of each frame, repetitions and
blanks left out. Labels are those of fairseq's ``dict.ltr.txt``, after its four special ones.

Shapes: S samples, T frames, V labels.
"""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor, nn

from espnet_kd import load_model
from espnet_kd.checkpoints import load_ctc_head
from espnet_kd.data.audio import read_audio
from espnet_kd.data.kaldi_dir import read_kaldi_dir
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import CheckpointError, KDError
from espnet_kd.evaluation.wer import word_error_rates
from espnet_kd.utils.files import write_json
from espnet_kd.utils.progress import Progress

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""Of fairseq's dictionaries; the first one is the blank."""
BLANK, SPACE = 0, "|"


def read_labels(path: Path) -> list[str]:
    """Labels by their index: the special ones, then the first column of the dictionary."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [*SPECIAL, *(line.split()[0] for line in lines if line.strip())]


def transcript(logits_TV: Tensor, labels: list[str]) -> str:
    """Greedy: words of the best label per frame."""
    best = [index for index, _ in groupby(logits_TV.argmax(dim=1).tolist()) if index != BLANK]
    text = "".join(labels[index] for index in best if index >= len(SPECIAL))
    return " ".join(text.replace(SPACE, " ").split())


@torch.inference_mode()
def transcribe(
    folder: Path,
    encoder: SpeechEncoder,
    head: nn.Linear,
    labels: list[str],
    args: argparse.Namespace,
) -> tuple[dict[str, str], dict[str, str]]:
    """Transcripts of the folder's first utterances, and what the teacher makes of them."""
    data = read_kaldi_dir(folder, need_text=True)
    keys = list(data.wav_scp)[: args.num_utts or None]
    found = {}
    with Progress(f"teacher on {folder.name}", len(keys), "utterances") as progress:
        for key in keys:
            wave_S = torch.from_numpy(read_audio(data.wav_scp[key], key)).to(args.device)
            frames_BTD = encoder(wave_S[None]).hidden_states[-1]
            found[key] = transcript(head(frames_BTD)[0], labels)
            progress.reach(progress.done + 1)
    return {key: data.text[key].upper() for key in keys}, found


def judge(rates: dict[str, float], expected: list[float], most: float) -> str:
    """What is wrong with the WERs; empty if nothing is."""
    wrong = [
        f"{name}: WER {rate:.2f} %, expected {known:.2f}"
        for (name, rate), known in zip(rates.items(), expected, strict=False)
        if rate > known + most
    ]
    if not wrong:
        return ""
    return (
        f"the teacher is not computed as it was trained ({'; '.join(wrong)}). Are these its "
        "weights, its dictionary and 16 kHz speech, and does its configuration normalise waveforms "
        "as its training did? Its codes would teach little; --proof_tolerance 100 goes on all the "
        "same"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("teacher", type=Path, help="folder of the encoder")
    add("--head", type=Path, required=True, help="published file, or folder, with the projection")
    add("--dictionary", type=Path, required=True, help="dict.ltr.txt")
    add("--data", nargs="+", type=Path, required=True, help="Kaldi folders with transcripts")
    add("--expect", nargs="*", type=float, default=[], help="published WERs of these folders (%%)")
    add("--tolerance", type=float, default=1.0, help="percent above them that are allowed")
    add("--num_utts", type=int, default=0, help="of each folder; 0 = all")
    add("--device", default="cpu")
    add("--json", type=Path, required=True, help="where the WERs go")
    args = parser.parse_args()
    try:
        encoder, head = load_model(args.teacher).to(args.device), load_ctc_head(args.head)
        labels = read_labels(args.dictionary)
        if len(labels) != head.out_features:
            raise CheckpointError(
                f"{args.dictionary} has {len(labels)} labels with the special ones, the "
                f"projection of {args.head} {head.out_features}: it is another model's dictionary"
            )
        head, rates = head.to(args.device), {}
        for folder in args.data:
            texts = transcribe(folder, encoder, head, labels, args)
            counts = word_error_rates(*texts)
            rates[folder.name] = counts.error_rate
            print(f"{folder.name}: WER {counts.error_rate:.2f} % of {counts.words} words")
    except (KDError, OSError) as error:
        sys.exit(f"prove_ctc.py: {error}")
    write_json(args.json, rates)
    problem = judge(rates, args.expect, args.tolerance)
    if problem:
        sys.exit(f"prove_ctc.py: {problem}")


if __name__ == "__main__":
    main()
