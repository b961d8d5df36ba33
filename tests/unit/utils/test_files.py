"""Atomic writes: the old file or the new one, and no leftovers."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from espnet_kd.errors import KDError
from espnet_kd.utils.files import atomic_folder, atomic_path, write_json, write_text


def test_writing_makes_folders_and_replaces(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file.json"
    write_json(file, {"ü": [1]})
    assert json.loads(file.read_text("utf-8")) == {"ü": [1]}
    write_text(file, "new")
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_any_failure_keeps_the_old_file(error: BaseException, tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_text(file, "old")

    def write_half() -> None:
        with atomic_path(file) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(KDError, match=r"cannot write .*file: No space left.*bytes free"):  # noqa: SIM117
        with atomic_path(file):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_text(file, "old")
    with atomic_path(file) as temporary:
        temporary.write_text("new and longer")
        assert file.read_text() == "old"
    assert file.read_text() == "new and longer"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_folders_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(KDError, match="cannot write"):
        write_text(tmp_path, "x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(KDError, match="cannot write"):
        write_text(tmp_path / "file" / "below", "x")


def write_folder(folder: Path, text: str, *, fail: BaseException | None = None) -> None:
    with atomic_folder(folder, replaces=["*.json"]) as temporary:
        (temporary / "a.json").write_text(text)
        if fail is not None:
            raise fail
        (temporary / "b.json").write_text(text)


def test_files_of_a_folder_appear_together(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    for text in ("one", "two"):
        write_folder(folder, text)
        assert {path.name: path.read_text() for path in folder.iterdir()} == {
            "a.json": text,
            "b.json": text,
        }
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(28, "full")])
def test_any_failure_keeps_the_old_folder(error: BaseException, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, "old")
    with pytest.raises(KDError if isinstance(error, OSError) else type(error)):
        write_folder(folder, "new", fail=error)
    assert (folder / "b.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, "old")
    replace = Path.replace

    def fail_once(self: Path, target: Path) -> Path:
        if self != folder and (self / "b.json").exists() and "new" in (self / "b.json").read_text():
            raise OSError(errno.EIO, "broken")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_once)
    with pytest.raises(KDError, match="broken"):
        write_folder(folder, "new")
    assert (folder / "a.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("name", ["notes.txt", "sub"])
def test_a_folder_with_other_things_is_not_replaced(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, "old")
    if name == "sub":
        (folder / name).mkdir()
    else:
        (folder / name).write_text("mine")
    with pytest.raises(KDError, match=f"{name}.*would be lost"):
        write_folder(folder, "new")
    assert (folder / "a.json").read_text() == "old"
    assert (folder / name).exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "x")
    with pytest.raises(KDError, match="is a file"):
        write_folder(tmp_path / "file", "new")
