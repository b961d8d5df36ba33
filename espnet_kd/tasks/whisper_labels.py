"""What is said in the utterances of a folder, as token ids: pseudo-labels, or plain transcripts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from espnet_kd.data.label_index import LabelIndex
from espnet_kd.data.pseudo_labels import LABELS, PseudoLabel
from espnet_kd.data.tables import read_table
from espnet_kd.errors import DataDirError, WhisperError
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.whisper.labels import check_prefix, encode_text, without_timestamps
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.normalisers import make_normaliser, spelling_of
from espnet_kd.whisper.wer_filter import WERFilter

UTT2LANG = "utt2lang"
"""Kaldi's table of languages, for transcripts in several."""


@dataclass(frozen=True)
class Spoken:
    """What is said in one utterance."""

    token_ids: list[int]
    """Prefix, text and timestamps, end."""

    prompt_ids: list[int] | None
    """Text that was said before; None where nothing is known of it."""

    reference: str
    """Text that a transcript is scored against."""


@dataclass(frozen=True)
class Candidate:
    """An utterance before it is known whether it can be used."""

    id: str
    """Utterance."""

    tokens: int
    """Length of the shortest sequence that its label can become."""

    seconds: float | None
    """Duration, where the label knows it."""

    fault: str | None = None
    """Why its label must not be learnt."""

    flags: tuple[str, ...] = ()
    """What labelling found wrong with it."""


class Labels(ABC):
    """Labels of one folder."""

    @abstractmethod
    def scan(self) -> Iterator[Candidate]:
        """All labels in order.

        Raises:
            DataDirError: a damaged file.
            WhisperError: labels of another kind of model or another language.
        """

    @abstractmethod
    def read(self, utterance: str) -> Spoken:
        """One of them."""


class PseudoLabels(Labels):
    """``labels.jsonl``; in validation the references in it, as far as it has them.

    Args:
        folder: of the labels.
        bundle: the student.
        kd: which labels are left out.
        train: False for validation: nothing is left out for what it says.
    """

    def __init__(
        self, folder: Path, bundle: WhisperBundle, kd: WhisperDistillConfig, *, train: bool
    ) -> None:
        self.index = LabelIndex(folder)
        self.specials = bundle.specials
        self.tokenizer = bundle.tokenizer
        self.kd = kd
        self.train = train
        self.language = _language(bundle, kd)
        self._filters: dict[str | None, WERFilter] = {}

    def scan(self) -> Iterator[Candidate]:
        """All labels in order."""
        referenced = False
        for label in self.index.scan():
            referenced |= label.reference is not None
            if not self.train:
                ids = self._spoken(label).token_ids
                yield Candidate(label.id, len(ids), label.duration)
                continue
            self._check(label)
            length, fault = self._shortest(label), self._fault(label)
            yield Candidate(label.id, length, label.duration, fault, tuple(label.flags))
        if self.train and self.kd.wer_threshold is not None and not referenced:
            raise DataDirError(
                f"{self.index.path}: wer_threshold needs references and there is not one; leave it "
                "out and filter without references (bin.whisper_filter)"
            )

    def read(self, utterance: str) -> Spoken:
        """One label; its prompt is the label before it, if the same speech goes on."""
        return self._spoken(self.index.read(utterance))

    def _spoken(self, label: PseudoLabel) -> Spoken:
        if self.train:
            return Spoken(_finished(label, self.specials.end), label.prompt_ids, label.text)
        text = label.text if label.reference is None else label.reference
        language = label.language if self.specials.is_multilingual else None
        ids = encode_text(text, self.tokenizer, self.specials, language=language, task=label.task)
        return Spoken(ids, None, text)

    def _check(self, label: PseudoLabel) -> None:
        check_prefix(label.token_ids, self.specials, label.id)
        if self.language is not None and self.specials.is_multilingual:
            code = label.language
            if code != self.language:
                raise WhisperError(
                    f"{self.index.path}: the label of {label.id} is in {code}, kd_conf.language is "
                    f"{self.language}; leave the option out to train on several languages, or "
                    "label again"
                )

    def _shortest(self, label: PseudoLabel) -> int:
        ids = _finished(label, self.specials.end)
        if self.kd.timestamp_probability == 1:
            return len(ids)
        stamped = any(token >= self.specials.timestamp_begin for token in ids)
        return len(without_timestamps(ids, self.specials)) if stamped else len(ids)

    def _fault(self, label: PseudoLabel) -> str | None:
        flags = {*label.flags, *(["truncated"] if label.truncated else [])}
        found = sorted(flags & self.kd.flags_to_drop)
        if found:
            return f"flagged {', '.join(found)}"
        if self.kd.wer_threshold is None:
            return None
        score = self._filter(label.language).score(label.reference, label.text)
        if score.value is None:
            return score.note
        if score.value < self.kd.wer_threshold:
            return None
        return f"WER of {self.kd.wer_threshold:g} % or more"

    def _filter(self, language: str) -> WERFilter:
        if language not in self._filters:
            english = self.kd.normaliser == "english" or (
                self.kd.normaliser == "auto" and language == "en"
            )
            spelling = spelling_of(self.tokenizer) if english else None
            normalise = make_normaliser(self.kd.normaliser, language, spelling)
            self._filters[language] = WERFilter(normalise)
        return self._filters[language]


