"""Everything that decides what a labelling run computes, and the objects made of it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.dataset_strings import parse_datasets
from espnet_kd.data.hf_source import DatasetOptions, DatasetSource
from espnet_kd.data.label_merge import Prompts
from espnet_kd.data.label_plan import PlanOptions
from espnet_kd.data.labelling import Labeller, PseudoLabelOptions
from espnet_kd.data.speech_source import KaldiSource, SpeechSource, check_most
from espnet_kd.errors import ConfigError, DataDirError
from espnet_kd.utils.files import write_json
from espnet_kd.utils.model_directory import read_json
from espnet_kd.utils.stamps import TABLES, stamp_of_folder, stamp_of_tables
from espnet_kd.whisper.ct2 import (
    CTranslate2Backend,
    convert_to_ctranslate2,
    is_converted,
    load_converted,
)
from espnet_kd.whisper.generate import TransformersBackend
from espnet_kd.whisper.hypothesis import Backend, DecodingOptions
from espnet_kd.whisper.load import WhisperBundle, load_whisper

OPTIONS = "options.json"
_PLACES = ("output_dir", "model.ctranslate2_dir")
"""Options that change no label."""

_WEIGHTS, _TABLES = "model.weights", "data.tables"
"""Stamps of the teacher's weights and of the speech, beside the options."""

_TABLE_NAMES = f"{', '.join(TABLES[:-1])} or {TABLES[-1]}"

DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}


@dataclass(frozen=True, kw_only=True)
class KaldiOptions:
    """Which Kaldi folder."""

    data_dir: str
    """Folder with wav.scp and utt2spk; segments and text where they exist."""

    use_speakers: bool = True
    """Join only utterances of one speaker of utt2spk; False: all count as one speaker's."""

    max_samples_per_split: int | None = None
    """Only so many utterances."""

    def __post_init__(self) -> None:
        """Check the limit before anything is opened."""
        check_most(self.max_samples_per_split)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The teacher and the engine that runs it."""

    model_name_or_path: str
    """Hugging Face folder, name on the hub, or a folder that was converted to CTranslate2."""

    backend: Literal["transformers", "ctranslate2"] = "transformers"
    """Engine."""

    dtype: str = "float32"
    """Of transformers' computations: float32, bfloat16 or float16."""

    attn_implementation: str = "sdpa"
    """Of transformers' attention: sdpa or eager."""

    compute_type: str = "float32"
    """Of CTranslate2's computations: float32, float16, bfloat16, int8, int8_float16 ..."""

    ctranslate2_dir: str | None = None
    """Where the converted model is kept; by default inside the output folder."""


