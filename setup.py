"""Package definition; the tools (ruff, mypy, pytest) are configured in pyproject.toml."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

REQUIREMENTS = [
    "torch>=2.8,<2.9",
    "torchaudio>=2.8,<2.9",
    "espnet==202511",
    "s3prl==0.4.18",
    "transformers>=4.57,<4.58",
    "huggingface_hub<1",
    "numpy>=1.26",
    "scipy>=1.11",
    "scikit-learn>=1.3",
    "safetensors>=0.4.3",
    "soundfile>=0.12",
    "jiwer>=3.0",
    "pyyaml>=6.0",
    "tqdm>=4.66",
    "matplotlib>=3.8",
    "tensorboard>=2.16",
    "espeakng-loader>=0.2.4",
    # S3PRL's runner and downstreams import these without requiring them.
    "tensorboardX>=2.6",
    "catalyst>=22.4",
    "pandas>=2.0",
    "editdistance>=0.8",
    "joblib>=1.3",
    "h5py>=3.10",
    "dtw-python>=1.5",  # 1.3.0, which S3PRL names, does not import with numpy 2
    "lxml>=5.0",
]

DATA_KINDS = ("yaml", "yml", "json", "txt", "html", "css", "pth")
DATA_FILES = ["py.typed", *(f"**/*.{kind}" for kind in DATA_KINDS)]

EXTRAS = {
    # PyPI stops at k2 1.23.4, which would replace torch by 1.13: this bound refuses it.
    # Newer builds: pip install -f <k2's wheel page> espnet_kd[k2]
    "k2": ["k2>=1.24.4.dev0"],
    # Only to compare with the original: every fairseq file is read without it.
    "fairseq": ["fairseq-fixed>=0.12.3.1"],
    "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
    # ASR of SUPERB with a language model; the wheel has KenLM inside.
    "lm": ["flashlight-text>=0.0.7"],
    "wandb": ["wandb>=0.17"],
    # Whisper's token tables, to make tokenizers without the hub.
    "whisper": ["openai-whisper>=20250625"],
    # CTranslate2, to label and transcribe faster.
    "faster-whisper": ["faster-whisper>=1.1"],
    # Hugging Face data sets as the source of speech to label (5 wants huggingface_hub 1).
    "datasets": ["datasets>=3,<5"],
    # One measure of pseudo-labels; PyPI has its source only, so a C compiler is needed.
    "pesq": ["pesq>=0.0.4"],
    "dev": [
        "pytest>=8,<9.2",  # with 9.2 pytest-xdist 3.8 knows no groups: every worker imports all
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "onnx>=1.16",
        "onnxruntime>=1.18",
        "openai-whisper>=20250625",
        "faster-whisper>=1.1",
        "datasets>=3,<5",
        "flashlight-text>=0.0.7",
        "hypothesis>=6.100",
        "ruff>=0.12",
        "mypy>=1.11",
        "types-PyYAML",
        "pre-commit>=3.7",
        "uv>=0.5",
        "codespell>=2.3",
    ],
}


class BuildWithConf(build_py):
    """Copy the experiment files of ``conf/`` into the wheel as ``espnet_kd/conf``."""

    def run(self) -> None:
        super().run()
        if getattr(self, "editable_mode", False):
            return  # an editable install reads conf/ where it stands
        for source, target in self._conf_files():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = list(super().get_outputs(include_bytecode))
        if getattr(self, "editable_mode", False):
            return outputs
        return outputs + [str(target) for _, target in self._conf_files()]

    def _conf_files(self) -> list[tuple[Path, Path]]:
        conf, target = ROOT / "conf", Path(self.build_lib) / "espnet_kd" / "conf"
        files = sorted(path for path in conf.rglob("*") if path.is_file())
        return [(path, target / path.relative_to(conf)) for path in files]


def version() -> str:
    """Return ``__version__`` without importing the package (torch may not be there yet)."""
    text = (ROOT / "espnet_kd" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    if match is None:
        raise RuntimeError("espnet_kd/__init__.py states no __version__")
    return match.group(1)


def readme() -> str:
    """Return the README, or nothing where only the sources were copied."""
    path = ROOT / "README.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


setup(
    name="espnet_kd",
    version=version(),
    description="Make a large speech model small, inside ESPnet and S3PRL",
    long_description=readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["espnet_kd*", "s3prl_upstreams*"]),
    package_data=dict.fromkeys(("espnet_kd", "s3prl_upstreams"), DATA_FILES),
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    cmdclass={"build_py": BuildWithConf},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
