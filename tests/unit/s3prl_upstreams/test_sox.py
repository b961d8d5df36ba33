from __future__ import annotations

import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from espnet_kd.errors import AudioError, MissingDependencyError
from s3prl_upstreams import sox
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
    np.testing.assert_allclose(out_CS[0].numpy(), samples * 10 ** (-3 / 20), atol=7e-8)
    assert apply_effects_file(path, EFFECTS, channels_first=False)[0].shape == (500, 1)


def test_too_much_gain_clips(wave):
    out_CS, _ = apply_effects_file(wave[0], [["gain", "20"]])
    assert out_CS.abs().max() == 1.0


def test_long_recordings_are_computed_once_until_they_change(tmp_path, monkeypatch):
    path, applied = tmp_path / "noise.wav", sox._applied
    rng = np.random.default_rng(0)
    soundfile.write(path, rng.uniform(-1, 1, sox.LONG_SAMPLES + 1), 16000)
    expected = applied(sox._Asked(str(path), "PCM_16", (-3.0,), None))
    computed = []
    monkeypatch.setattr(sox, "_applied", lambda asked: computed.append(asked) or applied(asked))
    for _ in range(2):
        out_CS, _ = apply_effects_file(str(path), EFFECTS)
        assert torch.equal(out_CS, expected)
        out_CS.zero_()
    assert len(computed) == 1
    soundfile.write(path, np.zeros(sox.LONG_SAMPLES + 2), 16000)
    assert not apply_effects_file(str(path), EFFECTS)[0].any()
    assert len(computed) == 2


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


SILENCE = ["silence", "1", "0.1", "0.1%", "-1", "0.1", "0.1%"]


def speech(path, seed, subtype="PCM_16"):
    """Noise that jumps every 50 ms between nothing, about the threshold, and loud."""
    rng = np.random.default_rng(seed)
    levels = rng.choice([0, 0.0003, 0.001, 0.0012, 0.003, 0.05, 0.3], size=60)
    samples = rng.normal(size=48000) * np.repeat(levels, 800)
    soundfile.write(path, samples.clip(-1, 1), 16000, subtype=subtype)
    return str(path)


@pytest.mark.skipif(shutil.which("sox") is None, reason="the program sox is not at hand")
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_samples_equal_the_programs_bit_for_bit(tmp_path, subtype):
    for seed in range(12):
        path = speech(tmp_path / f"{seed}.wav", seed, subtype)
        for chain in ([*EFFECTS, SILENCE], EFFECTS):
            ours_CS, rate = apply_effects_file(path, chain)
            program = [
                "sox",
                "-D",
                "-V1",
                path,
                "-t",
                "f32",
                "-L",
                "-",
                *(word for effect in chain for word in effect),
            ]
            theirs = np.frombuffer(subprocess.run(program, capture_output=True).stdout, "<f4")
            assert rate == 16000
            np.testing.assert_array_equal(ours_CS[0].numpy(), theirs)


def test_pauses_are_cut_and_speech_is_kept(tmp_path):
    """0.5 s pause, 0.5 s speech, a gap too short to be cut, 0.3 s speech, 0.5 s pause, speech."""
    loud, quiet = np.full(1600, 0.5), np.zeros(1600)
    parts = [quiet] * 5 + [loud] * 5 + [np.zeros(1000)] + [loud] * 3 + [quiet] * 5 + [loud] * 2
    soundfile.write(tmp_path / "a.wav", np.concatenate(parts), 16000, subtype="PCM_16")
    out_CS, _ = apply_effects_file(str(tmp_path / "a.wav"), [SILENCE])
    # The level is a mean over 20 ms: what follows speech by less counts as speech.
    assert out_CS.size(1) == 5 * 1600 + 1000 + 3 * 1600 + 319 + 2 * 1600
    pause, _ = apply_effects_file(speech_free(tmp_path / "b.wav"), [SILENCE])
    assert pause.size(1) == 0


def speech_free(path):
    soundfile.write(path, np.zeros(8000), 16000, subtype="PCM_16")
    return str(path)


@pytest.mark.parametrize(
    "words",
    [SILENCE[:4], ["silence", "1", "x", "1%", "-1", "1", "1%"], ["silence", "2", *SILENCE[2:]]],
)
def test_other_forms_of_the_effect_are_the_programs(words, wave, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="need sox"):
        apply_effects_file(wave[0], [words])
