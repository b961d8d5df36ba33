"""AN4's SPHERE files and transcript list."""

from __future__ import annotations

import pytest

from espnet_kd.data.an4 import export_librispeech, find_an4, read_transcripts, scan_an4
from espnet_kd.data.librispeech import scan_librispeech
from espnet_kd.errors import DataDirError


@pytest.fixture
def an4(tmp_path, write_wave):
    base = tmp_path / "downloads/an4"
    train = []
    for speaker in ("fash", "mwhw"):
        for number in range(4):
            name = f"an{number}-{speaker}-b"
            write_wave(f"downloads/an4/wav/an4_clstk/{speaker}/{name}.sph", samples=3000)
            train.append(f"<s> GO {speaker} </s> ({name})")
    write_wave("downloads/an4/wav/an4_clstk/fash/unlisted.sph")
    write_wave("downloads/an4/wav/an4test_clstk/mmxg/cen8-mmxg-b.sph")
    (base / "etc").mkdir(parents=True)
    (base / "etc/an4_train.transcription").write_text("\n".join(train))
    (base / "etc/an4_test.transcription").write_text("ELEVEN (cen8-mmxg-b)\n")
    return tmp_path


def test_scan(an4):
    data = scan_an4(an4, "train")
    assert len(data) == 8
    assert data.text["fash-an0-fash-b"] == "GO FASH"
    assert data.num_samples["fash-an0-fash-b"] == 3000
    assert scan_an4(an4, "test").text == {"mmxg-cen8-mmxg-b": "ELEVEN"}


def test_export(an4, tmp_path):
    export_librispeech(an4, tmp_path / "out")
    sizes = {
        split: len(scan_librispeech(tmp_path / "out/LibriSpeech", split)[0])
        for split in ("train-clean-360", "train-clean-100", "dev-clean", "test-clean")
    }
    assert sizes == {"train-clean-360": 7, "train-clean-100": 7, "dev-clean": 1, "test-clean": 1}


def test_bad_transcript_line_is_named(tmp_path):
    (tmp_path / "t").write_text("<s> GO </s> (a)\nno id here\n")
    with pytest.raises(DataDirError, match=r"t:2: not of the form"):
        read_transcripts(tmp_path / "t")


def test_what_is_not_an4(tmp_path):
    with pytest.raises(DataDirError, match="no an4 folder"):
        find_an4(tmp_path)
