"""Targets for masked prediction: k-means clusters of MFCC frames (HuBERT's first iteration).

HuBERT (Hsu et al. 2021, arXiv 2106.07447, section IV) clusters 13 MFCCs with first and second
differences into 100 classes. Frames here are those of the encoder: frame t covers samples
320 t ... 320 t + 399, so labels and frames agree without resampling.

Shape suffixes: S samples, T frames, F features, K clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from espnet_kd.data.audio import DEFAULT_POLICY, AudioPolicy, Wave, read_audio
from espnet_kd.data.kaldi_dir import KaldiDir
from espnet_kd.data.tables import write_table
from espnet_kd.errors import ConfigError, KDError
from espnet_kd.utils.files import probe_folder
from espnet_kd.utils.options import too_small

if TYPE_CHECKING:
    from collections.abc import Callable

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClusterOptions:
    """How the clusters are made."""

    num_classes: int = 100
    """Clusters K (HuBERT's first iteration: 100)."""

    normalize: bool = True
    """Subtract each utterance's mean and divide by its deviation: clusters then tell sounds apart
    rather than voices and microphones (HuBERT: no)."""

    max_frames: int = 100_000
    """Frames that the clusters are fitted on; more are drawn at random."""

    seed: int = 0
    """Of the draw and of k-means."""

    frame_samples: int = 400
    """Samples of a frame: the encoder's receptive field."""

    hop_samples: int = 320
    """Samples between frames: the encoder's stride."""

    def validate(self) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none."""
        return too_small(self, {"num_classes": 2, "max_frames": 2, "seed": 0})


def mfcc_extractor(options: ClusterOptions) -> Callable[[Wave], Features]:
    """Return a function (S,) -> (T, 39): 13 MFCCs, their first and second differences."""
    import torch
    from torchaudio.functional import compute_deltas
    from torchaudio.transforms import MFCC

    transform = MFCC(
        sample_rate=16000,
        n_mfcc=13,
        melkwargs={
            "n_fft": options.frame_samples,
            "win_length": options.frame_samples,
            "hop_length": options.hop_samples,
            "n_mels": 40,
            "center": False,
        },
    )

    def extract(wave_S: Wave) -> Features:
        static_FT = transform(torch.from_numpy(wave_S))
        delta_FT = compute_deltas(static_FT)
        all_FT = torch.cat([static_FT, delta_FT, compute_deltas(delta_FT)])
        if options.normalize:
            spread = all_FT.std(dim=1, keepdim=True, correction=0).clamp_min(1e-5)
            all_FT = (all_FT - all_FT.mean(dim=1, keepdim=True)) / spread
        features: Features = all_FT.T.contiguous().numpy()
        return features

    return extract


def extract_all(
    data: KaldiDir, options: ClusterOptions, policy: AudioPolicy = DEFAULT_POLICY
) -> Iterator[tuple[str, Features]]:
    """Yield (utterance, (T, F)) of every recording."""
    extract = mfcc_extractor(options)
    for utterance, path in tqdm(data.wav_scp.items(), desc="MFCC", unit="utt", leave=False):
        yield utterance, extract(read_audio(path, utterance, policy))


def fit_clusters(features: Iterable[Features], options: ClusterOptions) -> Any:
    """Fit k-means (scikit-learn's mini-batch variant) on at most ``max_frames`` frames.

    Raises:
        KDError: fewer frames than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    frames_TF = np.concatenate(list(features))
    rng = np.random.default_rng(options.seed)
    if len(frames_TF) > options.max_frames:
        frames_TF = frames_TF[rng.choice(len(frames_TF), options.max_frames, replace=False)]
    if len(frames_TF) < options.num_classes:
        raise KDError(
            f"{len(frames_TF)} frames cannot be divided into {options.num_classes} clusters; "
            "use fewer clusters or more speech"
        )
    model = MiniBatchKMeans(
        options.num_classes,
        random_state=options.seed,
        batch_size=10_000,
        n_init=5,
        max_iter=50,
        reassignment_ratio=0.0,
    )
    return model.fit(frames_TF)


def write_codes(path: str | Path, codes: dict[str, npt.NDArray[np.integer]]) -> None:
    """Write cluster indexes in the form that ESPnet's type ``text_int`` reads: ``utt 3 17 17``."""
    lines = {key: " ".join(map(str, value.tolist())) for key, value in codes.items()}
    write_table(Path(path), lines)


def make_codes(folders: dict[Path, KaldiDir], options: ClusterOptions) -> dict[Path, int]:
    """Fit clusters on the first folder and write ``codes`` into each.

    Nothing is written before all is labelled: classes of different clusters mean different things.

    Returns:
        Folder -> number of frames that were labelled.

    Raises:
        ConfigError: impossible options.
        KDError: fewer frames than clusters, an unusable recording, or a folder is not writable.
    """
    problems = options.validate()
    if problems:
        raise ConfigError("make_clusters", problems)
    for folder in folders:
        probe_folder(folder)
    model: Any = None
    labelled = {}
    for folder, data in folders.items():
        features = dict(extract_all(data, options))
        if model is None:
            model = fit_clusters(features.values(), options)
        labelled[folder] = {key: model.predict(value) for key, value in features.items()}
    for folder, codes in labelled.items():
        write_codes(folder / "codes", codes)
    return {folder: sum(map(len, codes.values())) for folder, codes in labelled.items()}
