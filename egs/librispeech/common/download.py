"""Fetch what is not there yet: LibriSpeech splits, lexicon, Speech Commands, teachers, codes.

Every file is resumed where it stopped and checked; archives are unpacked beside their target and
moved into place when they are complete. What is there is left alone, without asking the network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from egs.TEMPLATE.fetch import FetchError, fetch

LIBRISPEECH = "https://www.openslr.org/resources/12"
SHA256 = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}
"""Of SPLIT.tar.gz, as torchaudio states them."""

LEXICON = "https://huggingface.co/datasets/s3prl/g2p/raw/main/lexicon"
LEXICON_FILES = (
    "librispeech-lexicon-200k-g2p.txt",
    "librispeech-lexicon-allothers-g2p.txt",
)
COMMANDS = "https://storage.googleapis.com/download.tensorflow.org/data"
COMMANDS_FOLDERS = ("speech_commands_v0.01", "speech_commands_test_set_v0.01")
QUESST = "https://speech.fit.vutbr.cz/files/quesst14Database.tgz"
LANGUAGE_MODEL = (
    ("https://www.openslr.org/resources/11", "4-gram.arpa.gz"),
    ("https://dl.fbaipublicfiles.com/fairseq/wav2vec", "librispeech_lexicon.lst"),
)

HUB = "https://huggingface.co"
HUB_MODELS = {
    "hubert_base": ("facebook/hubert-base-ls960", "dba3bb02fda4248b6e082697eee756de8fe8aa8a"),
    "hubert_large": ("facebook/hubert-large-ll60k", "ff022d095678a2995f3c49bab18a96a9e553f782"),
    "wavlm_base": ("microsoft/wavlm-base", "efa81aae7ff777e464159e0f877d54eac5b84f81"),
    "wavlm_base_plus": ("microsoft/wavlm-base-plus", "4c66d4806a428f2e922ccfa1a962776e232d487b"),
}
"""Repository and pinned revision."""
NORMALIZED = ("hubert_large",)
"""Those whose preprocessor's file is fetched. It is left out of the others on purpose: they were
pre-trained, and taught the published students, on waveforms without normalisation."""
HUB_SHA256 = {
    "hubert_base": "062249fffb353eab67547a2fbc129f7c31a2f459faf641b19e8fb007cc5c48ad",
}
_HUBERT = "https://dl.fbaipublicfiles.com/hubert"
_XL_CODES = "pruned_transducer_stateless6_hubert_xtralarge_ll60k_finetune_ls960"
FAIRSEQ = {
    "hubert_base": f"{_HUBERT}/hubert_base_ls960.pt",
    "hubert_xtralarge_ll60k": f"{_HUBERT}/hubert_xtralarge_ll60k.pt",
    "hubert_xtralarge_ll60k_finetune_ls960": f"{_HUBERT}/hubert_xtralarge_ll60k_finetune_ls960.pt",
}
LABELS = "https://dl.fbaipublicfiles.com/fairseq/wav2vec/dict.ltr.txt"
CODES = {"hubert_xtralarge_ll60k_finetune_ls960": f"marcoyang/{_XL_CODES}"}
"""Repositories of codes on the hub: layer 36, 8 codebooks, the training splits at three speeds."""


def unpack(archive: Path, inside: str, target: Path) -> None:
    """Unpack an archive and move its folder ``inside`` to ``target`` when all is written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        content = Path(folder) / "content"
        with tarfile.open(archive) as tar:
            tar.extractall(content, filter="data")
        os.replace(content / inside, target)


def librispeech(args: argparse.Namespace) -> None:
    for split in args.splits:
        target = args.out / split
        if target.is_dir():
            print(f"{target}: kept")
            continue
        archive = args.out.parent / f"{split}.tar.gz"
        base = args.url or LIBRISPEECH
        fetch(f"{base}/{archive.name}", archive, "" if args.url else SHA256.get(split, ""))
        unpack(archive, f"LibriSpeech/{split}", target)
        archive.unlink()
        print(f"{target}: fetched")


def lexicon(args: argparse.Namespace) -> None:
    for name in LEXICON_FILES:
        fetch(f"{args.url or LEXICON}/{name}", args.out / name)


