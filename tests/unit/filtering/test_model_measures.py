"""Measures that ask another model: likelihood, second opinion, agreement, similarity."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from espnet_kd.errors import (
    CheckpointError,
    ConfigError,
    DataDirError,
    MissingDependencyError,
    WhisperError,
)
from espnet_kd.filtering import Item, MeasureOptions, build_measure
from espnet_kd.filtering.asr_systems import load_asr
from espnet_kd.filtering.embedders import ClapEmbedder, SonarEmbedder, sonar_names
from espnet_kd.filtering.language_model import mean_nll
from espnet_kd.filtering.pretrained import load_model, read_config
from tests.unit.filtering import tiny_models
from tests.unit.filtering.made_up import items, label_folder, make_label
from tests.unit.whisper import tiny


class Waves:
    """Stands in for recordings."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds

    def wave(self, utterance: str):
        seed = sum(map(ord, utterance))
        noise = np.random.default_rng(seed).standard_normal(round(16000 * self.seconds))
        return (0.1 * noise).astype(np.float32)


def heard(*labels, seconds: float = 1.0):
    return [Item(label, Waves(seconds)) for label in labels]


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return tiny_models.language_model(tmp_path_factory.mktemp("lm") / "lm")


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory):
    return tiny_models.text_encoder(tmp_path_factory.mktemp("bert") / "bert")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper") / "second"
    return tiny.tiny_whisper(folder, max_source_positions=100, max_target_positions=24)


def test_nnll_is_the_mean_over_the_tokens_after_the_first(language_model):
    model = load_model(_causal(), language_model)
    sequences = [[1, 3, 4], [1, 5, 6, 3, 4]]
    together = mean_nll(model, sequences)
    for ids, value in zip(sequences, together, strict=True):
        ids_1T = torch.tensor([ids])
        with torch.inference_mode():
            expected = model(input_ids=ids_1T, labels=ids_1T).loss
        assert value == pytest.approx(float(expected), abs=1e-5)


def test_nnll_of_labels(language_model):
    measure = build_measure("nnll", MeasureOptions(lm=str(language_model)))
    labels = [make_label("a", "one two"), make_label("b", ""), make_label("c", "one " * 20)]
    found = measure.score(items(*labels))
    expected = mean_nll(load_model(_causal(), language_model), [[1, 3, 4]])
    assert found[0].value == pytest.approx(expected[0])
    assert found[1].note == "label too short for the language model"
    assert found[2].note == "label longer than the language model's context"


def _causal():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM


def test_models_that_bring_code_are_refused(language_model, tmp_path):
    config = json.loads((language_model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(CheckpointError, match="names code to run"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "mine"}))
    with pytest.raises(CheckpointError, match="no model of type 'mine'"):
        read_config(tmp_path)


def test_unknown_keys_are_not_read(language_model, tmp_path):
    config = json.loads((language_model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "_attn_implementation": "x/y"}))
    found = read_config(tmp_path)
    assert found.n_embd == 8
    assert found._attn_implementation != "x/y"


def test_weights_must_be_complete(language_model, text_encoder, tmp_path):
    (tmp_path / "config.json").write_text((language_model / "config.json").read_text())
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(_causal(), tmp_path)
    from transformers import AutoModelForMaskedLM

    with pytest.raises(CheckpointError, match="lacks weights"):
        load_model(AutoModelForMaskedLM, text_encoder)
    with pytest.raises(CheckpointError, match="is not a directory"):
        load_model(_causal(), tmp_path / "gone")


def test_proxy_model_is_asked_once(whisper, tmp_path):
    options = MeasureOptions(
        proxy_model=str(whisper), normaliser="basic", language="en", cache=tmp_path
    )
    labels = heard(make_label("a", "one"), make_label("b", "two"), seconds=1.0)
    measure = build_measure("proxy", options)
    first = measure.score(labels)
    assert all(score.value is not None for score in first)
    again = build_measure("proxy", options)
    assert again.score(items(*(item.label for item in labels))) == first  # no audio is needed
    other = make_label("a", "one", duration=1.2)  # of other data, with the same id
    with pytest.raises(DataDirError, match=r"a: its folder has no wav\.scp"):
        again.score(items(other))


def test_proxy_model_hears_long_audio_whole(whisper):
    options = MeasureOptions(proxy_model=str(whisper), normaliser="basic", language="en")
    measure = build_measure("proxy", options)
    (score,) = measure.score(heard(make_label(), seconds=3.0))
    assert score.value is not None


