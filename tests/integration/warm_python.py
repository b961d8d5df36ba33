"""A Python whose toolkits are imported already: recipes under test start commands in milliseconds.

``serve`` imports ESPnet and S3PRL once and forks a child for each command; ``run``, which stands in
the recipe's ``--python``, hands its words, environment, folder and streams over and ends with the
child's exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import sys
import traceback

STREAMS = (0, 1, 2)


# --- The stand-in: only the standard library, it has to start quickly
def run(address: str, words: list[str]) -> int:
    """Have a command executed; returns its exit code."""
    request = json.dumps({"words": words, "environ": dict(os.environ), "cwd": os.getcwd()})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [len(request.encode()).to_bytes(8, "big")], STREAMS)
        connection.sendall(request.encode())
        answers = connection.makefile("r")
        child = int(answers.readline())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: os.kill(child, received))
        return int(answers.readline())


# --- The server
def serve(address: str) -> None:
    """Fork a child for each command until the parent of this process is gone."""
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()  # who comes early waits
        server.settimeout(1.0)
        warm_up()
        while os.getppid() == parent:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                server.close()
                attend(connection)
            connection.close()


def warm_up() -> None:
    """Import what the commands of the recipes need."""
    import espnet2.bin.asr_transducer_inference
    import matplotlib.figure
    import sklearn.cluster
    import torch.utils.tensorboard

    import espnet_kd.bin.mvq_transducer_train
    import espnet_kd.bin.ssl_distill_train
    import espnet_kd.bin.whisper_distill_train
    import espnet_kd.evaluation.auc
    import espnet_kd.evaluation.report
    import espnet_kd.evaluation.whisper_runs
    import espnet_kd.filtering.run
    from egs.TEMPLATE import downstream_jobs

    downstream_jobs.warm_up()
    torch.set_num_threads(1)
    del espnet2, matplotlib, sklearn, espnet_kd


def attend(connection: socket.socket) -> None:
    """Execute one command in a child and report how it ended."""
    connection.settimeout(None)
    size, streams, _, _ = socket.recv_fds(connection, 8, len(STREAMS))
    request = json.loads(connection.makefile("rb").read(int.from_bytes(size, "big")))
    child = os.fork()
    if child == 0:
        connection.close()
        for number, stream in zip(STREAMS, streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)
        execute(**request)
    connection.sendall(f"{child}\n".encode())
    status = outcome(child, connection)
    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f"{code}\n".encode())
    os._exit(0)


def outcome(child: int, connection: socket.socket) -> int:
    """Status of a child that has ended; it is killed when its stand-in is."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if select.select([connection], [], [], 0.02)[0]:  # closed by the stand-in's death
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]


def execute(words: list[str], environ: dict[str, str], cwd: str) -> None:
    """Do in this process what ``python WORDS`` would do; never returns."""
    import runpy

    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    sys.executable = environ.get("WARM_PYTHON", sys.executable)
    code = 0
    try:
        if words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        elif words[0] == "-m":
            sys.argv = words[1:]
            sys.modules.pop(words[1], None)  # it is imported above, and runs as __main__ now
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an ordinary end would take apart every module, which takes a second


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(run(sys.argv[2], sys.argv[3:]))
