"""Where the corpora of SUPERB's tasks lie, task by task; what can be made of them is made."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from espnet_kd.errors import ConfigError, MissingDependencyError
from s3prl_upstreams import listed
from s3prl_upstreams.fill import Config, Filler, digest, is_dir, is_file
from s3prl_upstreams.make_bucket_files import make_bucket_files
from s3prl_upstreams.make_iemocap_meta import SESSIONS, make_iemocap_meta
from s3prl_upstreams.tasks import Task, task_of

VOCAB_DIR = Path(__file__).resolve().parent / "vocab"
"""Our ``characters.txt`` (ASR), ``phonemes.txt`` (PR) and ``slot_characters.txt`` (SF)."""

_LEXICONS = (
    "lexicon.txt",
    "librispeech-lexicon-200k-g2p.txt",
    "librispeech-lexicon-allothers-g2p.txt",
    "librispeech-lexicon.txt",
)
_TRIALS = ("voxceleb1_test_v2.txt", "veri_test2.txt", "veri_test.txt")
_KALDI_TABLES = ("wav.scp", "segments", "utt2spk", "spk2utt", "reco2dur")
_SPEAKERS = ("veri_test_class.txt", "iden_split.txt")


def fill_config(
    config: Config, downstream: str, data: str | None, expdir: str, splits: Iterable[str] = ()
) -> Task | None:
    """Fill the places of one of our tasks; other downstreams are left alone.

    Args:
        config: the whole configuration of the run; changed in place.
        downstream: S3PRL's folder of the task.
        data: folder of ``--data``, or None.
        expdir: experiment folder, for files that have to be made.
        splits: names of splits to be evaluated besides the configured ones.

    Returns:
        The task, or None for a downstream that is none of SUPERB's.

    Raises:
        ConfigError: names every path that is missing and how to give it.
    """
    filler = Filler(config, data, expdir, splits)
    if filler.data is not None and not filler.data.is_dir():
        raise ConfigError("--data", [f"{filler.data} is not a folder"])
    task = task_of(downstream, config)
    if task is not None:
        FILLERS[task.name](filler)
        if filler.problems:
            raise ConfigError(f"data of -d {downstream} ({task.name})", filler.problems)
    return task


def _pr(filler: Filler) -> None:
    corpus, text = filler.block("corpus"), filler.block("text")
    if not is_file(text.get("vocab_file")):
        text["vocab_file"] = str(VOCAB_DIR / "phonemes.txt")
    # A split that is first read after 100k steps is looked for now.
    splits = _corpus_splits(corpus)
    root = filler.folder("corpus", "path", ("LibriSpeech", "."), splits)
    for folder in [root / split for split in splits] if root is not None else []:
        filler.compare(partial(listed.transcript_problems, folder))
    given = corpus.get("lexicon") or []
    if not given or not all(is_file(path) for path in given):
        corpus["lexicon"] = _find_lexicon(filler, root, given)


def _corpus_splits(corpus: Config) -> list[str]:
    """Name the folders of training, choice and test, in which S3PRL's ``ctc`` tasks read."""
    loaders = ("train", "dev", "test")
    return list(dict.fromkeys(name for loader in loaders for name in corpus.get(loader) or ()))


def _find_lexicon(filler: Filler, root: Path | None, given: list[str]) -> list[str]:
    folders = [folder for folder in (filler.data, root, root and root.parent) if folder]
    for folder in folders:
        found = [str(folder / name) for name in _LEXICONS if (folder / name).is_file()]
        if found:
            return found
    missing = "".join(f" ({path} is not there)" for path in given if not is_file(path))
    filler.problems.append(
        f"corpus.lexicon: no pronunciation lexicon{missing}. Put lexicon.txt (WORD<TAB>phones) "
        "beside the corpus, or S3PRL's librispeech-lexicon-*-g2p.txt, or set "
        "-o \"config.downstream_expert.corpus.lexicon=['FILE']\""
    )
    return []


def _asr(filler: Filler) -> None:
    block = filler.block("datarc")
    if not is_file(block.get("dict_path")):
        block["dict_path"] = str(VOCAB_DIR / "characters.txt")
    wanted = list(dict.fromkeys(_asr_splits(filler, block)))
    _language_model(filler, block.get("decoder_args") or {})
    # The split of the published score is read when all training is done: better asked for now.
    needed = dict.fromkeys([*wanted, *(block.get("test-clean") or ())])
    root = filler.folder("datarc", "libri_root", ("LibriSpeech", "."), needed)
    unknown = [split for split in filler.splits if split not in block]
    if unknown:
        filler.problems.append(f"-t {unknown[0]}: no such split; datarc names the known ones")
    if root is not None and not filler.problems:
        _bucket_files(filler, block, root, wanted)


def _language_model(filler: Filler, decoder: Config) -> None:
    """Check what decoding with a language model needs, before anything costs time."""
    if decoder.get("decoder_type") != "kenlm":
        return
    if importlib.util.find_spec("flashlight") is None:
        raise MissingDependencyError(
            "decoder_type kenlm needs flashlight's decoder: pip install flashlight-text"
        )
    if decoder.get("unk_weight") == "-math.inf":  # S3PRL's stock value, which it cannot evaluate
        decoder["unk_weight"] = -math.inf
    for key in ("kenlm_model", "lexicon"):
        if not is_file(decoder.get(key)):
            option = f"config.downstream_expert.datarc.decoder_args.{key}='FILE'"
            reason = f"{decoder[key]} is not there" if decoder.get(key) else "no file was given"
            filler.problems.append(f'datarc.decoder_args.{key}: {reason}. Give -o "{option}"')