def test_proxy_model_may_be_a_ctc_recogniser(tmp_path):
    folder = tiny_models.ctc(tmp_path / "ctc")
    options = MeasureOptions(proxy_model=str(folder), normaliser="basic")
    (score,) = build_measure("proxy", options).score(heard(make_label()))
    assert score.value is not None


def test_proxy_model_may_be_converted_to_ctranslate2(whisper, tmp_path):
    pytest.importorskip("ctranslate2")
    from espnet_kd.whisper.ct2 import convert_to_ctranslate2
    from espnet_kd.whisper.load import load_whisper

    folder = convert_to_ctranslate2(load_whisper(whisper), tmp_path / "converted")
    waves = [item.wave() for item in heard(make_label("a"), make_label("b"))]
    for language in ("en", None):
        options = MeasureOptions(language=language)
        ours, converted = (
            load_asr(str(path), options).transcribe(waves) for path in (whisper, folder)
        )
        assert converted == ours


def test_a_translating_recogniser_is_told_the_language(tmp_path):
    folder = str(tiny_models.seamless(tmp_path / "m4t"))
    waves = [Waves().wave("a")]
    texts = [
        load_asr(folder, MeasureOptions(language=language)).transcribe(waves)[0].split()
        for language in ("en", "ar", "arb")
    ]
    # The second token of the decoder is that of the language.
    assert [words[1] for words in texts] == [tiny_models.WORDS[5], *[tiny_models.WORDS[6]] * 2]
    with pytest.raises(ConfigError, match=r"needs --language, one of arb, eng \(given: None\)"):
        load_asr(folder, MeasureOptions())


def test_a_converted_proxy_hears_long_audio_in_pieces(whisper, tmp_path):
    pytest.importorskip("ctranslate2")
    from espnet_kd.whisper.ct2 import convert_to_ctranslate2
    from espnet_kd.whisper.load import load_whisper
    from espnet_kd.whisper.splitting import quiet_cuts

    folder = convert_to_ctranslate2(load_whisper(whisper), tmp_path / "converted")
    system = load_asr(str(folder), MeasureOptions(language="en"))
    wave_S = heard(make_label(), seconds=5.0)[0].wave()
    pieces = np.split(wave_S, quiet_cuts(wave_S, 32000))  # the model hears 2 s
    assert len(pieces) == 3
    expected = " ".join(system.transcribe(pieces))
    assert system.transcribe([wave_S, pieces[0]]) == [expected, system.transcribe(pieces[:1])[0]]


