"""Named architectures: the published models as differences from one another."""

from __future__ import annotations

from collections.abc import Callable

from espnet_kd.encoder.config import HUBERT_CONV_LAYERS, LayerConfig, SpeechEncoderConfig
from espnet_kd.errors import ConfigError
from espnet_kd.utils.options import unknown_key

_REGISTRY: dict[str, Callable[[], SpeechEncoderConfig]] = {}


def register_architecture(
    function: Callable[[], SpeechEncoderConfig],
) -> Callable[[], SpeechEncoderConfig]:
    """Make the configuration that ``function`` returns available under the function's name."""
    _REGISTRY[function.__name__] = function
    return function


def list_architectures() -> list[str]:
    """All known names, sorted."""
    return sorted(_REGISTRY)


def architecture(name: str) -> SpeechEncoderConfig:
    """A fresh configuration of the named architecture.

    Raises:
        ConfigError: unknown name; the closest known ones are suggested.
    """
    if name not in _REGISTRY:
        problem = unknown_key(name, _REGISTRY)
        raise ConfigError("architecture", [f"{problem} Known: {', '.join(list_architectures())}"])
    return _REGISTRY[name]()


@register_architecture
def hubert_base() -> SpeechEncoderConfig:
    """HuBERT Base, 94.4 M parameters (Hsu et al. 2021)."""
    return SpeechEncoderConfig(
        hidden_states="transformers", dropout_input=0.0, activation_dropout=0.0
    )


@register_architecture
def hubert_large() -> SpeechEncoderConfig:
    """HuBERT Large, 315.4 M parameters, pre-norm, LayerNorm front end (Hsu et al. 2021)."""
    return hubert_base().replace(
        extractor_norm="layer_norm",
        normalize_waveform=True,
        embed_dim=1024,
        norm_first=True,
        layers=_layers(24, num_heads=16, head_dim=64, ffn_dim=4096),
        dropout=0.0,
        attention_dropout=0.0,
    )


@register_architecture
def wav2vec2_base() -> SpeechEncoderConfig:
    """wav2vec 2.0 Base: HuBERT Base's shape (Baevski et al. 2020)."""
    return hubert_base().replace(family="wav2vec2", dropout_input=0.1)


@register_architecture
def wav2vec2_large() -> SpeechEncoderConfig:
    """wav2vec 2.0 Large (LV-60): HuBERT Large's shape with biases in the front end."""
    return hubert_large().replace(family="wav2vec2", conv_bias=True, dropout_input=0.1)


@register_architecture
def wavlm_base() -> SpeechEncoderConfig:
    """WavLM Base and Base+: HuBERT Base with gated relative position bias (Chen et al. 2022)."""
    return hubert_base().replace(family="wavlm", num_buckets=320, max_distance=800)


@register_architecture
def wavlm_large() -> SpeechEncoderConfig:
    """WavLM Large: HuBERT Large with gated relative position bias."""
    return hubert_large().replace(family="wavlm", num_buckets=320, max_distance=800)


@register_architecture
def armhubert() -> SpeechEncoderConfig:
    """ARMHuBERT-960h, 26.45 M parameters with heads: every other layer reuses a map."""
    return _student("armhubert", width=480, ffn_dim=864, reuse=True)


@register_architecture
def armhubert_s() -> SpeechEncoderConfig:
    """ARMHuBERT-S and ARMwavLM-S, 22.39 M parameters with heads."""
    return _student("armhubert", width=432, ffn_dim=816, reuse=True)


@register_architecture
def armwavlm_s() -> SpeechEncoderConfig:
    """ARMwavLM-S: ARMHuBERT-S distilled from WavLM Base+."""
    return armhubert_s().replace(family="armwavlm")


@register_architecture
def maskhubert() -> SpeechEncoderConfig:
    """MaskHuBERT-960h, 26.64 M parameters with heads: every layer computes its map."""
    return _student("maskhubert", width=480, ffn_dim=640, reuse=False).replace(
        layer_grad_scale=False
    )


@register_architecture
def starhubert() -> SpeechEncoderConfig:
    """STaRHuBERT, 22.3 M parameters, no heads (arXiv 2312.09040); dimensions inferred."""
    return _without_heads(_student("starhubert", width=432, ffn_dim=976, reuse=False))


@register_architecture
def starhubert_l() -> SpeechEncoderConfig:
    """STaRHuBERT-L, 26.6 M parameters, no heads; dimensions inferred from the counts."""
    return _without_heads(_student("starhubert", width=480, ffn_dim=1024, reuse=False))


def _student(family: str, width: int, ffn_dim: int, reuse: bool) -> SpeechEncoderConfig:
    convs = [[128, 10, 5], [256, 1, 1]] + [[256, 3, 2]] * 4 + [[width, 1, 1]] + [[width, 2, 2]] * 2
    layers = _layers(12, num_heads=12, head_dim=width // 12, ffn_dim=ffn_dim)
    if reuse:
        for record in layers[1::2]:
            record.attention = "reused"
    return SpeechEncoderConfig(
        family=family,
        conv_layers=convs,
        embed_dim=width,
        feature_projection=False,
        layers=layers,
        layer_grad_scale=True,
        head_dim=768,
        hidden_states="heads",
    )


def _without_heads(config: SpeechEncoderConfig) -> SpeechEncoderConfig:
    return config.replace(head_dim=0, hidden_states="layers", mask_embedding=False)


def _layers(count: int, **sizes: int) -> list[LayerConfig]:
    return [LayerConfig(**sizes) for _ in range(count)]  # type: ignore[arg-type]


__all__ = ["HUBERT_CONV_LAYERS", "architecture", "list_architectures", "register_architecture"]
