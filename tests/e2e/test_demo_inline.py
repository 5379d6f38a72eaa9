"""farkey demo inline: what it shows, and that it leaves nothing behind. I1: one connection, addresses unchanged."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess

import pytest

from harness import FARKEY, PATIENCE, run, wait_until

root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def processes(session):
    """Those of a session that live."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, own = path.read_text().rpartition(")")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "TMPDIR": str(tmp_path)}


@root
@pytest.mark.unsanitized
def test_one_connection_is_shown_I1(tmp_path, environment):
    with subprocess.Popen([FARKEY, "demo", "inline"], stdout=subprocess.PIPE, env=environment, text=True,
                          start_new_session=True) as demo:
        shown = demo.communicate(timeout=4 * PATIENCE)[0]
    assert demo.returncode == 0
    assert shown.count("hello from the plain server") == 2
    for version in ["1.2", "1.3"]:
        assert f"$ curl --tls-max {version}" in shown
    parts = shown.split("$ curl")[1:]
    for part in parts:
        client, server = part.split("tcpdump on the server's side")
        server, log = server.split("the server's log")
        opening = [re.findall(r"IP (\S+) > (\S+): Flags \[(S\.?)\]", text) for text in (client, server)]
        assert len(opening[0]) == 2 and opening[0] == opening[1]
        (source, destination, _), answer = opening[0]
        assert destination == "10.9.0.2.443" and answer[:2] == (destination, source)
        address, port = source.rsplit(".", 1)
        assert f'  {address}:{port} "GET / HTTP/1.1" 200\n' in log
    assert shown.endswith("Nothing is left: namespaces and processes are gone, the directory is removed.\n")
    assert list(tmp_path.iterdir()) == [] and processes(demo.pid) == []


@root
@pytest.mark.unsanitized
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_early_leaves_no_process(tmp_path, environment, number):
    """In the middle, which a client that never ends makes last."""
    slow = tmp_path / "bin" / "curl"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    environment["PATH"] = f"{slow.parent}:{environment['PATH']}"
    with subprocess.Popen([FARKEY, "demo", "inline"], stdout=subprocess.PIPE, env=environment,
                          start_new_session=True) as demo:
        assert demo.stdout.readline()
        wait_until(lambda: len(processes(demo.pid)) >= 7, "nginx, the box and its children, tcpdump twice, the client")
        demo.send_signal(number)
        assert demo.wait(PATIENCE) != 0
    # Namespaces without names are gone with the last process in them.
    wait_until(lambda: processes(demo.pid) == [], "all processes have ended")
    if number == signal.SIGTERM:
        assert list(tmp_path.iterdir()) == [slow.parent]


def test_without_root():
    done = run("setpriv", "--reuid=65534", "--clear-groups", FARKEY, "demo", "inline", check=False) \
        if os.geteuid() == 0 else run(FARKEY, "demo", "inline", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("farkey demo inline: it makes network namespaces, which needs root; run it with sudo\n")


def test_usage():
    assert run(FARKEY, "demo", "inline", "extra", check=False).returncode == 2
    assert "same" in run(FARKEY, "demo", "inline", "--help").stdout
