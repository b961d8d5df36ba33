"""Upload a student to the Hugging Face Hub (stage 8; needs a token: `hf auth login`).

``upload_student.py --model DIR --repo NAME/MODEL [--results RESULTS.md]``
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--repo", required=True)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--private", action="store_true")
    args = parser.parse_args()
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(args.repo, private=args.private, exist_ok=True)
    api.upload_folder(repo_id=args.repo, folder_path=str(args.model))
    if args.results is not None:
        api.upload_file(
            repo_id=args.repo, path_or_fileobj=str(args.results), path_in_repo="RESULTS.md"
        )
    print(f"uploaded to {args.repo}")


if __name__ == "__main__":
    main()