@dataclass(frozen=True, kw_only=True)
class LabelJob:
    """One split to label."""

    model: ModelOptions
    """Teacher."""

    data: KaldiOptions | DatasetOptions
    """Speech."""

    output_dir: str
    """Folder of the labels."""

    max_duration_in_seconds: float = 30.0
    """Longest segment; at most what the model hears at once."""

    batch_size: int = 8
    """Segments decoded together."""

    plan: dict[str, Any] = field(default_factory=dict)
    """Fields of :class:`espnet_kd.data.label_plan.PlanOptions`."""

    policy: AudioPolicy = field(default_factory=lambda: AudioPolicy(rate_policy="resample"))
    """What an acceptable recording is."""

    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    """Length, beams, timestamps."""

    label: PseudoLabelOptions = field(default_factory=PseudoLabelOptions)
    """What a label holds."""

    prompts: Prompts = "fixed"
    """Previous-text prompts: right ones, with the published quirks, or none."""

    @property
    def folder(self) -> Path:
        """Folder of the labels."""
        return Path(self.output_dir)

    def plan_options(self, bundle: WhisperBundle) -> PlanOptions:
        """How utterances become segments for this model."""
        most = round(self.max_duration_in_seconds * bundle.feature_extractor.sampling_rate)
        return PlanOptions(max_samples=most, batch_size=self.batch_size, **self.plan)

    def check(self, bundle: WhisperBundle) -> None:
        """Check the options against the model.

        Raises:
            ConfigError: all problems.
            WhisperError: a language or task that the model does not have.
        """
        extractor, specials = bundle.feature_extractor, bundle.specials
        longest = extractor.n_samples / extractor.sampling_rate
        positions = bundle.model.config.max_target_positions
        problems = [*self.decoding.validate(positions), *self.label.loops.validate()]
        if not 0 < self.max_duration_in_seconds <= longest:
            problems.append(
                f"max_duration_in_seconds is {self.max_duration_in_seconds:g}; the model hears "
                f"more than 0 and at most {longest:g} s at once"
            )
        if self.policy.sample_rate != extractor.sampling_rate:
            problems.append(f"sample_rate must be the model's {extractor.sampling_rate} Hz")
        if self.batch_size < 1:
            problems.append(
                f"per_device_eval_batch_size is {self.batch_size}; at least 1 is needed"
            )
        rows = self.plan.get("preprocessing_batch_size", 0)
        if rows < 0:
            problems.append(f"preprocessing_batch_size is {rows}; give rows, or 0 for no limit")
        if problems:
            raise ConfigError("labelling", problems)
        detected = next(iter(specials.languages)) if specials.is_multilingual else None
        specials.prefix(self.label.language or detected, self.label.task)

    def compare(self) -> None:
        """Compare the options with those of an earlier run in the output folder.

        Raises:
            ConfigError: they differ (all differences are listed).
        """
        path = self.folder / OPTIONS
        if not path.exists():
            return
        earlier, own = read_json(path), self._options()
        problems = [
            f"{key} was {earlier.get(key)!r} and is now {own.get(key)!r}"
            for key in dict.fromkeys((*earlier, *own))
            if earlier.get(key) != own.get(key) and key not in (*_PLACES, _WEIGHTS, _TABLES)
        ]
        if not problems:
            problems = self._changed_contents(earlier, own)
        if problems:
            raise ConfigError(
                f"{self.folder} was begun with other options; repeat them, or choose another "
                "--output_dir",
                problems,
            )

    def _changed_contents(self, earlier: dict[str, Any], own: dict[str, Any]) -> list[str]:
        """What lies in the same place and is not what it was."""
        problems = []
        for key, found in (
            (_WEIGHTS, f"{self.model.model_name_or_path} has other weights than then"),
            (_TABLES, f"{self._speech()} has other {_TABLE_NAMES} than then"),
        ):
            stamps = {earlier.get(key), own[key]} - {None, ""}  # gone, or a name on the hub
            if len(stamps) == 2:
                problems.append(found)
        return problems

    def _speech(self) -> str:
        """The Kaldi folder; empty for a dataset."""
        return self.data.data_dir if isinstance(self.data, KaldiOptions) else ""

    def remember(self) -> None:
        """Store the options in the output folder, for :meth:`compare`."""
        write_json(self.folder / OPTIONS, self._options())

    def _options(self) -> dict[str, Any]:
        """All options as JSON holds them, with dotted names."""
        values: dict[str, Any] = json.loads(json.dumps(_flat(dataclasses.asdict(self))))
        weights = stamp_of_folder(self.model.model_name_or_path)
        return {**values, _WEIGHTS: weights, _TABLES: stamp_of_tables(self._speech())}

    def source(self) -> SpeechSource:
        """Open the data.

        Raises:
            KDError: it cannot be read.
        """
        if isinstance(self.data, DatasetOptions):
            return DatasetSource(self.data, self.policy)
        return KaldiSource(
            Path(self.data.data_dir),
            self.policy,
            speakers=self.data.use_speakers,
            most=self.data.max_samples_per_split,
        )

    def converted(self) -> Path:
        """Folder of the converted model."""
        options = self.model
        if is_converted(options.model_name_or_path):
            return Path(options.model_name_or_path)
        return Path(options.ctranslate2_dir or self.folder / "ctranslate2")

    def load(self, device: str = "cpu") -> WhisperBundle:
        """The model, or what belongs to a converted one.

        Raises:
            KDError: it cannot be loaded.
        """
        options = self.model
        if options.backend == "ctranslate2" and is_converted(self.converted()):
            return load_converted(self.converted())
        dtype = torch.float32 if options.backend == "ctranslate2" else DTYPES[options.dtype]
        return load_whisper(
            options.model_name_or_path,
            dtype=dtype,
            device=device,
            attn_implementation=options.attn_implementation,
        )

    def prepare(self) -> WhisperBundle:
        """Load the model for a first look, and convert it where CTranslate2 shall run it."""
        options = self.model
        if options.backend == "transformers" or is_converted(options.model_name_or_path):
            return self.load()
        bundle = load_whisper(options.model_name_or_path)
        self.check(bundle)
        return load_converted(convert_to_ctranslate2(bundle, self.converted()))

    def labeller(
        self, bundle: WhisperBundle, source: SpeechSource, device: str, readers: int = 1
    ) -> Labeller:
        """What labels this job's batches on a device.

        Args:
            bundle: what :meth:`load` or :meth:`prepare` returned.
            source: what :meth:`source` returned.
            device: ``cpu``, ``cuda:0`` ...
            readers: threads that read audio.
        """
        backend: Backend
        if self.model.backend == "ctranslate2":
            backend = CTranslate2Backend(
                self.converted(),
                bundle,
                self.decoding,
                device=device,
                compute_type=self.model.compute_type,
            )
        else:
            bundle.model.to(device)
            backend = TransformersBackend.of(bundle, self.decoding)
        return Labeller(
            backend,
            bundle,
            source,
            self.label,
            self.folder,
            feature_device=device,
            readers=readers,
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def splits_of(job: LabelJob) -> list[LabelJob]:
    """One job for each split of ``train+validation``, or for each data set of ``a+b`` with the
    split, configuration and text column that belong to it; each with a folder of its own.

    Raises:
        DataDirError: a split is named twice or has no name.
        ConfigError: data sets and what belongs to them are not equally many.
    """
    data = job.data
    if not isinstance(data, DatasetOptions):
        return [job]
    if "+" in data.dataset_name and not Path(data.dataset_name).exists():
        parts = _data_sets(data)
    else:
        names = data.dataset_split_name.split("+")
        parts = {name: dataclasses.replace(data, dataset_split_name=name) for name in names}
        if not all(names) or len(parts) < len(names):
            raise DataDirError(f"dataset_split_name {data.dataset_split_name!r} names no or equal "
                               "splits; write e.g. train+validation")  # fmt: skip
    if len(parts) == 1:
        return [job]
    return [
        dataclasses.replace(job, data=part, output_dir=str(job.folder / name))
        for name, part in parts.items()
    ]


def _data_sets(data: DatasetOptions) -> dict[str, DatasetOptions]:
    """Several data sets by the names of their folders, ``name-split``."""
    only_default = data.dataset_split_name == DatasetOptions.dataset_split_name
    found: dict[str, DatasetOptions] = {}
    for part in parse_datasets(
        data.dataset_name,
        data.dataset_config_name,
        None if only_default else data.dataset_split_name,
        data.text_column_name,
    ):
        name = f"{Path(part.name).name}-{part.split}"
        if name in found:
            raise DataDirError(
                f"dataset_name {data.dataset_name!r}: two of them would be labelled in {name}; "
                "label them one by one, with an --output_dir each"
            )
        found[name] = dataclasses.replace(
            data,
            dataset_name=part.name,
            dataset_config_name=part.config if data.dataset_config_name else None,
            dataset_split_name=part.split,
            text_column_name=part.text_column_name if data.text_column_name else None,
        )
    return found