def test_agreement_is_the_share_of_chosen_tokens(whisper):
    from espnet_kd.whisper.load import load_whisper

    bundle = load_whisper(whisper)
    item = heard(make_label("a"))[0]
    features = bundle.feature_extractor(
        [item.wave()], sampling_rate=16000, return_tensors="pt"
    ).input_features
    ids = bundle.specials.prefix("en")
    with torch.inference_mode():
        for _ in range(6):
            logits = bundle.model(features, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
            ids = [*ids, int(logits[: bundle.specials.end].argmax())]
    measure = build_measure("agreement", MeasureOptions(student=str(whisper)))
    own = make_label("a", token_ids=ids)
    wrong = make_label("a", token_ids=[*ids[:-2], (ids[-2] + 1) % 100, ids[-1]])
    alone = [measure.score(heard(label))[0].value for label in (own, wrong)]
    assert 0.0 <= alone[1] < alone[0] <= 1.0
    shorter = make_label("b", token_ids=ids[:-3])
    together = measure.score(heard(own, shorter))  # padding changes nothing
    assert together[0].value == pytest.approx(alone[0])


def test_agreement_refuses_what_is_not_its_own(whisper):
    measure = build_measure("agreement", MeasureOptions(student=str(whisper)))
    found = measure.score(
        [*heard(make_label("a", token_ids=[])), *heard(make_label("b", token_ids=[50258] * 30)),
         *heard(make_label("c", token_ids=[50258, 1, 50257]), seconds=3.0)]
    )  # fmt: skip
    assert [score.note for score in found] == [
        "label without token_ids",
        "label longer than the student",
        "audio longer than the student's window",
    ]
    with pytest.raises(WhisperError, match="not those of"):
        measure.score(heard(make_label(token_ids=[50257, 1])))


def test_similarity_of_texts(text_encoder, tmp_path):
    text = tmp_path / "text"
    text.write_text("a one two\nb three four\n", encoding="utf-8")
    options = MeasureOptions(embedder=str(text_encoder), proxy_text=text)
    measure = build_measure("sonar", options)
    labels = [make_label(name, "one two") for name in "abc"]
    same, other, none = measure.score(items(*labels))
    assert same.value == pytest.approx(1.0)
    assert other.value < 0.99
    assert none.note == "no text of the second system"
    alone = [measure.score(items(label))[0] for label in labels]
    assert alone[1].value == pytest.approx(other.value, abs=1e-5)
    (empty,) = measure.score(items(make_label(text=" ")))
    assert empty.note == "empty label"
    (long,) = measure.score(items(make_label(text="one " * 20)))
    assert long.note == "label longer than the text encoder takes"


def test_text_encoder_needs_a_second_text(text_encoder):
    measure = build_measure("sonar", MeasureOptions(embedder=str(text_encoder)))
    with pytest.raises(ConfigError, match="needs --proxy_text or --proxy_model"):
        measure.score(items(make_label()))


def test_clap_compares_speech_and_text(tmp_path):
    folder = tiny_models.clap(tmp_path / "clap")
    measure = build_measure("sonar", MeasureOptions(embedder=str(folder)))
    found = measure.score(heard(make_label("a", "one two"), make_label("b", "three four")))
    assert all(-1.0 <= score.value <= 1.0 for score in found)


@pytest.mark.parametrize("fusion", [False, True])
def test_clap_hears_all_of_an_utterance(tmp_path, fusion):
    """2.5 s for a model that hears 1 s: no random stretch, and the neighbours change nothing."""
    folder = tiny_models.clap(tmp_path / "clap", fusion=fusion, rate=16000)
    embedder = ClapEmbedder(str(folder), MeasureOptions())
    long_S, short_S = (heard(make_label(n), seconds=s)[0].wave() for n, s in (("a", 2.5), ("b", 1)))
    alone_1D = embedder.embed_speech([long_S])
    parts_3D = embedder.embed_speech(np.array_split(long_S, 3))
    torch.testing.assert_close(alone_1D[0], parts_3D.mean(0), atol=1e-5, rtol=1e-5)
    together = embedder.embed_speech([short_S, long_S])
    torch.testing.assert_close(together[1], alone_1D[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[:1], embedder.embed_speech([short_S]), atol=1e-5, rtol=1e-5)
    changed_S = long_S.copy()
    changed_S[-4000:] = 0.0
    assert not torch.allclose(embedder.embed_speech([changed_S]), alone_1D, atol=1e-5)


@pytest.fixture
def sonar(monkeypatch):
    """Modules with the pipelines of sonar-space, as far as they are called."""

    class Speech:
        def __init__(self, encoder, device):
            self.encoder = encoder

        def predict(self, waves, batch_size):
            assert all(wave.shape[0] == 1 for wave in waves)
            return torch.stack([torch.tensor([1.0, float(wave.shape[1] > 8000)]) for wave in waves])

    class Text:
        def __init__(self, encoder, tokenizer, device):
            assert encoder == tokenizer == "text_sonar_basic_encoder"

        def predict(self, texts, source_lang):
            assert source_lang == "arb_Arab"
            return torch.tensor([[1.0, 1.0]] * len(texts))

    for name, attributes in {
        "sonar": {},
        "sonar.inference_pipelines": {},
        "sonar.inference_pipelines.speech": {"SpeechToEmbeddingModelPipeline": Speech},
        "sonar.inference_pipelines.text": {"TextToEmbeddingModelPipeline": Text},
    }.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)


def test_sonar(sonar):
    measure = build_measure("sonar", MeasureOptions())
    found = measure.score(
        [*heard(make_label("a", language="ar")),
         *heard(make_label("b", language="ar"), seconds=0.25)]
    )  # fmt: skip
    assert [score.value for score in found] == [pytest.approx(1.0), pytest.approx(0.5**0.5)]


def test_sonar_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "sonar", None)
    with pytest.raises(MissingDependencyError, match="sonar-space"):
        SonarEmbedder("ar", MeasureOptions())


def test_sonar_names():
    assert sonar_names("zh", MeasureOptions()) == ("sonar_speech_encoder_cmn", "zho_Hans")
    given = MeasureOptions(sonar_speech_encoder="s", sonar_text_language="t")
    assert sonar_names(None, given) == ("s", "t")
    with pytest.raises(ConfigError, match="no SONAR encoder is known for language 'xx'"):
        sonar_names("xx", MeasureOptions())


def test_labels_without_audio_say_so(tmp_path):
    label_folder(tmp_path / "labels", [make_label()], audio=False)
    with pytest.raises(DataDirError, match=r"u0.*no wav\.scp"):
        Item(make_label()).wave()
