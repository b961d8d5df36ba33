"""Fill what a downstream configuration leaves open: corpus folders, vocabularies, length tables.

A value that the user set and that is there stays. What is empty, or points to nothing (S3PRL's
stock files name folders of their authors), is looked for under ``--data`` and in our package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from espnet_kd.errors import ConfigError
from s3prl_upstreams.make_bucket_files import make_bucket_files

Config = dict[str, Any]

VOCAB_DIR = Path(__file__).resolve().parent / "vocab"
"""Our ``characters.txt`` (ASR, 28 symbols) and ``phonemes.txt`` (PR, 71 symbols)."""

_LEXICONS = (
    "lexicon.txt",
    "librispeech-lexicon-200k-g2p.txt",
    "librispeech-lexicon-allothers-g2p.txt",
    "librispeech-lexicon.txt",
)


class Filler:
    """Fills one configuration in place and collects what it could not find.

    Args:
        config: the whole configuration of the run; changed in place.
        data: folder of ``--data``, or None.
        expdir: experiment folder, for files that have to be made.
        splits: names of splits to be evaluated besides the configured ones.
    """

    def __init__(
        self, config: Config, data: str | None, expdir: str, splits: Iterable[str] = ()
    ) -> None:
        self.config = config
        self.data = None if data is None else Path(data)
        self.expdir = Path(expdir)
        self.splits = tuple(splits)
        self.problems: list[str] = []

    def fill(self, downstream: str) -> None:
        """Fill the block of one of our tasks; other downstreams are left alone.

        Raises:
            ConfigError: names every path that is missing and how to give it.
        """
        method = {
            "asr": self._asr,
            "ctc": self._ctc,
            "speech_commands": self._speech_commands,
            "voxceleb1": self._voxceleb1,
        }.get(downstream)
        if self.data is not None and not self.data.is_dir():
            raise ConfigError("--data", [f"{self.data} is not a folder"])
        if method is not None:
            method()
        if self.problems:
            raise ConfigError(f"data of -d {downstream}", self.problems)

    def _asr(self) -> None:
        block = self._block("datarc")
        if not _is_file(block.get("dict_path")):
            block["dict_path"] = str(VOCAB_DIR / "characters.txt")
        wanted = list(dict.fromkeys(self._asr_splits(block)))
        root = self._folder("datarc", "libri_root", ("LibriSpeech", "."), wanted)
        unknown = [split for split in self.splits if split not in block]
        if unknown:
            self.problems.append(f"-t {unknown[0]}: no such split; datarc names the known ones")
        if root is not None and not self.problems:
            self._bucket_files(block, root, wanted)

    def _bucket_files(self, block: Config, root: Path, wanted: list[str]) -> None:
        """Make the length tables that are missing, unless the user has a folder of them."""
        folder = self.expdir.absolute() / f"len_for_bucket-{_digest(root)}"
        given = block.get("bucket_file")
        if _is_dir(given) and Path(str(given)) != folder:
            return
        todo = [split for split in wanted if not (folder / f"{split}.csv").is_file()]
        make_bucket_files(root, todo, folder)
        block["bucket_file"] = str(folder)

    def _asr_splits(self, block: Config) -> Iterable[str]:
        """Name the folders that training, its evaluation and the final evaluation need."""
        runner = self.config.get("runner", {})
        for loader in ("train", *runner.get("eval_dataloaders", ()), *self.splits):
            yield from block.get(loader, ())

    def _ctc(self) -> None:
        corpus, text = self._block("corpus"), self._block("text")
        if corpus.get("name") != "libriphone":
            return
        if not _is_file(text.get("vocab_file")):
            text["vocab_file"] = str(VOCAB_DIR / "phonemes.txt")
        splits = list(corpus.get("train", ()))
        root = self._folder("corpus", "path", ("LibriSpeech", "."), splits)
        given = corpus.get("lexicon") or []
        if not given or not all(_is_file(path) for path in given):
            corpus["lexicon"] = self._find_lexicon(root, given)

    def _find_lexicon(self, root: Path | None, given: list[str]) -> list[str]:
        folders = [folder for folder in (self.data, root, root and root.parent) if folder]
        for folder in folders:
            found = [str(folder / name) for name in _LEXICONS if (folder / name).is_file()]
            if found:
                return found
        missing = "".join(f" ({path} is not there)" for path in given if not _is_file(path))
        self.problems.append(
            f"corpus.lexicon: no pronunciation lexicon{missing}. Put lexicon.txt (WORD<TAB>phones) "
            "beside the corpus, or S3PRL's librispeech-lexicon-*-g2p.txt, or set "
            "-o \"config.downstream_expert.corpus.lexicon=['FILE']\""
        )
        return []

    def _speech_commands(self) -> None:
        train = ("speech_commands", "speech_commands_v0.01", "train")
        self._folder("datarc", "speech_commands_root", train)
        test = ("speech_commands_test", "speech_commands_test_set_v0.01", "test")
        self._folder("datarc", "speech_commands_test_root", test)

    def _voxceleb1(self) -> None:
        root = self._folder("datarc", "file_path", ("VoxCeleb1", "."), ["dev"])
        block = self._block("datarc")
        if root is None or _is_file(block.get("meta_data")):
            return
        names = ("veri_test_class.txt", "iden_split.txt")
        found = [folder / name for folder in (root, root.parent) for name in names]
        meta = next((path for path in found if path.is_file()), None)
        if meta is None:
            self._missing("datarc", "meta_data", f"no {' or '.join(names)} in {root}")
        else:
            block["meta_data"] = str(meta)

    def _block(self, name: str) -> Config:
        block: Config = self.config.setdefault("downstream_expert", {}).setdefault(name, {})
        return block

    def _folder(
        self, block: str, key: str, names: Iterable[str], needed: Iterable[str] = ()
    ) -> Path | None:
        """Return the folder at ``block.key``, looked for under ``--data`` when it is not there."""
        value = self._block(block).get(key)
        if _is_dir(value):
            return Path(str(value))
        if self.data is not None:
            for name in names:
                folder = (self.data / name).absolute()
                if folder.is_dir() and all((folder / part).is_dir() for part in needed):
                    self._block(block)[key] = str(folder)
                    return folder
        parts = f" with {', '.join(needed)} in it" if needed else ""
        reason = f"{value} is not there" if value else f"no folder{parts} was given"
        self._missing(block, key, reason)
        return None

    def _missing(self, block: str, key: str, reason: str) -> None:
        self.problems.append(
            f"{block}.{key}: {reason}. Give --data DIR "
            f"or -o \"config.downstream_expert.{block}.{key}='PATH'\""
        )


def cache_folder(config: Config, expdir: str) -> Path:
    """Return a folder in the experiment for lists of files, one per data root and list.

    S3PRL keeps such lists inside its installed package under the split's name alone, so that a
    second corpus silently gets the first one's files.
    """
    block = config.get("downstream_expert", {}).get("datarc", {})
    key = f"{block.get('file_path')}|{block.get('meta_data')}"
    return Path(expdir).absolute() / f".cache-{_digest(key)}"


def _digest(value: object) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()[:8]


def _is_file(path: Any) -> bool:
    return bool(path) and Path(str(path)).is_file()


def _is_dir(path: Any) -> bool:
    return bool(path) and Path(str(path)).is_dir()
