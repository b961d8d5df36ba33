"""A Whisper's encoder, decoder and prefix under ESPnet's interfaces for ASR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from espnet.nets.batch_beam_search import BatchBeamSearch

from espnet_kd.bin.whisper_token_list import main as write_tokens
from espnet_kd.errors import AudioError, CheckpointError, ConfigError, WhisperError
from espnet_kd.tasks.whisper_asr_decoder import KDWhisperDecoder
from espnet_kd.tasks.whisper_asr_encoder import KDWhisperEncoder
from espnet_kd.tasks.whisper_asr_preprocessor import KDWhisperPreprocessor
from espnet_kd.whisper import save_whisper
from espnet_kd.whisper.features import log_mel
from espnet_kd.whisper.log_mel import LogMel
from tests.unit.tasks.whisper_corpus import tiny_teacher
from tests.unit.whisper.tiny import tiny_whisper

VOCABULARY = 51865


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whisper") / "teacher"
    save_whisper(tiny_teacher(), place)
    return place


@pytest.fixture(scope="module")
def decoder(folder: Path) -> KDWhisperDecoder:
    return KDWhisperDecoder(VOCABULARY, 32, str(folder)).eval()


@pytest.fixture
def speech() -> tuple[torch.Tensor, torch.Tensor]:
    """Two waveforms; behind the shorter one lies something that must not be heard."""
    wave_BS = 0.1 * torch.randn(2, 12000, generator=torch.Generator().manual_seed(0))
    return wave_BS, torch.tensor([12000, 7000])


def test_features_are_those_of_the_extractor(speech: tuple[torch.Tensor, torch.Tensor]) -> None:
    extractor = tiny_teacher().feature_extractor
    wave_BS, lengths_B = speech
    expected = log_mel(
        extractor, [w[:n].numpy() for w, n in zip(wave_BS, lengths_B.tolist(), strict=True)]
    )
    found = LogMel(extractor)(wave_BS, lengths_B)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    padded = torch.nn.functional.pad(wave_BS, (0, 9000), value=7.0)
    torch.testing.assert_close(LogMel(extractor)(padded, lengths_B), found)
    with pytest.raises(AudioError, match=r"1\.25 s is in the batch.*at most 1 s"):
        LogMel(extractor)(torch.zeros(1, 20000), torch.tensor([20000]))


def test_encoder(folder: Path, speech: tuple[torch.Tensor, torch.Tensor]) -> None:
    bundle = tiny_teacher()
    encoder = KDWhisperEncoder(pretrained=str(folder)).eval()
    assert encoder.output_size() == 32
    with torch.no_grad():
        states, lengths, _ = encoder(*speech)
        expected = bundle.model.model.encoder(LogMel(bundle.feature_extractor)(*speech))
        trimmed, _, _ = KDWhisperEncoder(pretrained=str(folder), trim=True).eval()(*speech)
    assert torch.equal(states, expected.last_hidden_state)
    assert states.shape == (2, 50, 32)
    assert lengths.tolist() == [38, 22]
    assert torch.equal(trimmed, states[:, :38])
    assert not [name for name in encoder.state_dict() if "filters" in name or "window" in name]


def test_frozen_encoder(folder: Path) -> None:
    encoder = KDWhisperEncoder(
        pretrained=str(folder), freeze=True, student_conf={"dropout": 0.5}
    ).train()
    assert not encoder.encoder.training
    assert encoder.encoder.dropout == 0.5
    assert not any(p.requires_grad for p in encoder.parameters())


def test_decoder_gives_the_models_logits(decoder: KDWhisperDecoder) -> None:
    states_BED = torch.randn(2, 50, 32)
    tokens_BT = torch.tensor([[50258, 50259, 50359, 50363, 7], [50258, 50259, 50359, 8, 50257]])
    with torch.no_grad():
        logits, lengths = decoder(states_BED, None, tokens_BT, torch.tensor([5, 4]))
        expected = (
            tiny_teacher().model(encoder_outputs=(states_BED,), decoder_input_ids=tokens_BT).logits
        )
    torch.testing.assert_close(logits, expected)
    assert lengths.tolist() == [5, 4]
    with pytest.raises(WhisperError, match="a transcript of 49 tokens"):
        decoder(states_BED, None, torch.zeros(2, 49, dtype=torch.long), None)


@torch.no_grad()
def test_cached_scores_are_those_of_whole_hypotheses(decoder: KDWhisperDecoder) -> None:
    """Three steps in which hypotheses split, change places and end."""
    x = torch.randn(50, 32, generator=torch.Generator().manual_seed(1))

    def whole(ys: torch.Tensor) -> torch.Tensor:
        logits, _ = decoder(x.expand(len(ys), -1, -1), None, ys, None)
        return logits[:, -1].log_softmax(-1)

    ys = torch.tensor([[50258]])
    scores, states = decoder.batch_score(ys, [None], x[None])
    torch.testing.assert_close(scores, whole(ys), atol=1e-5, rtol=1e-5)
    for parents, tokens in (([0, 0, 0], [5, 6, 7]), ([2, 0], [8, 9]), ([1, 1, 0], [1, 2, 3])):
        ys = torch.cat([ys[parents], torch.tensor(tokens)[:, None]], dim=1)
        chosen = [decoder.select_state(states, parent) for parent in parents]
        scores, states = decoder.batch_score(ys, chosen, x.expand(len(ys), -1, -1))
        torch.testing.assert_close(scores, whole(ys), atol=1e-5, rtol=1e-5)
    assert len({id(state.speech) for state in states}) == 1
    # Beginning in the middle, as with a primer; and one hypothesis alone.
    scores, _ = decoder.batch_score(ys, [None] * 3, x.expand(3, -1, -1))
    torch.testing.assert_close(scores, whole(ys), atol=1e-5, rtol=1e-5)
    score, state = decoder.score(ys[0, :1], None, x)
    score, _ = decoder.score(ys[0, :2], state, x)
    torch.testing.assert_close(score, whole(ys[:1, :2])[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_beam_search_begins_with_the_prefix_and_ends_in_time(folder: Path) -> None:
    decoder = KDWhisperDecoder(VOCABULARY, 32, str(folder), language="hi").eval()
    search = BatchBeamSearch(
        beam_size=3, weights={"decoder": 1.0}, scorers={"decoder": decoder}, sos=50258, eos=50257,
        vocab_size=VOCABULARY, token_list=[str(i) for i in range(VOCABULARY)],
    )  # fmt: skip
    x = torch.randn(50, 32, generator=torch.Generator().manual_seed(2))
    best = search(x, maxlenratio=-47)[0]
    assert best.yseq[:4].tolist() == [50258, 50276, 50359, 50363]
    assert torch.isfinite(torch.as_tensor(best.score))
    assert len(best.yseq) <= 49
    scores, _ = decoder.batch_score(torch.full((1, 48), 50258), [None], x[None])
    assert torch.isfinite(scores).nonzero()[:, 1].tolist() == [50257]


@pytest.mark.parametrize(
    ("build", "part"),
    [
        (lambda f: KDWhisperEncoder(80, f), "input_size is 80"),
        (lambda f: KDWhisperEncoder(), "give pretrained"),
        (lambda f: KDWhisperDecoder(VOCABULARY, 32), "give pretrained"),
        (lambda f: KDWhisperDecoder(50257, 32, f), "whisper_token_list"),
        (lambda f: KDWhisperDecoder(VOCABULARY, 64, f), "the encoder is 64 wide"),
        (
            lambda f: KDWhisperPreprocessor(True, token_type="char", token_list=["a"]),
            "hugging_face",
        ),
    ],
)
def test_impossible_options(folder: Path, build: Any, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        build(str(folder))


def test_english_only_and_multilingual_are_not_mixed_up(folder: Path, tmp_path: Path) -> None:
    english = str(tiny_whisper(tmp_path / "english", multilingual=False, max_source_positions=50))
    tokens = tmp_path / "tokens.txt"
    assert write_tokens(["--model", english, "--out", str(tokens)]) == 0
    common = {"token_type": "hugging_face", "token_list": str(tokens), "bpemodel": english}
    with pytest.raises(WhisperError, match="English-only"):
        KDWhisperPreprocessor(True, language="hi", **common)
    with pytest.raises(WhisperError, match="English-only"):
        KDWhisperDecoder(VOCABULARY - 1, 32, english, language="hi")
    with pytest.raises(ConfigError, match="the token list has 51864 tokens, teacher has 51865"):
        KDWhisperDecoder(VOCABULARY - 1, 32, str(folder))
    with pytest.raises(WhisperError, match="a multilingual model needs a language"):
        KDWhisperPreprocessor(True, **{**common, "bpemodel": str(folder)})
    settings = Path(english) / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("{", '{"auto_map": {"x": "evil"},', 1))
    with pytest.raises(CheckpointError, match="names code to run"):
        KDWhisperPreprocessor(True, **common)
    assert write_tokens(["--model", english, "--out", str(tokens)]) == 1


def test_preprocessor_writes_the_prefix(folder: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.txt"
    assert write_tokens(["--model", str(folder), "--out", str(tokens)]) == 0
    listed = tokens.read_text("utf-8").splitlines()
    assert len(listed) == VOCABULARY
    assert listed[50258] == "<|startoftranscript|>"
    preprocess = KDWhisperPreprocessor(
        train=True, language="hi", token_type="hugging_face", token_list=str(tokens),
        bpemodel=str(folder),
    )  # fmt: skip
    data = preprocess("u", {"text": "one two !", "speech": torch.zeros(9).numpy()})
    tokenizer = tiny_teacher().tokenizer
    text = tokenizer.decode(data["text"])
    assert text == "<|hi|><|transcribe|><|notimestamps|>one two !"
    lone = preprocess("u", {"text": "!"})
    assert lone["text"].tolist() == [50276, 50359, 50363]
    assert write_tokens(["--model", str(tmp_path), "--out", str(tokens)]) == 1
