"""Download a file: resumed where it stopped, checked, complete or not there.

    fetch.py URL --out FILE [--sha256 HEX] [--tries 5]

A good FILE is kept without asking the network. What has arrived so far is in FILE.part; FILE
appears when it is complete and its checksum is right.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import IO

from tqdm import tqdm

CHUNK = 1 << 20
MOST_WAIT = 60.0


class FetchError(Exception):
    """The download cannot succeed; the message says why and what to do."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(url: str, out: Path, sha256: str = "", tries: int = 5) -> bool:
    """Bring ``url`` to ``out``; returns whether anything was downloaded.

    Raises:
        FetchError: no connection, no such file, no space, or not the expected content.
    """
    if out.exists():
        check(out, sha256)
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    for attempt in range(tries):
        try:
            transfer(url, part)
            break
        except (OSError, HTTPException) as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise FetchError(f"{part}: the disk is full; {part} is kept") from error
            wait = pause(error, attempt)
            if wait is None or attempt + 1 == tries:
                raise FetchError(explain(url, part, error)) from error
            print(f"{url}: {error}; again in {wait:.0f} s", file=sys.stderr)
            time.sleep(wait)
    try:
        check(part, sha256)
    except FetchError:
        part.unlink()  # resuming from wrong bytes can never end well
        raise
    os.replace(part, out)
    return True


def check(path: Path, sha256: str) -> None:
    """Raise unless the file has the checksum (if one is known)."""
    found = sha256_of(path) if sha256 else ""
    if found != sha256.lower():
        raise FetchError(
            f"{path} has the SHA-256 sum {found}, expected {sha256}. Remove it and fetch it again; "
            "if it stays so, the publisher has changed the file"
        )


def transfer(url: str, part: Path) -> None:
    """Append to ``part`` what is missing."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "espnet_kd"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            # A server that knows no ranges sends everything again.
            continues = start and getattr(answer, "status", None) == 206
            start = start if continues else 0
            size = answer.headers.get("Content-Length")
            rest = None if size is None else int(size)
            need_space(part, rest or 0)
            with part.open("ab" if continues else "wb") as stream:
                copy(answer, stream, start, rest, part.name)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:  # 416: there is nothing left to send
            raise


def copy(answer: IO[bytes], stream: IO[bytes], start: int, rest: int | None, name: str) -> None:
    """Copy with a progress bar; raise if the connection ended too early."""
    total = None if rest is None else start + rest
    arrived = 0
    with tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True) as bar:
        while chunk := answer.read(CHUNK):
            stream.write(chunk)
            arrived += len(chunk)
            bar.update(len(chunk))
    if rest is not None and arrived < rest:
        raise ConnectionError(f"the connection ended after {arrived:,} of {rest:,} bytes")


def need_space(part: Path, size: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if size > free:
        raise FetchError(f"{part}: {size:,} bytes are to come, {free:,} are free there")


def pause(error: Exception, attempt: int) -> float | None:
    """Seconds until the next try; None = another try is pointless."""
    wait = min(2.0**attempt, MOST_WAIT)
    if not isinstance(error, urllib.error.HTTPError):
        return wait
    if error.code == 429 or error.code >= 500:
        asked = error.headers.get("Retry-After", "") if error.headers else ""
        return min(float(asked), MOST_WAIT) if asked.isdigit() else wait
    return None


def explain(url: str, part: Path, error: Exception) -> str:
    code = error.code if isinstance(error, urllib.error.HTTPError) else 0
    reason = {
        404: "there is no such file; is the address (or the revision) right?",
        401: "it needs a login; fetch it by hand",
        403: "access is refused; fetch it by hand",
        429: "the server asks for fewer requests; try later",
    }.get(code, f"{error}; is there a network? Behind a proxy, set https_proxy")
    kept = f". {part.stat().st_size:,} bytes are kept in {part}" if part.exists() else ""
    return f"cannot fetch {url}: {reason}{kept}. The same command goes on where it stopped"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sha256", default="", help="checksum that the file must have")
    parser.add_argument("--tries", type=int, default=5)
    args = parser.parse_args()
    try:
        is_new = fetch(args.url, args.out, args.sha256, args.tries)
    except FetchError as error:
        sys.exit(f"fetch.py: {error}")
    print(f"{args.out}: {args.out.stat().st_size:,} bytes, {'fetched' if is_new else 'kept'}")


if __name__ == "__main__":
    main()
