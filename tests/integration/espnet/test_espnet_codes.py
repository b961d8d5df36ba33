"""From speech to codes that ESPnet's own data set reads: vectors, quantiser, codes."""

from __future__ import annotations

import functools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from children import finish, start

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def speech(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training folder, with speakers."""
    folder = tmp_path_factory.mktemp("speech") / "train"
    folder.mkdir()
    for name in ("wav.scp", "utt2num_samples"):
        shutil.copy(corpus / "train" / name, folder)
    ids = [line.split()[0] for line in (folder / "wav.scp").read_text().splitlines()]
    (folder / "utt2spk").write_text("".join(f"{key} s\n" for key in ids))
    return folder


def stream(codes: Path, speech: Path, preprocess: Callable[..., Any] | None = None) -> Any:
    from espnet2.train.collate_fn import CommonCollateFn
    from espnet2.train.dataset import ESPnetDataset

    paths = [(str(speech / "wav.scp"), "speech", "sound")]
    paths.append((str(codes / "codes.scp"), "codes", "kaldi_ark"))
    data = ESPnetDataset(paths, preprocess=preprocess)
    ids = ["u00", "u01", "u02"]
    _, batch = CommonCollateFn(0.0, -1)([data[key] for key in ids])
    return batch


def test_speech_becomes_codes(
    speech: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kaldiio

    from espnet_kd.bin import extraction, processes, train_quantizer
    from espnet_kd.bin.extract_codebook_indexes import main
    from espnet_kd.data.codes import check_codes

    monkeypatch.setattr(processes, "START_METHOD", "fork")
    usual = ["--data", str(speech), "--teacher", str(teacher), "--layer", "2"]
    usual += ["--batch_seconds", "1"]
    assert main([*usual, "--out", str(tmp_path / "vectors")]) == 0
    vectors = ["--embeddings", str(tmp_path / "vectors" / "embeddings.scp")]
    small = ["--bytes_per_frame", "2", "--alternations", "1", "--logit_steps", "2"]
    quantizer = str(tmp_path / "quantizer")
    assert train_quantizer.main([*vectors, *small, "--out", quantizer]) == 0

    share = extraction.extract_share

    def killed(*args: Any, rank: int = 0, report: Any = None, **more: Any) -> None:
        def then_killed(seconds: float) -> None:
            report(seconds)
            if rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        share(*args, rank=rank, report=then_killed, **more)

    command = [*usual, "--quantizer", quantizer, "--out", str(tmp_path / "codes"), "--nj", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "extract_share", killed)
        assert main(command) == 1
    assert not (tmp_path / "codes" / "codes.scp").exists()
    assert (tmp_path / "codes" / "codes.01.ark").stat().st_size
    assert main(command) == 0
    assert main([*command[:-4], "--out", str(tmp_path / "alone"), "--code_dtype", "int16"]) == 0

    found = check_codes(tmp_path / "codes" / "codes.scp", speech, values=True)
    assert (found.num_codebooks, found.utterances) == (2, 12)
    # Without our classes: signed integers. With a cast, as our tasks have it: bytes.
    plain = stream(tmp_path / "alone", speech)
    cast = stream(tmp_path / "codes", speech, lambda _, d: {k: _signed(v) for k, v in d.items()})
    assert plain["codes"].dtype == torch.int64
    assert torch.equal(plain["codes"], cast["codes"])
    frames = (plain["speech_lengths"] - 400) // 320 + 1
    assert torch.equal(plain["codes_lengths"], frames)
    arrays = kaldiio.load_scp(str(tmp_path / "codes" / "codes.scp"))
    for row, key, length in zip(plain["codes"], ("u00", "u01", "u02"), frames, strict=True):
        np.testing.assert_array_equal(row[:length].numpy(), arrays[key])
        assert (row[length:] == -1).all()


class Foreign(torch.nn.Module):
    """An upstream as S3PRL has them: a list of waves in, a dict of hidden states out."""

    def __init__(self, ckpt: str | None = None) -> None:
        super().__init__()
        from espnet_kd import load_model

        self.inside = load_model(ckpt)

    def forward(self, wavs: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
        output = self.inside(torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True))
        return {"hidden_states": [output.layer_input, *output.layer_outputs]}


def test_upstreams_of_s3prl_give_the_same_vectors(
    speech: Path, teacher: Path, tmp_path: Path
) -> None:
    import kaldiio

    from espnet_kd.bin.extract_codebook_indexes import main

    def extract(source: str, name: str) -> int:
        from s3prl_upstreams.quick_hub import provide_hub

        provide_hub().foreign_local = Foreign
        usual = ["--data", str(speech), "--layer", "2", "--num_utts", "3"]
        return main([*usual, "--teacher", source, "--out", str(tmp_path / name)])

    sources = {
        "direct": str(teacher),
        "opened": f"s3prl:kd_student:{teacher}",
        "foreign": f"s3prl:foreign_local:{teacher}",
    }
    found = {}
    for name, source in sources.items():
        outcome = finish(
            start(functools.partial(extract, source, name), tmp_path / f"{name}.log"),
            tmp_path / f"{name}.log",
        )
        assert outcome.code == 0, outcome.output
        scp = tmp_path / name / "embeddings.scp"
        found[name] = dict(kaldiio.load_scp(str(scp)).items())
    for key, vectors_TD in found["direct"].items():
        np.testing.assert_array_equal(found["opened"][key], vectors_TD)
        np.testing.assert_allclose(found["foreign"][key], vectors_TD, atol=1e-5)
    # One of our encoders behind S3PRL's door is the same teacher, whatever it is called.
    again = finish(
        start(functools.partial(extract, sources["opened"], "direct"), tmp_path / "again.log"),
        tmp_path / "again.log",
    )
    assert again.code == 0, again.output


def _signed(value: Any) -> Any:
    return value.astype(np.int64) if value.dtype == np.uint8 else value
