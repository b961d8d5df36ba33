"""Downloads: resumed, checked, complete or not there; every failure says what to do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from egs.TEMPLATE import fetch as module
from egs.TEMPLATE.fetch import FetchError, fetch

CONTENT = bytes(range(256)) * 40
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """What the server does next, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.answers: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.url = ""


def send(handler: BaseHTTPRequestHandler, code: int, body: bytes, **headers: str) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if "Content_Length" not in headers:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def whole(handler: BaseHTTPRequestHandler) -> None:
    send(handler, 200, CONTENT)


def ranged(handler: BaseHTTPRequestHandler) -> None:
    asked = handler.headers["Range"]
    start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
    if start >= len(CONTENT):
        send(handler, 416, b"")
    else:
        send(handler, 206 if asked else 200, CONTENT[start:])


def cut(handler: BaseHTTPRequestHandler) -> None:
    """The connection ends in the middle."""
    send(handler, 200, CONTENT[:3000], Content_Length=str(len(CONTENT)))


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: send(handler, code, b"", **headers)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.headers["Range"])
            state.answers.pop(0)(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}/file"
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield state
        http.shutdown()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return waits


def test_fetched_once_then_kept(server, tmp_path):
    server.answers = [whole]
    out = tmp_path / "new" / "file"
    assert fetch(server.url, out, SUM)
    assert out.read_bytes() == CONTENT
    assert not fetch(server.url, out, SUM), "no second question: the server has no answer left"
    assert [path.name for path in out.parent.iterdir()] == ["file"]


def test_goes_on_where_the_connection_ended(server, tmp_path, no_waiting):
    server.answers = [cut, ranged]
    assert fetch(server.url, tmp_path / "file", SUM)
    assert server.asked == [None, "bytes=3000-"]
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(no_waiting) == 1


def test_goes_on_in_a_later_process(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:5000])
    server.answers = [ranged]
    fetch(server.url, tmp_path / "file", SUM)
    assert server.asked == ["bytes=5000-"]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_complete_part_is_taken(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    server.answers = [ranged]
    fetch(server.url, tmp_path / "file", SUM)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_server_without_ranges_starts_over(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 5000)
    server.answers = [whole]
    fetch(server.url, tmp_path / "file", SUM)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_too_many_requests_waits_as_asked(server, tmp_path, no_waiting):
    server.answers = [status(429, Retry_After="7"), status(503), whole]
    assert fetch(server.url, tmp_path / "file", SUM)
    assert no_waiting == [7.0, 2.0]


@pytest.mark.parametrize(
    ("answers", "tries", "message"),
    [
        ([status(404)], 5, "there is no such file; is the address"),
        ([status(401)], 5, "needs a login"),
        ([status(429)] * 2, 2, "asks for fewer requests"),
        ([cut, cut], 2, "3,000 bytes are kept in"),
    ],
)
def test_failures_say_what_to_do(server, tmp_path, answers, tries, message):
    server.answers = list(answers)
    with pytest.raises(FetchError, match=message):
        fetch(server.url, tmp_path / "file", SUM, tries)
    assert server.answers == [], "neither gave up too early nor asked in vain"
    assert not (tmp_path / "file").exists()


def test_offline(tmp_path):
    with pytest.raises(FetchError, match="is there a network"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", tries=2)


def test_wrong_content_never_gets_the_name(server, tmp_path):
    server.answers = [whole]
    with pytest.raises(FetchError, match=f"SHA-256 sum {SUM}, expected 00"):
        fetch(server.url, tmp_path / "file", "00")
    assert list(tmp_path.iterdir()) == [], "nothing to resume from wrong bytes"


def test_a_wrong_file_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FetchError, match="Remove it and fetch it again"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", SUM)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_full_disk_is_told_before(server, tmp_path, monkeypatch):
    server.answers = [whole]
    usage = type("Usage", (), {"free": 100})()
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(FetchError, match="10,240 bytes are to come, 100 are free"):
        fetch(server.url, tmp_path / "file", SUM)
