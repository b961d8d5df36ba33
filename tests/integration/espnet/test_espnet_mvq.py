"""ESPnet's recognisers distilled by codes, then decoded by ESPnet alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from children import Outcome

pytestmark = pytest.mark.integration

COMMON: dict[str, Any] = {
    "frontend_conf": {"n_fft": 256, "hop_length": 160, "n_mels": 16},
    "token_type": "word",
    "normalize": "utterance_mvn",
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "max_epoch": 3,
    "batch_type": "sorted",
    "batch_size": 6,
    "num_workers": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "num_att_plot": 0,
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 1,
    "kd_conf": {
        "num_codebooks": 2,
        "codebook_size": 16,
        "distillation_layer": 0,
        "model_warm_step": 2,
    },
}
ASR: dict[str, Any] = {
    **COMMON,
    "encoder": "conformer",
    "encoder_conf": {
        "output_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 2,
        "cnn_module_kernel": 3, "macaron_style": True, "use_cnn_module": True,
    },
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 2, "linear_units": 16, "num_blocks": 1},
    "model_conf": {"ctc_weight": 0.5},
}  # fmt: skip
TRANSDUCER: dict[str, Any] = {
    **COMMON,
    "encoder_conf": {
        "input_conf": {"vgg_like": False, "subsampling_factor": 4, "conv_size": 8},
        "body_conf": [
            {
                "block_type": "conformer", "hidden_size": 16, "linear_size": 16, "heads": 2,
                "conv_mod_kernel_size": 3,
            }
        ] * 2,
    },
    "decoder": "stateless",
    "decoder_conf": {"embed_size": 16},
    "joint_network_conf": {"joint_space_size": 16},
    "model_conf": {"use_k2_pruned_loss": True, "k2_pruned_loss_args": {"prune_range": 3}},
}  # fmt: skip
KINDS = {"asr": ASR, "transducer": TRANSDUCER}


@pytest.fixture(scope="session")
def codes(corpus: Path) -> Path:
    """Folder with train.scp and valid.scp: two uint8 codes of each 20 ms, made of the text."""
    import kaldiio

    folder = corpus / "mvq"
    folder.mkdir()
    for part in ("train", "valid"):
        text, lengths = (
            dict(line.split(maxsplit=1) for line in (corpus / part / name).read_text().splitlines())
            for name in ("text", "utt2num_samples")
        )
        arrays = {}
        for name, words in text.items():
            tones = np.array(["ABC".index(word) for word in words.split()], dtype=np.uint8)
            frames = (int(lengths[name]) - 400) // 320 + 1
            tone_T = tones[np.minimum(np.arange(frames) * 320 // 4000, len(tones) - 1)]
            arrays[name] = np.stack([tone_T, 15 - tone_T], axis=1)
        kaldiio.save_ark(
            str(folder / f"{part}.ark"),
            arrays,
            scp=str(folder / f"{part}.scp"),
            write_function="numpy",
        )
    return folder


def train(
    forked: Callable[..., Outcome],
    corpus: Path,
    folder: Path,
    kind: str,
    codes: Path | None,
    **changes: Any,
) -> Outcome:
    """`python -m espnet_kd.bin.mvq_KIND_train ...` in a child."""
    folder.mkdir(exist_ok=True)
    tokens, config = folder / "tokens.txt", folder / "train.yaml"
    tokens.write_text("<blank>\n<unk>\nA\nB\nC\n<sos/eos>\n")
    values = {**KINDS[kind], **changes}
    values["kd_conf"] = {**COMMON["kd_conf"], **changes.get("kd_conf", {})}
    config.write_text(yaml.safe_dump(values))
    words: list[object] = ["--config", config, "--token_list", tokens]
    words += ["--output_dir", folder / "exp"]
    for part in ("train", "valid"):
        option = f"--{part}_data_path_and_name_and_type"
        words += [option, f"{corpus / part / 'wav.scp'},speech,sound"]
        words += [option, f"{corpus / part / 'text'},text,text"]
        if codes is not None:
            words += [option, f"{codes / part}.scp,codes,kaldi_ark"]
        words += [f"--{part}_shape_file", corpus / part / "utt2num_samples"]

    def child() -> int:
        import importlib

        main = importlib.import_module(f"espnet_kd.bin.mvq_{kind}_train").main
        code: int = main([str(word) for word in words])
        return code

    return forked(child)


def stats(folder: Path, part: str) -> list[dict[str, Any]]:
    """What each epoch reports."""
    import torch

    checkpoint = torch.load(folder / "exp" / "checkpoint.pth", weights_only=False)
    epochs = checkpoint["reporter"]["stats"]
    return [epochs[number][part] for number in sorted(epochs)]


@pytest.mark.parametrize("kind", KINDS)
def test_train_resume_and_decode_without_this_package(
    forked: Callable[..., Outcome], corpus: Path, codes: Path, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / kind
    outcome = train(forked, corpus, folder, kind, codes, max_epoch=2)
    assert outcome.code == 0, outcome.output
    outcome = train(forked, corpus, folder, kind, codes)  # goes on to the third epoch
    assert outcome.code == 0, outcome.output
    seen = stats(folder, "valid")
    assert len(seen) == 3
    assert seen[2]["loss_codebook"] < 0.9 * seen[0]["loss_codebook"]

    import torch

    states = torch.load(folder / "exp" / "3epoch.pth", weights_only=True)
    assert int(states["num_updates"]) == 6  # two batches an epoch, counted through the resumption
    assert states["codebook_loss.linear2b_weight"].shape == (4, 16, 16)

    def decode() -> None:
        import importlib

        for name in [name for name in sys.modules if name.partition(".")[0] == "espnet_kd"]:
            sys.modules[name] = None  # type: ignore[assignment]  # importing it now fails
        ours = [f for f in sys.meta_path if type(f).__module__.startswith("espnet_kd")]
        for finder in ours:  # which would register our names with ESPnet
            sys.meta_path.remove(finder)
        stock = "asr_inference" if kind == "asr" else "asr_transducer_inference"
        exp = folder / "exp"
        importlib.import_module(f"espnet2.bin.{stock}").main(
            [
                "--ngpu", "0", "--beam_size", "2", "--output_dir", str(tmp_path / "decoded"),
                "--data_path_and_name_and_type", f"{corpus / 'valid' / 'wav.scp'},speech,sound",
                "--asr_train_config", str(exp / "config.yaml"),
                "--asr_model_file", str(exp / "3epoch.pth"),
            ]
        )  # fmt: skip

    decoded = forked(decode)
    assert decoded.code == 0, decoded.output
    lines = (tmp_path / "decoded" / "1best_recog" / "text").read_text().splitlines()
    assert len(lines) == 4


def test_the_baseline_is_the_same_model_without_codes(
    forked: Callable[..., Outcome], corpus: Path, codes: Path, tmp_path: Path
) -> None:
    off = {"enable_distillation": False}
    plain = train(forked, corpus, tmp_path / "plain", "asr", None, kd_conf=off, max_epoch=1)
    assert plain.code == 0, plain.output
    zero = {"codebook_loss_scale": 0.0}
    outcome = train(forked, corpus, tmp_path / "zero", "asr", codes, kd_conf=zero, max_epoch=1)
    assert outcome.code == 0, outcome.output
    # Weights begin alike, and a loss of weight 0 changes nothing.
    assert stats(tmp_path / "plain", "valid")[0]["loss"] == pytest.approx(
        stats(tmp_path / "zero", "valid")[0]["loss"], rel=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kd_conf": {"distillation_layer": 2}}, ["distillation_layer is 2", "has 2 layers"]),
        ({"kd_conf": {"codebok_size": 3}}, ["unknown key codebok_size", "codebook_size"]),
        ({"kd_conf": {"codebook_size": 8}}, ["out of range", "another quantiser"]),
        ({"kd_conf": {"num_codebooks": 4}}, ["another number of codebooks", "u00"]),
        ({"kd_conf": {"frame_ratio": 4}}, ["utterance u", "frames apart"]),
        ({"specaug": "specaug"}, ["apply_time_warp", "false"]),
        ({"model_conf": {"ctc_weigth": 1}}, ["ctc_weigth"]),
    ],
)
def test_mistakes_are_one_message(
    forked: Callable[..., Outcome],
    corpus: Path,
    codes: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    words: list[str],
) -> None:
    outcome = train(forked, corpus, tmp_path / "run", "asr", codes, **changes)
    assert outcome.code != 0
    for word in words:
        assert word in outcome.output, outcome.output
    if "model_conf" not in changes:  # ESPnet's own option, ESPnet's own message
        assert "Traceback" not in outcome.output


@pytest.mark.parametrize("missing", [None, "u05"])
def test_codes_of_other_speech_are_found_before_the_first_batch(
    forked: Callable[..., Outcome], corpus: Path, codes: Path, tmp_path: Path, missing: str | None
) -> None:
    import kaldiio

    other = tmp_path / "codes"
    other.mkdir()
    for part in ("train", "valid"):
        arrays = {
            key: value.copy() for key, value in kaldiio.load_scp(f"{codes}/{part}.scp").items()
        }
        if part == "train":
            arrays["u03"] = arrays["u03"][:-4]
            arrays.pop(missing, None)
        kaldiio.save_ark(
            f"{other}/{part}.ark", arrays, scp=f"{other}/{part}.scp", write_function="numpy"
        )
    outcome = train(forked, corpus, tmp_path / "run", "asr", other)
    assert outcome.code == 1
    assert (f"not in it, e.g. {missing}" if missing else "u03") in outcome.output
    assert "Traceback" not in outcome.output
    assert not (tmp_path / "run" / "exp" / "1epoch.pth").exists()


def test_without_codes_it_says_how_to_get_them(
    forked: Callable[..., Outcome], corpus: Path, tmp_path: Path
) -> None:
    outcome = train(forked, corpus, tmp_path / "run", "transducer", None)
    assert outcome.code == 1
    assert "bin.extract_codebook_indexes" in outcome.output
    assert "Traceback" not in outcome.output
