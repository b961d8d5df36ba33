"""CPU time and memory of a training step of SUPERB's ASR, next to stock S3PRL's.

S3PRL's own task (linear 1024, two bidirectional LSTMs of 1024, CTC), weighted sum and Adam, on a
frozen student of 22.4 M parameters; 16 utterances as S3PRL cuts its batches, none of them of the
same length. The anchor is S3PRL as it is; then LSTMs train by our backward pass (``--quick_lstm``
of run_downstream); then, besides, the student's features come from memory (``--feature_memory``:
the second and later epochs). A first table has one LSTM alone. What torch's own backward pass takes
grows with the square of the length: see ``--seconds``. Run: ``python benchmarks/asr_head.py``.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import common
import torch
from place import Place
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.architectures import architecture
from espnet_kd.evaluation.timing import noise, use_threads
from s3prl_upstreams import mends
from s3prl_upstreams.cache.exact import CachingUpstream, Selection
from s3prl_upstreams.cache.store import FeatureStore
from s3prl_upstreams.configs import default_config
from s3prl_upstreams.corpora import VOCAB_DIR
from s3prl_upstreams.quick_hub import provide_hub
from s3prl_upstreams.quick_lstm import replace_lstm

UTTERANCES = 16
SECONDS = 4.0
GOAL = 0.77
STOCK = "S3PRL"
QUICK = "S3PRL, quick LSTM"
MEMORY = "S3PRL, quick LSTM, features in memory"
LSTM = {"nn.LSTM, packed": False, "quick_lstm, packed": True}
WIDTH = 1024
LETTERS_PER_SECOND = 14
RATE = 16_000
HOP = 320


def lengths_of(seconds: float) -> list[int]:
    """Samples of each utterance: the longest first, each a little shorter, as in a bucket."""
    return [round(seconds * RATE * (1 - 0.005 * index)) for index in range(UTTERANCES)]


def lstm_of(quick: bool, seconds: float) -> Callable[[], float]:
    """A function that makes all gradients of one bidirectional layer and returns the loss."""
    torch.manual_seed(0)
    lstm = nn.LSTM(WIDTH, WIDTH, bidirectional=True, batch_first=True)
    if quick:
        replace_lstm(lstm)
    frames = [samples // HOP for samples in lengths_of(seconds)]
    x_BTI = torch.randn(UTTERANCES, frames[0], WIDTH).requires_grad_()

    def step() -> float:
        lstm.zero_grad()
        x_BTI.grad = None
        output, _ = lstm(pack_padded_sequence(x_BTI, frames, batch_first=True))
        loss = output.data.square().mean()
        loss.backward()
        return float(loss.detach())

    return step


class Student(nn.Module):
    """Our upstream's contract around a model that was not read from a file."""

    def __init__(self) -> None:
        super().__init__()
        self.model = SpeechEncoder.from_config(architecture("armhubert_s")).eval()

    def get_downsample_rates(self, key: str) -> int:
        return HOP

    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        x_BS = nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        states = self.model(x_BS, torch.tensor([len(wav) for wav in wavs])).hidden_states
        return {"hidden_states": list(states), "last_hidden_state": states[-1]}


def head_of(upstream: nn.Module, folder: str) -> tuple[nn.Module, nn.Module, Any]:
    """S3PRL's featurizer, task and SpecAugment, in train mode."""
    mends.report(mend() for mend in mends.BEFORE_IMPORT)
    provide_hub()
    from s3prl.downstream.asr.expert import DownstreamExpert
    from s3prl.downstream.specaug import SpecAug
    from s3prl.upstream.interfaces import Featurizer

    config = default_config("asr")
    config["downstream_expert"]["datarc"]["dict_path"] = str(VOCAB_DIR / "characters.txt")
    featurizer = Featurizer(upstream, upstream_device="cpu")
    task = DownstreamExpert(featurizer.output_dim, HOP, **config, expdir=folder)
    return featurizer.train(), task.train(), SpecAug(**config["specaug"])


def step_of(name: str, seconds: float) -> Callable[[], float]:
    """A function that makes one update as S3PRL's runner does and returns the loss before it."""
    torch.manual_seed(0)
    student: nn.Module = Student().eval()
    if name == MEMORY:
        student = CachingUpstream(student, Selection(), FeatureStore(None, 10**10)).eval()
    with tempfile.TemporaryDirectory() as folder:
        featurizer, task, specaug = head_of(student, folder)
    if name != STOCK:
        replace_lstm(task)
    weights = [*featurizer.parameters(), *task.parameters()]
    optimiser = torch.optim.Adam(weights, lr=1e-4)
    x_BS = noise(UTTERANCES, seconds)
    wavs = [x_S[:samples] for x_S, samples in zip(x_BS, lengths_of(seconds), strict=True)]
    letters = round(seconds * LETTERS_PER_SECOND)
    labels = [torch.randint(4, 32, (letters,)).numpy() for _ in wavs]
    names = [str(index) for index in range(len(wavs))]

    def step() -> float:
        with torch.no_grad():
            features = student(wavs)
        features, _ = specaug(featurizer(wavs, features))
        loss = task("train", features, labels, names, records=defaultdict(list))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return float(loss.detach())

    return step


def makers_of(seconds: float) -> dict[str, dict[str, Callable[[], Callable[[], float]]]]:
    """Case to name to a maker of steps; the first of each case is its anchor."""
    size = f"{UTTERANCES} × {seconds:g} s"
    return {
        f"BiLSTM alone, {size}": {n: partial(lstm_of, q, seconds) for n, q in LSTM.items()},
        f"step, {size}": {n: partial(step_of, n, seconds) for n in (STOCK, QUICK, MEMORY)},
    }


def main() -> None:
    """Time the layer and the steps."""
    options = common.parser(__doc__)
    options.add_argument("--seconds", type=float, default=SECONDS, help="of the longest utterance")
    options.add_argument("--only_lstm", action="store_true", help="leave out the whole step")
    args = options.parse_args()
    if args.device != "cpu":
        print("nothing to compare on a card: cuDNN trains packed sequences on both sides")
        return
    if not args.only_lstm and importlib.util.find_spec("s3prl") is None:
        print("S3PRL is not installed (pip install s3prl): the layer alone is measured")
        args.only_lstm = True
    place, seconds = Place.of(args), args.seconds
    cases = makers_of(seconds)
    if args.memory_of:
        makers = {name: make for case in cases.values() for name, make in case.items()}
        with use_threads(args.threads):
            makers[args.memory_of]()()
        common.print_peak()
        return
    rows = []
    for case, makers in list(cases.items())[: 1 if args.only_lstm else None]:
        rows += common.time_steps(
            makers,
            place,
            case,
            common.runs_of(args),
            lambda name: common.memory_in_fresh_process(name, __file__, "--seconds", str(seconds)),
        )
    goals = {row["case"]: GOAL for row in rows if row["what"] == MEMORY}
    common.show(rows, goals, place, args.json, judged=MEMORY)


if __name__ == "__main__":
    main()
