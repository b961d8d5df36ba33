"""Write a student's README.md (the model card of the Hugging Face Hub) from its own files.

``model_card.py --model DIR --name armhubert_960h [--config train.yaml] [--runs results/*.json]``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from espnet_kd.evaluation.runs import Run, load_runs
from espnet_kd.utils.files import write_text

HEAD = """---
{license}library_name: espnet_kd
tags: [speech, self-supervised, distillation, s3prl, espnet]
---

# {name}

A speech encoder distilled with espnet_kd: {layers} layers of width {width}{parameters}.
Input: 16 kHz mono waveforms. Output: one vector of {output} per 20 ms and layer.

```python
from espnet_kd import load_model

student = load_model("{folder}")
output = student(waveforms_BS, lengths_B)    # output.hidden_states: list of (batch, frames, width)
```

```bash
python -m s3prl_upstreams.run_downstream -u kd_student -k {folder} -d asr --data LibriSpeech -p exp
```
"""

WHISPER_HEAD = """---
{license}library_name: transformers
pipeline_tag: automatic-speech-recognition
{language}tags: [whisper, distillation, espnet]
---

# {name}

A Whisper of {encoder}-{decoder} layers of width {width}{parameters}, distilled with
espnet_kd{base}.

```python
from transformers import pipeline

recognise = pipeline("automatic-speech-recognition", "{folder}")
recognise("speech.wav", return_timestamps=True)
```

CTranslate2 (faster-whisper) and whisper.cpp convert it like any other Whisper. How well it drafts
for its teacher shows `python -m espnet_kd.bin.whisper_evaluate` with `--assistant {folder}`.
"""

SHOWN = ("student", "teacher", "kd_conf", "optim_conf", "max_epoch", "batch_size", "accum_grad")


def head(args: argparse.Namespace, runs: Sequence[Run]) -> str:
    document = json.loads((args.model / "config.json").read_text(encoding="utf-8"))
    profile = next((run.profile for run in runs if run.role == "student" and run.profile), {})
    total = profile.get("parameters", {}).get("total", 0)
    common = {
        "name": args.name,
        "license": f"license: {args.license}\n" if args.license else "",
        "folder": args.model.name,
        "parameters": f", {total / 1e6:.2f} M parameters" if total else "",
    }
    if document.get("model_type") == "whisper":
        return WHISPER_HEAD.format(
            **common,
            language=f"language: {args.language}\n" if args.language else "",
            encoder=document["encoder_layers"],
            decoder=document["decoder_layers"],
            width=document["d_model"],
            base=f" from {args.base_model}" if args.base_model else "",
        )
    encoder = document["encoder"]
    return HEAD.format(
        **common,
        layers=len(encoder["layers"]),
        width=encoder["embed_dim"],
        output=encoder.get("head_dim") or encoder["embed_dim"],
    )


def without_places(value: Any) -> Any:
    """Names of files and folders; where they lay is nobody's business."""
    if isinstance(value, dict):
        return {key: without_places(entry) for key, entry in value.items()}
    return Path(value).name if isinstance(value, str) and "/" in value else value


def training(configs: Sequence[Path]) -> str:
    parts = []
    for number, config in enumerate(configs, start=1):
        values = yaml.safe_load(config.read_text(encoding="utf-8"))
        shown = without_places({key: values[key] for key in SHOWN if key in values})
        phase = f", phase {number}" if len(configs) > 1 else ""
        text = yaml.safe_dump(shown, sort_keys=False)
        parts.append(f"\n## Training{phase}\n\n```yaml\n{text}```\n")
    return "".join(parts)


def scores(runs: Sequence[Run]) -> str:
    lines = ["\n## Scores\n", "| model | task | metric | score |", "|---|---|---|---|"]
    lines += [
        f"| {run.name} | {score.task} | {score.metric} | {score.value:.2f} {score.unit} |"
        for run in runs
        for score in run.scores
    ]
    commands = sorted({run.command for run in runs if run.command})
    return "\n".join([*lines, "", *(f"Made by `{command}`." for command in commands), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="README.md is written there")
    parser.add_argument("--name", required=True)
    parser.add_argument(
        "--config", nargs="*", type=Path, default=[], help="config.yaml of each training run"
    )
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="run JSON files")
    parser.add_argument("--license", default="", help="of the weights, such as apache-2.0")
    parser.add_argument("--language", default="", help="code, of a Whisper")
    parser.add_argument("--base_model", default="", help="name of a Whisper's teacher")
    args = parser.parse_args()
    runs = load_runs(args.runs) if args.runs else []
    text = head(args, runs)
    text += training(args.config)
    text += scores(runs) if runs else ""
    write_text(args.model / "README.md", text)
    print(args.model / "README.md")


if __name__ == "__main__":
    main()
