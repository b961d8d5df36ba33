"""k-means targets line up with the encoder's frames and separate what sounds different."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from espnet_kd.bin import make_clusters
from espnet_kd.data.clusters import ClusterOptions, fit_clusters, mfcc_extractor
from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir
from espnet_kd.data.tables import read_table
from espnet_kd.errors import KDError


def frames_of_hubert(samples: int) -> int:
    """Length after HuBERT's seven convolutions."""
    for kernel, stride in [(10, 5)] + [(3, 2)] * 4 + [(2, 2)] * 2:
        samples = (samples - kernel) // stride + 1
    return samples


@pytest.mark.parametrize("samples", [400, 719, 720, 1039, 16000, 17123])
def test_one_label_per_encoder_frame(samples):
    wave = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    features = mfcc_extractor(ClusterOptions())(wave)
    assert features.shape == (frames_of_hubert(samples), 39)
    assert np.isfinite(features).all()


def tones(folder, count=4):
    """Utterances of half a second at 300 Hz and half a second at 3 kHz, with a little noise."""
    rng = np.random.default_rng(0)
    time = np.arange(8000) / 16000
    wavs = {}
    for number in range(count):
        wave = np.concatenate([np.sin(2 * np.pi * f * time) for f in (300, 3000)])
        wave = 0.3 * wave + 0.01 * rng.standard_normal(16000)
        path = folder / f"{number}.wav"
        soundfile.write(str(path), wave, 16000)
        wavs[f"u{number}"] = str(path)
    write_kaldi_dir(folder, KaldiDir(wavs, dict.fromkeys(wavs, "s")))


def test_command_labels_two_tones_differently(tmp_path, capsys):
    for name in ("train", "valid"):
        (tmp_path / name).mkdir()
        tones(tmp_path / name)
    make_clusters.main([str(tmp_path / "train"), str(tmp_path / "valid"), "--num_classes", "4"])
    assert "196 frames, 4 classes" in capsys.readouterr().out
    table = read_table(tmp_path / "valid/codes")
    assert table.problems == []
    for row in table.rows:
        codes = row.value.split()
        assert len(codes) == 49
        assert not set(codes[3:20]) & set(codes[28:46])


def test_same_seed_same_labels(tmp_path):
    tones(tmp_path)
    make_clusters.main([str(tmp_path), "--num_classes", "5"])
    first = (tmp_path / "codes").read_bytes()
    make_clusters.main([str(tmp_path), "--num_classes", "5"])
    assert (tmp_path / "codes").read_bytes() == first


def test_more_clusters_than_frames():
    with pytest.raises(KDError, match="3 frames cannot be divided into 100"):
        fit_clusters([np.zeros((3, 39), np.float32)], ClusterOptions())


def test_draws_at_most_max_frames():
    features = [np.random.default_rng(0).standard_normal((500, 39)).astype(np.float32)]
    model = fit_clusters(features, ClusterOptions(num_classes=3, max_frames=50))
    assert model.cluster_centers_.shape == (3, 39)


@pytest.mark.parametrize("words", [("num_classes", "1"), ("max_frames", "-1"), ("seed", "-1")])
def test_numbers_out_of_range(tmp_path, words):
    tones(tmp_path)
    with pytest.raises(SystemExit, match=f"{words[0]} is {words[1]}"):
        make_clusters.main([str(tmp_path), f"--{words[0]}", words[1]])


def test_codes_of_all_folders_are_of_the_same_clusters(tmp_path):
    for name in ("train", "valid"):
        (tmp_path / name).mkdir()
        tones(tmp_path / name)
        (tmp_path / name / "codes").write_text("earlier\n")
    next((tmp_path / "valid").glob("*.wav")).write_bytes(b"")
    with pytest.raises(SystemExit, match="has 0 bytes"):
        make_clusters.main([str(tmp_path / n) for n in ("train", "valid")] + ["--num_classes", "4"])
    assert (tmp_path / "train" / "codes").read_text() == "earlier\n"
