"""Any encoder as an ONNX graph, compared with the original before the file gets its name.

Inputs: ``waveforms`` (batch, samples) float32, zero-padded, and ``lengths`` (batch,) int64 valid
samples; both dimensions are free. Outputs: ``hidden_state_0`` … (batch, frames, width) float32 in
the convention of ``config.hidden_states``, and ``frame_lengths`` (batch,) int64. Frames beyond an
utterance's length hold arbitrary values.

Shapes: B utterances, S samples, T frames, D width.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import remove_parametrizations

from espnet_kd.encoder import EncoderOutput, FrameFeatures, SpeechEncoder
from espnet_kd.encoder.build import build_encoder
from espnet_kd.encoder.padding import normalize_waveform
from espnet_kd.errors import KDError, MissingDependencyError
from espnet_kd.utils.files import atomic_path

OPSET = 17
"""Version of ONNX's operators; onnxruntime 1.12 and later run it."""

TOLERANCE = 1e-4
"""Largest difference from the original, absolute, or relative to a state's largest value > 1."""


def export_onnx(model: SpeechEncoder, path: str | os.PathLike[str]) -> dict[str, float]:
    """Write ``model`` as an ONNX file, atomically; a file that fails the comparison is removed.

    Args:
        model: any encoder; it is neither changed nor put into another mode.
        path: file to write.

    Returns:
        Largest difference from the original by batch (lengths in samples), in the unit of
        :data:`TOLERANCE`.

    Raises:
        MissingDependencyError: onnx or onnxruntime is not installed.
        KDError: torch cannot export it, or onnxruntime computes something else.
    """
    _require("onnx", "onnxruntime")
    # Built anew: copies share the class whose parametrization is removed.
    model = build_encoder(model.config, model.state_dict(), "the model", {})
    # One weight instead of two factors: less work, and tools behind ONNX know it.
    remove_parametrizations(model.pos_conv.conv, "weight")
    with atomic_path(path) as temporary:
        _write_graph(model, temporary)
        _write_properties(model, temporary)
        return compare(model, temporary)


@torch.no_grad()
def compare(model: SpeechEncoder, path: str | os.PathLike[str]) -> dict[str, float]:
    """Run ``path`` in onnxruntime on noise of five lengths, one frame to seconds, and on a batch.

    Returns:
        Largest difference by batch, in the unit of :data:`TOLERANCE`.

    Raises:
        KDError: a difference is larger than :data:`TOLERANCE`; says for which lengths.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    differences = {}
    for x_BS, lengths_B in _batches(model):
        values = session.run(names, {"waveforms": x_BS.numpy(), "lengths": lengths_B.numpy()})
        found = dict(zip(names, map(torch.from_numpy, values), strict=True))
        label = "+".join(str(length) for length in lengths_B.tolist())
        differences[label] = _difference(model(x_BS, lengths_B), found)
    wrong = [f"{label} ({value:.1e})" for label, value in differences.items() if value > TOLERANCE]
    if wrong:
        raise KDError(
            f"onnxruntime's results differ from the original by more than {TOLERANCE:g} for "
            f"{', '.join(wrong)} samples; the file was removed. Try another version of onnxruntime"
        )
    return differences


class _Graph(nn.Module):
    """The encoder without checks and shortcuts that look at values, which a graph cannot."""

    def __init__(self, encoder: SpeechEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x_BS: Tensor, lengths_B: Tensor) -> tuple[Tensor, ...]:
        encoder = self.encoder
        if encoder.config.normalize_waveform:
            x_BS = normalize_waveform(x_BS, lengths_B)
        x_BTD = encoder.feature_projection(encoder.feature_extractor(x_BS))
        frames_B = encoder._valid_frames(lengths_B, x_BS.size(1), x_BTD.size(1))
        padding_BT = torch.arange(x_BTD.size(1)) >= frames_B[:, None]
        output = encoder.encode(FrameFeatures(x_BTD, frames_B, padding_BT))
        return (*output.hidden_states, frames_B)


@torch.no_grad()
def _write_graph(model: SpeechEncoder, path: Path) -> None:
    samples = model.min_samples + 3 * model.hop
    # In a batch of one, or without padding, a constant could take the place of a dimension.
    example = (torch.randn(2, samples), torch.tensor([samples, samples - model.hop]))
    graph = _Graph(model).eval()
    outputs = [f"hidden_state_{index}" for index in range(len(graph(*example)) - 1)]
    free: dict[str, dict[int, str]] = {name: {0: "batch", 1: "frames"} for name in outputs}
    for name, second in (("waveforms", {1: "samples"}), ("lengths", {}), ("frame_lengths", {})):
        free[name] = {0: "batch", **second}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what tracing may get wrong, the comparison finds
        try:
            torch.onnx.export(
                graph, example, os.fspath(path), dynamo=False, opset_version=OPSET,
                input_names=["waveforms", "lengths"], output_names=[*outputs, "frame_lengths"],
                dynamic_axes=free,
            )  # fmt: skip
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise KDError(f"torch cannot export this encoder to ONNX: {reason}") from error


def _write_properties(model: SpeechEncoder, path: Path) -> None:
    """What a program needs to know to use the file, in its metadata."""
    import onnx

    proto = onnx.load(path)
    config = model.config
    names = ("family", "sample_rate", "hop", "hidden_states")
    properties = {name: str(getattr(config, name)) for name in names}
    onnx.helper.set_model_props(proto, {**properties, "min_samples": str(model.min_samples)})
    onnx.save(proto, path)


def _batches(model: SpeechEncoder) -> Iterator[tuple[Tensor, Tensor]]:
    shortest, hop, rate = model.min_samples, model.hop, model.config.sample_rate
    lengths = [shortest, shortest + hop - 1, shortest + hop, rate, 3 * rate + 7]
    generator = torch.Generator().manual_seed(0)
    for batch in ([length] for length in lengths):
        yield 0.1 * torch.randn(1, *batch, generator=generator), torch.tensor(batch)
    lengths_B = torch.tensor([2 * rate + 7, rate, 2 * rate - hop])
    x_BS = 0.1 * torch.randn(3, 2 * rate + 7, generator=generator)
    yield x_BS.masked_fill(torch.arange(x_BS.size(1)) >= lengths_B[:, None], 0.0), lengths_B


def _difference(expected: EncoderOutput, found: dict[str, Tensor]) -> float:
    lengths_B = expected.lengths_B
    assert lengths_B is not None
    if not torch.equal(found["frame_lengths"], lengths_B):
        return float("inf")
    worst = 0.0
    for index, state_BTD in enumerate(expected.hidden_states):
        other_BTD = found[f"hidden_state_{index}"]
        if other_BTD.shape != state_BTD.shape:
            return float("inf")
        for row, other, frames in zip(state_BTD, other_BTD, lengths_B.tolist(), strict=True):
            scale = max(1.0, float(row[:frames].abs().max()))
            worst = max(worst, float((row[:frames] - other[:frames]).abs().max()) / scale)
    return worst


def _require(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"the ONNX export needs {' and '.join(missing)}: pip install {' '.join(modules)}, "
            "or espnet_kd[onnx]"
        )


__all__ = ["OPSET", "TOLERANCE", "compare", "export_onnx"]