def commands(args: argparse.Namespace) -> None:
    for name in COMMANDS_FOLDERS:
        if (args.out / name).is_dir():
            continue
        archive = args.out / f"{name}.tar.gz"
        fetch(f"{args.url or COMMANDS}/{archive.name}", archive)
        unpack(archive, ".", args.out / name)
        archive.unlink()


def quesst(args: argparse.Namespace) -> None:
    target = args.out / "quesst14Database"
    if target.is_dir():
        return
    archive = args.out / "quesst14Database.tgz"
    fetch(args.url or QUESST, archive)
    unpack(archive, "quesst14Database", target)
    archive.unlink()


def language_model(args: argparse.Namespace) -> None:
    for base, name in LANGUAGE_MODEL:
        fetch(f"{args.url or base}/{name}", args.out / name)


def teacher(args: argparse.Namespace) -> None:
    """Into OUT: the two files of the hub, or OUT.pt from fairseq's place."""
    if args.source == "fairseq":
        if args.name not in FAIRSEQ:
            raise FetchError(
                f"fairseq's place has no {args.name}; give --teacher_source huggingface"
            )
        fetch(args.url or FAIRSEQ[args.name], args.out.with_suffix(".pt"), args.sha256)
        return
    if args.name not in HUB_MODELS:
        raise FetchError(f"the hub is not asked for {args.name}; give --teacher_source fairseq")
    repository, pinned = HUB_MODELS[args.name]
    revision = args.revision or pinned
    base = f"{args.url or HUB}/{repository}/resolve/{revision}"
    known = HUB_SHA256.get(args.name, "") if revision == pinned and not args.url else ""
    fetch(f"{base}/config.json", args.out / "config.json")
    if args.name in NORMALIZED:
        fetch(f"{base}/preprocessor_config.json", args.out / "preprocessor_config.json")
    fetch(f"{base}/pytorch_model.bin", args.out / "pytorch_model.bin", args.sha256 or known)


def labels(args: argparse.Namespace) -> None:
    """The letters that fairseq's fine-tuned teachers write."""
    fetch(args.url or LABELS, args.out / "dict.ltr.txt")


def codes(args: argparse.Namespace) -> None:
    """Manifests and HDF5 files of the splits that icefall's authors extracted."""
    if args.name not in CODES:
        raise FetchError(f"no codes of {args.name} were published; there are: {', '.join(CODES)}")
    hub, repository, revision = args.url or HUB, CODES[args.name], args.revision or "main"
    listing = args.out / ".files.json"
    fetch(f"{hub}/api/models/{repository}/revision/{revision}", listing)
    names = [item["rfilename"] for item in json.loads(listing.read_text())["siblings"]]
    for split in args.splits:
        part = split.removeprefix("train-")
        wanted = [n for n in names if part in n and n.endswith((".jsonl.gz", ".h5"))]
        if not wanted:
            raise FetchError(f"{hub}/{repository} has no manifest or HDF5 file of {split}")
        for name in wanted:
            if Path(name).name != name:
                raise FetchError(f"{repository} names {name}, which is not a file of its folder")
            fetch(f"{hub}/{repository}/resolve/{revision}/{name}", args.out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    all_kinds = (librispeech, lexicon, commands, quesst, language_model, teacher, labels, codes)
    kinds = {function.__name__: function for function in all_kinds}
    parser.add_argument("kind", choices=sorted(kinds))
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    parser.add_argument("--url", default="", help="a mirror, instead of the official place")
    parser.add_argument("--splits", nargs="*", default=[], help="of LibriSpeech")
    parser.add_argument("--name", choices=sorted({*HUB_MODELS, *FAIRSEQ}), help="of the teacher")
    parser.add_argument("--source", choices=("huggingface", "fairseq"), default="huggingface")
    parser.add_argument("--revision", default="", help="of the hub's repository (default: pinned)")
    parser.add_argument("--sha256", default="", help="of the teacher's weights")
    args = parser.parse_args()
    try:
        kinds[args.kind](args)
    except (FetchError, tarfile.TarError, OSError, shutil.Error) as error:
        sys.exit(f"download.py {args.kind}: {error}")


if __name__ == "__main__":
    main()