def _asr_splits(filler: Filler, block: Config) -> Iterable[str]:
    """Name the folders that training, its evaluation and the final evaluation need."""
    runner = filler.config.get("runner", {})
    for loader in ("train", *runner.get("eval_dataloaders", ()), *filler.splits):
        yield from block.get(loader, ())


def _bucket_files(filler: Filler, block: Config, root: Path, wanted: list[str]) -> None:
    """Make the length tables that are missing, unless the user has a folder of them."""
    folder = filler.expdir.absolute() / f"len_for_bucket-{digest(root)}"
    given = block.get("bucket_file")
    if is_dir(given) and Path(str(given)) != folder:
        return
    todo = [split for split in wanted if not (folder / f"{split}.csv").is_file()]
    make_bucket_files(root, todo, folder)
    block["bucket_file"] = str(folder)


def _ks(filler: Filler) -> None:
    train = ("speech_commands", "speech_commands_v0.01", "train")
    # S3PRL trains without the class of silence if its recordings are not there, and tells nobody.
    filler.folder("datarc", "speech_commands_root", train, ["_background_noise_/*.wav"])
    test = ("speech_commands_test", "speech_commands_test_set_v0.01", "test")
    filler.folder("datarc", "speech_commands_test_root", test, ["_silence_", "_unknown_"])


def _qbe(filler: Filler) -> None:
    truths = [f"scoring/groundtruth_quesst14_{split}" for split in ("dev", "eval")]
    keys = [f"scoring/language_key_{name}.lst" for name in ("utterances", "dev", "eval")]
    needed = ["Audio", "dev_queries", "eval_queries", *keys]
    needed += [f"{truth}/*.{kind}" for truth in truths for kind in ("rttm", "ecf.xml", "tlist.xml")]
    root = filler.folder("datarc", "dataset_root", ("quesst14Database", "."), needed)
    if root is not None:
        for key in keys:
            _compare(filler, root / key, listed.query_names, [root])


def _sid(filler: Filler) -> None:
    root = filler.folder("datarc", "file_path", ("VoxCeleb1", "."), ["dev/wav"])
    if root is None:
        return
    names = filler.file("datarc", "meta_data", (root, root.parent), _SPEAKERS)
    if names is not None:
        # As S3PRL looks for them, whose error for one that is missing is an IndexError.
        _compare(filler, names, listed.split_names, sorted(root.glob("*/wav")))


def _asv(filler: Filler) -> None:
    names = ("VoxCeleb1_ASV", "VoxCeleb1", ".")
    root = filler.folder("datarc", "file_path", names, ["dev/wav", "test/wav"])
    if root is None:
        return
    trials = filler.file("datarc", "test_meta_data", (root, root.parent), _TRIALS)
    block = filler.block("datarc")
    block.setdefault("train_meta_data", None)  # asked for, not read
    if trials is None:
        return
    _compare(filler, trials, listed.trial_names, [root / "test" / "wav"])
    # S3PRL opens this list although it cannot evaluate it.
    if not is_file(block.get("dev_meta_data")):
        block["dev_meta_data"] = str(trials)


def _sd(filler: Filler) -> None:
    for split in ("train", "dev", "test"):
        names = [f"{place}{split}" for place in ("diarization/", "diarization/data/", "data/", "")]
        # No rttm: it is made of segments and utt2spk where it is not there.
        root = filler.folder("loaderrc", f"{split}_dir", names, _KALDI_TABLES)
        if root is not None:
            filler.compare(partial(listed.table_problems, root / "wav.scp"))


def _ic(filler: Filler) -> None:
    names = ("fluent_speech_commands_dataset", "fluent_speech_commands", ".")
    tables = [f"data/{split}_data.csv" for split in ("train", "valid", "test")]
    root = filler.folder("datarc", "file_path", names, [*tables, "wavs"])
    if root is not None:
        for table in tables:
            _compare(filler, root / table, listed.intent_names, [root])


def _sf(filler: Filler) -> None:
    corpus, text = filler.block("corpus"), filler.block("text")
    if not is_file(text.get("vocab_file")):
        text["vocab_file"] = str(VOCAB_DIR / "slot_characters.txt")
    splits = _corpus_splits(corpus)
    needed = [listed.SLOTS, *splits]
    root = filler.folder("corpus", "path", ("SNIPS", "audio_snips", "."), needed)
    if root is None:
        return
    filler.file("text", "slots_file", (root, root.parent), ["slots.txt"])
    for split in splits:
        voices = corpus.get(f"{split}_speakers") or ()
        filler.compare(partial(listed.slot_problems, root, split, voices))


def _compare(
    filler: Filler, path: Path, names: Callable[[Path], list[str]], folders: list[Path]
) -> None:
    """Note the recordings that a list names and no folder holds."""
    filler.compare(lambda: listed.compare(path, names(path), folders))


def _er(filler: Filler) -> None:
    root = filler.folder("datarc", "root", ("IEMOCAP", "IEMOCAP_full_release", "."), SESSIONS)
    block = filler.block("datarc")
    if root is None or is_dir(block.get("meta_data")):
        return
    folder = filler.expdir.absolute() / f"meta_data-{digest(root)}"
    if not folder.is_dir():
        make_iemocap_meta(root, folder)
    block["meta_data"] = str(folder)


FILLERS: dict[str, Callable[[Filler], Any]] = {
    "PR": _pr,
    "ASR": _asr,
    "KS": _ks,
    "QbE": _qbe,
    "SID": _sid,
    "ASV": _asv,
    "SD": _sd,
    "IC": _ic,
    "SF": _sf,
    "ER": _er,
}
