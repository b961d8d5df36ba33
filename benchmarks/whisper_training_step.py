"""Cost of a Whisper distillation step next to the original's default, which pads labels to 448.

A student with the teacher's frozen encoder and two of its decoder layers (one in the tiny shape, as
the spec measured), 30 s segments, labels of 46 to 100 tokens. Both sides have the same weights,
batch and optimiser, so that their losses agree (printed). The encoder runs once for both (shared),
in each of the models (own), or in each of the original's and once in ours, which compares them
(found). Run: ``python benchmarks/whisper_training_step.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import common
import torch
import whisper_original
import whispers
from place import Place
from torch import Tensor

from espnet_kd.evaluation.timing import use_threads
from espnet_kd.losses.logits import LogitDistillLoss
from espnet_kd.tasks.whisper_teacher import WhisperTeacher
from espnet_kd.whisper.collate import IGNORE_INDEX, collate_tokens
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.shrink import shrink_whisper
from espnet_kd.whisper.step import look

GOAL = 0.5
OURS = "espnet_kd, padded to the longest"
ORIGINAL = "original, padded to 448"
MAX_LABEL_LENGTH = 448
ENCODER = {
    "shared": "encoder shared",
    "found": "an encoder each, equal",  # ours notices and runs one of them, which is its default
    "own": "an encoder each",  # as with frozen encoders that differ
}
SIZES = {"cpu": ("tiny", "base"), "cuda": ("small", "large")}
BATCH = {"cpu": 2, "cuda": 16}


def pair(size: str, place: Place) -> tuple[WhisperBundle, WhisperBundle]:
    """Student in float32, encoder frozen, and teacher in the place's type."""
    teacher = whispers.whisper(size, place)
    student, _ = shrink_whisper(teacher, decoder_layers=1 if size == "tiny" else 2)
    student.model.train()
    student.model.model.encoder.requires_grad_(False)
    teacher.model.requires_grad_(False).to(place.dtype)
    return student, teacher


def original_loss(
    size: str, place: Place, batch: int, share: bool
) -> tuple[torch.nn.Module, Callable[[], Tensor]]:
    """The student, and the loss of the original's step."""
    student, teacher = pair(size, place)
    tokens = whisper_original.collate(
        whispers.labels(batch), whispers.SPECIALS.end, MAX_LABEL_LENGTH
    )
    inputs = {name: place.put(tensor) for name, tensor in tokens.items()}
    inputs["input_features"] = whispers.features(batch, place)
    return student.model, partial(
        whisper_original.loss, student.model, teacher.model, inputs, share=share
    )


def our_loss(
    size: str, place: Place, batch: int, share: bool
) -> tuple[torch.nn.Module, Callable[[], Tensor]]:
    """The student, and the loss of our trainer's step."""
    student, bundle = pair(size, place)
    teacher = WhisperTeacher(bundle)
    if share:
        teacher.give_up_encoder(student.model)
    tokens = collate_tokens(whispers.labels(batch), whispers.SPECIALS)
    inputs_BT, labels_BT = (place.put(tokens[name]) for name in ("decoder_input_ids", "labels"))
    features_BMF = whispers.features(batch, place)
    criterion = LogitDistillLoss()

    def loss() -> Tensor:
        labelled_BT = labels_BT != IGNORE_INDEX
        see = partial(teacher.look, inputs_BT, labelled_BT, features_BMF=features_BMF)
        theirs = None if share else see(encoder_BED=None)
        ours = look(student.model, inputs_BT, labelled_BT, features_BMF=features_BMF)
        theirs = theirs or see(encoder_BED=ours.encoder_BED)
        labels_1N = labels_BT[labelled_BT][None]
        return criterion(ours.logits_NV[None], labels_1N, theirs.logits_NV[None])["loss"]

    return student.model, loss


def step_of(name: str, size: str, place: Place, batch: int, encoder: str) -> Callable[[], float]:
    """A function that makes one update and returns the loss before it."""
    share = encoder == "shared" or (encoder == "found" and name == OURS)
    student, loss_of_batch = (our_loss if name == OURS else original_loss)(
        size, place, batch, share
    )
    trained = [p for p in student.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)

    def step() -> float:
        with place.autocast():
            loss = loss_of_batch()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        return float(loss.detach())

    return step


def main() -> None:
    """Time both steps for every size, with a shared encoder and without."""
    parser = common.parser(__doc__)
    parser.add_argument("--size", nargs="+", choices=whispers.SHAPES, help=f"default {SIZES}")
    parser.add_argument("--batch", type=int, help=f"segments of a batch, default {BATCH}")
    parser.add_argument("--encoder", nargs="+", choices=ENCODER, default=list(ENCODER))
    args = parser.parse_args()
    if args.dtype == "float16":
        parser.error("training in float16 would need a scaler of losses; take bfloat16")
    place, batch = Place.of(args), args.batch or BATCH[args.device]
    if args.memory_of:
        with use_threads(args.threads):
            step_of(args.memory_of, args.size[0], place, batch, args.encoder[0])()
        common.print_peak()
        return
    rows, goals = [], {}
    for size in args.size or SIZES[args.device]:
        for encoder in args.encoder:
            case = f"{size}, {ENCODER[encoder]}, {batch} × 30 s"
            goals[case] = GOAL
            rows += common.time_steps(
                {
                    name: partial(step_of, name, size, place, batch, encoder)
                    for name in (ORIGINAL, OURS)
                },
                place,
                case,
                common.runs_of(args),
                partial(memory_of, size=size, batch=batch, encoder=encoder, dtype=args.dtype),
            )
    common.show(rows, goals, place, args.json, judged=OURS)


def memory_of(name: str, **options: object) -> float:
    """Peak MiB of one step in a process of its own."""
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return common.memory_in_fresh_process(name, __file__, *arguments)


if __name__ == "__main__":
    main()
