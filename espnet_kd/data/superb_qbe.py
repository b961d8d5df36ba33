"""Query by example: QUESST 2014's folders, with spoken words to be found in sentences.

``Audio/`` has the documents (sentences of the training speakers), ``dev_queries/`` and
``eval_queries/`` single words of other speakers and other recordings.
``scoring/language_key_{utterances,dev,eval}.lst`` name them, with the language tag that S3PRL
keeps; ``scoring/groundtruth_quesst14_{dev,eval}/`` say which document has which query.
"""

from __future__ import annotations

from espnet_kd.data.quesst_truth import write_truth
from espnet_kd.data.recording import write_audio
from espnet_kd.data.superb_job import LayoutJob
from espnet_kd.data.talkers import RATE
from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import write_text

LANGUAGE = "nnenglish"
"""QUESST's tag of (non-native) English, the only language that SUPERB uses."""


def write_queries(job: LayoutJob) -> None:
    """Write documents, queries of both sets, their lists and what is to be found."""
    documents, seconds = _write_documents(job)
    heard = {word for words in documents.values() for word in words}
    known = [word for word in job.talker.grammar.words if word in heard]
    for offset, (name, split) in enumerate((("dev", "dev"), ("eval", "test"))):
        queries = _write_queries(job, name, split, known[offset::2])
        found = {q: [d for d, words in documents.items() if w in words] for q, w in queries.items()}
        folder = job.root / "scoring" / f"groundtruth_quesst14_{name}"
        write_truth(folder, f"quesst14_{name}", found, seconds)


def _write_documents(job: LayoutJob) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Document -> its words, and -> its seconds."""
    documents: dict[str, list[str]] = {}
    seconds: dict[str, float] = {}
    for speaker in job.speakers("train"):
        for _ in range(job.utterances("train")):
            name = f"quesst14_{len(documents) + 1:05d}"
            text = job.talker.grammar.sentence(job.rng)
            wave_S = job.talker.utterance(speaker, text, "train")
            write_audio(job.root / "Audio" / f"{name}.wav", wave_S)
            documents[name], seconds[name] = text.split(), len(wave_S) / RATE
    _write_list(job, "utterances", "Audio", list(documents))
    return documents, seconds


def _write_queries(job: LayoutJob, name: str, split: str, words: list[str]) -> dict[str, str]:
    """Let the speakers of a split say the words in turn; query -> its word."""
    if not words:
        raise DataDirError(f"{job.root}: no word of the documents is left for {name} queries")
    queries: dict[str, str] = {}
    for speaker in job.speakers(split):
        for _ in range(job.utterances(split)):
            query = f"quesst14_{name}_{len(queries) + 1:04d}"
            queries[query] = words[len(queries) % len(words)]
            wave_S = job.talker.utterance(speaker, queries[query], split)
            write_audio(job.root / f"{name}_queries" / f"{query}.wav", wave_S)
    _write_list(job, name, f"{name}_queries", list(queries))
    return queries


def _write_list(job: LayoutJob, name: str, folder: str, files: list[str]) -> None:
    lines = [f"quesst14Database/{folder}/{file}.wav {LANGUAGE}\n" for file in files]
    write_text(job.root / "scoring" / f"language_key_{name}.lst", "".join(lines))
