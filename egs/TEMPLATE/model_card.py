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

SHOWN = ("student", "teacher", "kd_conf", "optim_conf", "max_epoch", "batch_size", "accum_grad")


def encoder_of(model: Path) -> dict[str, Any]:
    document = json.loads((model / "config.json").read_text(encoding="utf-8"))
    encoder: dict[str, Any] = document["encoder"]
    return encoder


def head(name: str, model: Path, licence: str, runs: Sequence[Run]) -> str:
    encoder = encoder_of(model)
    profile = next((run.profile for run in runs if run.role == "student" and run.profile), {})
    total = profile.get("parameters", {}).get("total", 0)
    return HEAD.format(
        name=name,
        license=f"license: {licence}\n" if licence else "",
        folder=model.name,
        layers=len(encoder["layers"]),
        width=encoder["embed_dim"],
        output=encoder.get("head_dim") or encoder["embed_dim"],
        parameters=f", {total / 1e6:.2f} M parameters" if total else "",
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
    args = parser.parse_args()
    runs = load_runs(args.runs) if args.runs else []
    text = head(args.name, args.model, args.license, runs)
    text += training(args.config)
    text += scores(runs) if runs else ""
    write_text(args.model / "README.md", text)
    print(args.model / "README.md")


if __name__ == "__main__":
    main()
