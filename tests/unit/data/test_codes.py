"""Codes against speech: every kind of misfit is told with its utterance; sizes are the spec's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from espnet_kd.bin.check_codes import main
from espnet_kd.data.ark_tables import scan, write_scp
from espnet_kd.data.array_ark import ArkWriter
from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.codes import check_codes, speech_samples
from espnet_kd.data.codes_info import CodesInfo, FrameRule, read_info, write_info
from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir
from espnet_kd.data.segments import Span
from espnet_kd.errors import DataDirError

SAMPLES = {f"u{i}": 16000 + 1111 * i for i in range(5)}
RULE = FrameRule()


def codes_of(samples: int, size: int = 256, codebooks: int = 4) -> np.ndarray:
    rng = np.random.default_rng(samples)
    return rng.integers(0, size, (RULE.frames(samples), codebooks)).astype(np.uint8)


def write(folder, arrays, info: CodesInfo | None = None):
    """A folder of codes in two archives."""
    folder.mkdir(exist_ok=True)
    for rank in range(2):
        with ArkWriter(folder / f"codes.{rank:02d}.ark") as writer:
            writer.write(dict(list(arrays.items())[rank::2]))
    scp = write_scp(folder, "codes", scan(folder, "codes"))
    if info is not None:
        write_info(scp, info, {})
    return scp


@pytest.fixture
def arrays():
    return {key: codes_of(samples) for key, samples in SAMPLES.items()}


@pytest.fixture
def data(tmp_path):
    wavs = {key: f"{key}.wav" for key in SAMPLES}
    for name in wavs.values():
        (tmp_path / name).touch()
    wavs = {key: str(tmp_path / name) for key, name in wavs.items()}
    speech = KaldiDir(wavs, dict.fromkeys(SAMPLES, "s"), num_samples=SAMPLES)
    write_kaldi_dir(tmp_path / "data", speech)
    return tmp_path / "data"


INFO = CodesInfo(num_codebooks=4, codebook_size=256)


def test_good_codes(arrays, data, tmp_path):
    scp = write(tmp_path / "codes", arrays, INFO)
    found = check_codes(scp, data, values=True)
    assert (found.num_codebooks, found.codebook_size) == (4, 256)
    assert found.utterances == 5
    assert found.frames == sum(map(len, arrays.values()))
    assert check_codes(scp, samples={"u1": SAMPLES["u1"]}).utterances == 1
    assert check_codes(scp).utterances == 5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.pop("u3"), r"1 utterance\(s\) without codes.*: u3"),
        (lambda a: a.update(u3=a["u3"][:-1]), "u3 has 59 frames, 19333 samples give 60"),
        (lambda a: a.update(u3=np.pad(a["u3"], ((0, 1), (0, 0)))), "u3 has 61 frames"),
        (lambda a: a.update(u2=a["u2"][:, :3]), "codebooks: u2 has 3, 4 are expected"),
        (lambda a: a.update(u2=a["u2"].astype(np.float32)), "no integers.*: u2 has float32"),
        (lambda a: a.update(u2=a["u2"][:, 0]), "u2 has uint8 of shape"),
        (lambda a: a.update(u2=a["u2"].astype(np.int16) + 1000), "u2 has 1[0-9]+, codes are 0 to"),
        (lambda a: a.update(u2=a["u2"].astype(np.int16) - 300), "u2 has -"),
    ],
)
def test_misfits_name_the_utterance(arrays, data, tmp_path, spoil, message):
    spoil(arrays)
    scp = write(tmp_path / "codes", arrays, INFO)
    with pytest.raises(DataDirError, match=message) as caught:
        check_codes(scp, data, values=True)
    assert str(caught.value).count("\n") == 1


def test_all_kinds_come_at_once_with_counts(arrays, data, tmp_path):
    for key in ("u0", "u1", "u2", "u3"):
        arrays[key] = arrays[key][:-2]
    del arrays["u4"]
    scp = write(tmp_path / "codes", arrays, INFO)
    with pytest.raises(DataDirError) as caught:
        check_codes(scp, data)
    first, missing, length = str(caught.value).splitlines()
    assert first == f"{scp} does not fit {data}:"
    assert "1 utterance(s) without codes" in missing
    assert "4 utterance(s) whose codes have another length" in length
    assert "u2" in length
    assert "u3" not in length
    assert length.endswith(", ...")


def test_tolerance_and_other_expectations(arrays, data, tmp_path):
    arrays["u0"] = arrays["u0"][:-1]
    scp = write(tmp_path / "codes", arrays)  # codes of others: one frame is let pass
    check_codes(scp, data)
    with pytest.raises(DataDirError, match="u0"):
        check_codes(scp, data, tolerance=0)
    with pytest.raises(DataDirError, match="4, 8 are expected"):
        check_codes(scp, data, num_codebooks=8)
    with pytest.raises(DataDirError, match="codes are 0 to 15"):
        check_codes(scp, data, codebook_size=16, values=True)


def test_a_truncated_archive_names_the_utterance(arrays, data, tmp_path):
    scp = write(tmp_path / "codes", arrays, INFO)
    ark = tmp_path / "codes" / "codes.01.ark"
    ark.write_bytes(ark.read_bytes()[:-1])
    with pytest.raises(DataDirError, match=r"codes\.01\.ark is cut short inside the record of u3"):
        check_codes(scp, data)


def test_another_utterances_record_is_noticed(arrays, data, tmp_path):
    scp = write(tmp_path / "codes", arrays, INFO)
    lines = scp.read_text().splitlines()
    places = [line.split()[1] for line in lines]
    places[0], places[2] = places[2], places[0]
    scp.write_text("".join(f"u{i} {place}\n" for i, place in enumerate(places)))
    with pytest.raises(DataDirError, match=r"2 damaged record.*not that of u0"):
        check_codes(scp, data)


def test_npy_files_of_others(data, tmp_path):
    lines = []
    for key, samples in SAMPLES.items():
        np.save(tmp_path / f"{key}.npy", codes_of(samples).astype(np.int16))
        lines.append(f"{key} {tmp_path / key}.npy\n")
    scp = tmp_path / "npy.scp"
    scp.write_text("".join(lines))
    assert check_codes(scp, data, values=True).num_codebooks == 4
    (tmp_path / "u1.npy").write_bytes((tmp_path / "u1.npy").read_bytes()[:-1])
    with pytest.raises(DataDirError, match=r"u1\.npy is cut short"):
        check_codes(scp, data)


def test_lengths_of_speech_without_counts(write_wave, tmp_path):
    long, slow = write_wave("a.wav", 16000), write_wave("b.wav", 4001, rate=8000)
    wavs = {"r0": str(long), "r1": str(slow)}
    spans = {"u0": Span("r0", 0.25, 0.5), "u1": Span("r0", 0.5, 1.2), "u2": Span("r1", 0.0, 0.5)}
    write_kaldi_dir(tmp_path / "d", KaldiDir(wavs, dict.fromkeys(spans, "s"), segments=spans))
    policy = AudioPolicy(rate_policy="resample")
    assert speech_samples(tmp_path / "d", policy) == {"u0": 4000, "u1": 8000, "u2": 8000}
    with pytest.raises(DataDirError, match=r"1 recording\(s\) cannot be used\n  utterance u2"):
        speech_samples(tmp_path / "d")
    del wavs["r0"]
    write_kaldi_dir(tmp_path / "e", KaldiDir(wavs, {"r1": "s"}))
    assert speech_samples(tmp_path / "e", policy) == {"r1": 8002}


def test_a_table_without_lines(tmp_path):
    (tmp_path / "codes.scp").touch()
    with pytest.raises(DataDirError, match="no utterance has codes"):
        check_codes(tmp_path / "codes.scp")


@pytest.mark.parametrize("place", ["cat x.ark |", "/nowhere/x.ark:3"])
def test_places_that_cannot_be_read(place, tmp_path):
    (tmp_path / "codes.scp").write_text(f"u0 {place}\n")
    with pytest.raises(DataDirError, match="commands are not run|does not exist; restore"):
        check_codes(tmp_path / "codes.scp")


def test_a_folder_that_was_moved(arrays, data, tmp_path, capsys):
    write(tmp_path / "codes", arrays, INFO)
    moved = (tmp_path / "codes").rename(tmp_path / "moved")
    assert main([str(moved), "--data", str(data)]) == 1
    assert "--rewrite_scp true" in capsys.readouterr().err
    assert main([str(moved), "--data", str(data), "--rewrite_scp", "true"]) == 0
    assert "good, 5 utterances" in capsys.readouterr().out
    assert main([str(tmp_path / "codes"), "--data", str(data)]) == 1
    assert "no such file" in capsys.readouterr().err


def test_an_archive_that_did_not_come_along(arrays, tmp_path, capsys):
    write(tmp_path / "codes", arrays, dataclasses.replace(INFO, utterances=5))
    (tmp_path / "codes" / "codes.01.ark").unlink()
    assert main([str(tmp_path / "codes"), "--rewrite_scp", "true"]) == 1
    assert "archives hold 3 utterances, codes.json says 5" in capsys.readouterr().err


def test_the_sizes_of_the_published_codes():
    info = CodesInfo(num_codebooks=8, codebook_size=256)
    assert info.bytes_per_hour == 1_440_000
    # 300 hours (clean-100 at three speeds): 412 MB of 2**20 bytes.
    assert round(300 * info.bytes_per_hour / 2**20) == 412
    assert dataclasses.replace(info, dtype="int16").bytes_per_hour == 2_880_000


def test_what_a_folder_says_of_itself(tmp_path):
    info = dataclasses.replace(INFO, source={"layer": 3}, rule=FrameRule(hop=160, tolerance=2))
    write_info(tmp_path / "codes.scp", info, {"bytes_on_disk": 5})
    assert read_info(tmp_path / "codes.scp") == info
    assert read_info(tmp_path / "other.scp") is None
    (tmp_path / "codes.json").write_text("{}")
    with pytest.raises(DataDirError, match="does not describe codes"):
        read_info(tmp_path / "codes.scp")


@pytest.mark.parametrize("rule", [FrameRule(), FrameRule(window=320), FrameRule(hop=160)])
def test_a_rule_is_found_from_counts(rule):
    counts = {n: rule.frames(n) for n in (16000, 16079, 16080, 16320, 16399, 16400)}
    found = FrameRule.of_counts(counts, rule.hop)
    assert found.tolerance == 0
    assert {n: found.frames(n) for n in counts} == counts


def test_counts_without_a_rule_get_a_tolerance():
    found = FrameRule.of_counts({16000: 49, 16320: 52}, 320)
    assert found.tolerance == 1
