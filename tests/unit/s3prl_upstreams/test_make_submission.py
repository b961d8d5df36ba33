from __future__ import annotations

import zipfile

from s3prl_upstreams.make_submission import main


def write(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_folder_with_all_experiments(tmp_path, capsys):
    write(tmp_path / "exp/sid/test_predict.txt", "sid")
    write(tmp_path / "exp/asr/test-clean-noLM-hyp.ark", "asr")
    out = tmp_path / "out"
    words = ["--exp", str(tmp_path / "exp"), "--output_dir", str(out)]
    assert main(words) == 0
    with zipfile.ZipFile(out / "predict.zip") as archive:
        names = ["predict/asr_public/predict.ark", "predict/sid_public/predict.txt"]
        assert archive.namelist() == names
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        f"{out / 'predict.zip'}: asr sid",
        "not in it: pr ks qbe asv sd ic sf er (no experiment folder)",
    ]
    assert main([*words, "--tasks", "sid", "pr"]) == 1
    shown = capsys.readouterr().err
    assert "pr: " in shown
    assert "-m evaluate -t test -e" in shown


def test_folders_one_by_one_replace_those_of_the_experiment(tmp_path):
    write(tmp_path / "exp/ks/test_predict.txt", "old")
    write(tmp_path / "else where/test_predict.txt", "new")
    write(tmp_path / "exp/pr/test-hyp.ark", "pr")
    words = ["--exp", str(tmp_path / "exp"), "--ks", str(tmp_path / "else where")]
    assert main([*words, "--output_dir", str(tmp_path)]) == 0
    with zipfile.ZipFile(tmp_path / "predict.zip") as archive:
        assert archive.read("predict/ks_public/predict.txt") == b"new"
        assert archive.read("predict/pr_public/predict.ark") == b"pr"


def test_paths_in_commands_can_be_pasted(tmp_path, capsys):
    place = tmp_path / "else where"
    assert main(["--pr", str(place), "--output_dir", str(tmp_path)]) == 1
    assert f"-e '{place}'/dev-best.ckpt writes it" in capsys.readouterr().err
    assert not (tmp_path / "predict.zip").exists()
