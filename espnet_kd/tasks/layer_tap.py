"""The output of one layer of any ESPnet encoder, heard in passing.

Shapes: B batch, T frames, C width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from espnet_kd.errors import ConfigError, KDError

_LAYERS = (
    "encoders.blocks",  # asr_transducer
    "encoders",  # conformer, transformer, branchformers
    "encoder.layers",  # our kd_student, kd_whisper_encoder
    "encoder.encoder.layers",
    "layers",
    "blocks",
    "encoder.blocks",
    "model.encoder.layers",
)
"""Where ESPnet's encoders, ours and those of transformers keep their layers."""


class LayerTap:
    """Remembers what a layer of the encoder gave in the last forward pass.

    A layer that was dropped (LayerDrop) gives what the one before it gave.

    Args:
        encoder: any module whose output is (frames, lengths, ...).
        layer: index from 0; -1 = the encoder's output.
        module: instead of ``layer``, a submodule's dotted name.

    Raises:
        ConfigError: there is no such layer or module.
    """

    def __init__(self, encoder: nn.Module, layer: int, module: str | None = None) -> None:
        self.name = "the encoder's output"
        self.heard: Tensor | None = None
        self.output: Tensor | None = None
        self.lengths_B: Tensor | None = None
        encoder.register_forward_pre_hook(self._begin)
        for part in self._parts(encoder, layer, module):
            part.register_forward_hook(self._hear)
        encoder.register_forward_hook(self._end)

    def _parts(self, encoder: nn.Module, layer: int, module: str | None) -> list[nn.Module]:
        if module is not None:
            self.name = f"module {module}"
            return [_named(encoder, module)]
        if layer < 0:
            return []
        self.name = f"layer {layer}"
        layers = layers_of(encoder)
        if layer >= len(layers):
            raise ConfigError(
                "kd_conf",
                [
                    f"distillation_layer is {layer}, counted from 0; the encoder has "
                    f"{len(layers)} layers"
                ],
            )
        return layers[: layer + 1]

    def frames(self) -> tuple[Tensor, Tensor]:
        """The layer's (B, T, C) and its valid lengths (B,).

        Raises:
            KDError: the layer gives something else than a frame for each of the encoder's.
        """
        assert self.output is not None
        assert self.lengths_B is not None
        heard = self.output if self.heard is None else self.heard
        wanted = self.output.shape[:2]
        if heard.dim() == 3 and heard.shape[:2] != wanted and heard.shape[:2] == wanted[::-1]:
            heard = heard.transpose(0, 1)
        # Encoders may cut off frames that are padding in the whole batch.
        heard = heard[:, : wanted[1]] if heard.dim() == 3 else heard
        if heard.dim() != 3 or heard.shape[:2] != wanted:
            raise KDError(
                f"{self.name} of the encoder gives {tuple(heard.shape)}, its output is "
                f"{tuple(self.output.shape)}: another frame rate. Choose another "
                "kd_conf.distillation_layer, or -1 for the output"
            )
        return heard, self.lengths_B

    def _begin(self, *_ignored: Any) -> None:
        self.heard = self.output = self.lengths_B = None

    def _hear(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self.heard = next(_tensors(output))

    def _end(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self.output = next(_tensors(output[0]))
        self.lengths_B = output[1]


def layers_of(encoder: nn.Module) -> list[nn.Module]:
    """The layers of an encoder, in order.

    Raises:
        ConfigError: none of the known places holds layers.
    """
    for place in _LAYERS:
        found: Any = encoder
        for name in place.split("."):
            found = getattr(found, name, None)
        if isinstance(found, (nn.ModuleList, nn.Sequential)):
            return list(found)
    names = ", ".join(name for name, _ in encoder.named_children())
    raise ConfigError(
        "kd_conf",
        [
            f"distillation_layer: the layers of {type(encoder).__name__} are not found (its parts: "
            f"{names}); set distillation_module to the name of one, or distillation_layer: -1"
        ],
    )


def _named(encoder: nn.Module, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(encoder.named_modules())
    if name not in modules:
        some = ", ".join(list(modules)[1:9])
        raise ConfigError(
            "kd_conf", [f"distillation_module: the encoder has no {name}; it has {some} ..."]
        )
    return modules[name]


def _tensors(output: Any) -> Iterator[Tensor]:
    """Tensors of a nested output, in order; frames come first in all encoders."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from _tensors(part)
    elif hasattr(output, "last_hidden_state"):
        yield output.last_hidden_state