class PlainTranscripts(Labels):
    """Kaldi's ``text``, in the language of ``utt2lang`` or of ``kd_conf.language``.

    Args:
        folder: Kaldi data folder.
        text: its transcripts.
        bundle: the student.
        kd: language and task.
    """

    def __init__(
        self, folder: Path, text: Mapping[str, str], bundle: WhisperBundle, kd: WhisperDistillConfig
    ) -> None:
        if not text:
            raise DataDirError(
                f"{folder / 'text'}: no transcripts; add them, or label the folder "
                "(bin.whisper_pseudo_label) and train with kd_conf.use_pseudo_labels: true"
            )
        self.folder = folder
        self.text = text
        self.specials = bundle.specials
        self.tokenizer = bundle.tokenizer
        self.task = kd.task
        self.language = _language(bundle, kd)
        self.languages: dict[str, str] = {}
        if bundle.specials.is_multilingual and (folder / UTT2LANG).is_file():
            rows = read_table(folder / UTT2LANG).first()
            self.languages = {key: row.value for key, row in rows.items()}

    def scan(self) -> Iterator[Candidate]:
        """All transcripts in order."""
        for key, text in self.text.items():
            fault = None if text.strip() else "empty transcript"
            yield Candidate(key, len(self.read(key).token_ids), None, fault)

    def read(self, utterance: str) -> Spoken:
        """One transcript; nobody knows whether it goes on where another one ends."""
        text = self.text[utterance]
        try:
            ids = encode_text(
                text, self.tokenizer, self.specials, language=self._of(utterance), task=self.task
            )
        except WhisperError as error:
            raise WhisperError(
                f"{self.folder}: utterance {utterance}: {error}; set kd_conf.language, or write "
                f"{UTT2LANG}"
            ) from None
        return Spoken(ids, None, text)

    def _of(self, utterance: str) -> str | None:
        return self.languages.get(utterance, self.language)


def _language(bundle: WhisperBundle, kd: WhisperDistillConfig) -> str | None:
    """Code of ``kd_conf.language``.

    Raises:
        WhisperError: the model does not know it, or is English-only.
    """
    if kd.language is None:
        return None
    bundle.specials.prefix(kd.language, kd.task)
    return bundle.specials.language_code(kd.language)


def _finished(label: PseudoLabel, end: int) -> list[int]:
    """Token ids with their end token, which a label that was cut has not."""
    ids = list(label.token_ids)
    return ids if ids and ids[-1] == end else [*ids, end]


def labels_of(
    folder: Path,
    text: Mapping[str, str],
    bundle: WhisperBundle,
    kd: WhisperDistillConfig,
    *,
    train: bool,
) -> Labels:
    """Labels of a folder as the options ask for; validation takes transcripts where there are any.

    Raises:
        DataDirError: the folder lacks them.
    """
    labelled = kd.use_pseudo_labels if train else not text and (folder / LABELS).is_file()
    if labelled:
        return PseudoLabels(folder, bundle, kd, train=train)
    return PlainTranscripts(folder, text, bundle, kd)
