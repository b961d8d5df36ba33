from __future__ import annotations

import stat
import sys

import numpy as np
import pytest
import soundfile

from espnet_kd.errors import AudioError, MissingDependencyError
from s3prl_upstreams.sox import apply_effects_file

EFFECTS = [["channels", "1"], ["rate", "16000"], ["gain", "-3.0"]]


@pytest.fixture
def wave(tmp_path):
    path = tmp_path / "a.wav"
    samples = np.random.default_rng(0).uniform(-1, 1, 500).astype(np.float32)
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    return str(path), samples


def test_a_gain_is_a_multiplication(wave):
    path, samples = wave
    out_CS, rate = apply_effects_file(path, EFFECTS)
    assert (tuple(out_CS.shape), rate) == ((1, 500), 16000)
    np.testing.assert_allclose(out_CS[0].numpy(), samples * 10 ** (-3 / 20), atol=4e-8)
    assert apply_effects_file(path, EFFECTS, channels_first=False)[0].shape == (500, 1)


def test_too_much_gain_clips(wave):
    out_CS, _ = apply_effects_file(wave[0], [["gain", "20"]])
    assert out_CS.abs().max() == 1.0


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A ``sox`` that writes its arguments down and answers with 2 x 3 samples."""
    script = tmp_path / "bin" / "sox"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport struct, sys\n"
        f"open({str(tmp_path / 'words')!r}, 'w').write(' '.join(sys.argv[1:]))\n"
        "if 'fail' in sys.argv: sys.exit('no such effect')\n"
        "sys.stdout.buffer.write(struct.pack('<6f', *range(6)))\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(script.parent))
    return tmp_path / "words"


def test_anything_else_goes_through_the_program(program, tmp_path):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.zeros((100, 2)), 8000)
    out_CS, rate = apply_effects_file(str(path), [["rate", "16000"], ["gain", "-3.0"]])
    assert rate == 16000
    assert out_CS.tolist() == [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
    assert program.read_text() == f"-D -V1 {path} -t f32 -L - rate 16000 gain -3.0"


def test_a_failure_of_the_program_is_told(program, wave):
    with pytest.raises(AudioError, match=r"a.wav: sox failed: no such effect"):
        apply_effects_file(wave[0], [["fail"]])


def test_without_the_program_the_error_says_what_to_install(wave, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match=r"silence 1 0.1.*apt install sox"):
        apply_effects_file(wave[0], [["silence", "1", "0.1"]])


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("not audio")
    for effects in (EFFECTS, [["silence", "1"]]):
        with pytest.raises((AudioError, MissingDependencyError), match=r"text\.wav"):
            apply_effects_file(str(path), effects)
    with pytest.raises(AudioError, match="normalize"):
        apply_effects_file(str(path), EFFECTS, normalize=False)
