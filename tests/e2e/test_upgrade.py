"""An edge is replaced by a new one, perhaps of another version, and no client notices: SIGUSR2, `farkey control upgrade`."""
import os
import re
import shutil
import signal
import ssl
import threading

import pytest

import edgelib
from edgelib import Edge, Origin, echo, http, site
from harness import FARKEY, Successor, control, curl, ended, free_port, port_listens, run, wait_until
from service import Manager


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    site_authority.issue(folder / "site", "example.com", "DNS:example.com")
    return folder


@pytest.fixture
def origin():
    made = Origin(http(b"hello from the origin"))
    yield made
    made.close()


def main_site(pki, origin, **options):
    return site("example.com", [pki / "site.crt"], [pki / "site.key"], [origin.address], **options)


def served(edge, ca):
    return curl(f"https://example.com:{edge.port}/", ca=ca, resolve=f"example.com:{edge.port}:127.0.0.1")[1]


class Load:
    """Clients that make one connection after the other; what has failed is in `failures`."""

    def __init__(self, edge, ca, clients=3):
        self.edge, self.ctx = edge, edgelib.context(ca)
        self.failures, self.answers, self.stop = [], 0, threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]

    def run(self):
        while not self.stop.is_set():
            try:
                with edgelib.connect(self.edge.port, None, ctx=self.ctx) as sock:
                    sock.settimeout(edgelib.PATIENCE)
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
                    data = b""
                    while more := sock.recv(65536):
                        data += more
                assert data.endswith(b"hello from the origin"), data
                self.answers += 1
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_no_request_fails_while_masters_come_and_go(daemons, folder, pki, ca, origin, upgrade, mode):
    edge = Edge(daemons, folder, [main_site(pki, origin, protocol=mode)], workers=2)
    masters = [edge.daemon.pid]
    with Load(edge, ca) as load:
        for _ in range(4):
            answers = load.answers
            masters.append(upgrade(edge))
            wait_until(lambda before=answers: load.answers > before + 10, "clients are served")
    assert load.failures == []
    assert len(set(masters)) == 5
    wait_until(lambda: all(ended(pid) for pid in masters[:-1]), "the ones before have ended")
    assert edge.status()["pid"] == masters[-1]
    assert edge.status()["ready"]
    assert daemons[0].process.wait(edgelib.PATIENCE) == 0


def test_a_connection_stays_with_the_master_that_began_it(daemons, folder, pki, ca, upgrade):
    origin = Origin(echo)
    edge = Edge(daemons, folder, [main_site(pki, origin)], workers=1)
    first = edge.daemon
    with edgelib.connect(edge.port, ca) as sock:
        sock.settimeout(edgelib.PATIENCE)
        upgrade(edge)
        for word in (b"one", b"two"):
            sock.sendall(word)
            assert sock.recv(10) == word
        assert first.alive()
        # Its admin process is gone: every question is answered by the successor.
        assert {edge.status()["pid"] for _ in range(10)} == {edge.daemon.pid}
    assert first.process.wait(edgelib.PATIENCE) == 0
    origin.close()


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tickets_of_before_are_good_after(daemons, folder, pki, ca, origin, upgrade, version):
    edge = Edge(daemons, folder, [main_site(pki, origin)], workers=1)
    ctx = edgelib.context(ca)
    ctx.minimum_version = ctx.maximum_version = getattr(ssl.TLSVersion, version)

    def talk(session=None):
        with edgelib.connect(edge.port, ca, ctx=ctx, session=session) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while sock.recv(65536):
                pass
            return sock.session, sock.session_reused
    session, _ = talk()
    first = edge.daemon
    upgrade(edge)
    assert first.process.wait(edgelib.PATIENCE) == 0
    upgrade(edge)
    assert talk(session)[1]


@pytest.fixture
def own(daemons, folder, pki, origin):
    """An edge whose program can be replaced: (edge, replace(text or None for the program))."""
    program = folder / "bin" / "farkey"
    program.parent.mkdir()

    def replace(text=None):
        if text is None:
            shutil.copy(FARKEY, program.with_suffix(".new"))
        else:
            program.with_suffix(".new").write_text(text)
            program.with_suffix(".new").chmod(0o755)
        os.replace(program.with_suffix(".new"), program)
    replace()
    return Edge(daemons, folder, [main_site(pki, origin)], program=program), replace


def test_the_program_that_is_there_now_is_started(daemons, own, ca):
    edge, replace = own
    first = edge.daemon
    replace()
    program = edge.folder / "bin" / "farkey"
    assert os.readlink(f"/proc/{first.pid}/exe") == f"{program} (deleted)"
    first.signal(signal.SIGUSR2)
    pid = int(first.wait_log(r"the successor serves pid=(\d+)")[1])
    daemons.append(Successor(first, pid))
    assert first.process.wait(edgelib.PATIENCE) == 0
    assert os.readlink(f"/proc/{pid}/exe") == str(program)
    assert all(os.readlink(f"/proc/{child}/exe") == str(program) for child in daemons[-1].children())
    assert served(edge, ca) == "hello from the origin"


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 3\n", "no program at all", None], ids=["ends", "no-program", "bad-conf"])
def test_a_successor_that_fails_changes_nothing(own, ca, text):
    edge, replace = own
    pid, conf = edge.daemon.pid, edge.conf.read_text()
    if text is None:
        edge.conf.write_text(conf + "nonsense = 1\n")
    else:
        replace(text)
    done = run(FARKEY, "control", "--control", edge.folder / "run" / "edge.sock", "--json", "upgrade", check=False)
    why = "Exec format error" if text == "no program at all" else "the successor has ended"
    assert done.returncode == 1 and why in done.stdout, done.stdout + done.stderr
    edge.conf.write_text(conf)
    replace()
    assert edge.status()["pid"] == pid and edge.status()["generation"] == 1
    assert control(edge.folder / "run" / "edge.sock", "reload").get("ok")
    assert served(edge, ca) == "hello from the origin"


HANGS = "#!/bin/sh\nexec sleep 1000\n"


def test_what_is_asked_for_while_a_successor_starts(own):
    """A second one is refused, a reload waits; the order to end ends both."""
    edge, replace = own
    replace(HANGS)
    edge.daemon.signal(signal.SIGUSR2)
    successor = int(edge.daemon.wait_log(r"a successor starts .*pid=(\d+)")[1])
    socket_path = edge.folder / "run" / "edge.sock"
    assert control(socket_path, "upgrade") == {"error": "a successor is starting already"}
    edge.daemon.signal(signal.SIGHUP)
    assert edge.status()["generation"] == 1
    os.kill(successor, signal.SIGKILL)
    wait_until(lambda: edge.status()["generation"] == 2, "the reload has followed")
    edge.daemon.signal(signal.SIGUSR2)
    successor = int(edge.daemon.wait_log(rf"a successor starts .*pid=((?!{successor}\b)\d+)")[1])
    assert edge.daemon.stop() == 0
    wait_until(lambda: ended(successor), "the successor has ended, too")


@pytest.mark.long
def test_a_successor_that_hangs_is_killed(own, ca):
    edge, replace = own
    replace(HANGS)
    done = run(FARKEY, "control", "-c", edge.conf, "--json", "upgrade", check=False, timeout=70)
    assert done.returncode == 1 and "the successor did not serve in time" in done.stdout, done.stdout + done.stderr
    replace()
    assert control(edge.folder / "run" / "edge.sock", "reload").get("ok")
    assert served(edge, ca) == "hello from the origin"


@pytest.mark.parametrize("before,after", [(1, 3), (3, 1)])
def test_another_number_of_workers(daemons, folder, pki, ca, origin, upgrade, before, after):
    edge = Edge(daemons, folder, [main_site(pki, origin)], workers=before)
    edge.workers = after
    edge.write([main_site(pki, origin)])
    upgrade(edge)
    assert len(edge.status()["workers"]) == after
    assert daemons[0].process.wait(edgelib.PATIENCE) == 0
    for _ in range(20):
        assert served(edge, ca) == "hello from the origin"


def test_origin_that_is_set_down_stays_so(daemons, folder, pki, ca, origin, upgrade):
    other = Origin(http(b"another origin"))
    both = edgelib.site("example.com", [pki / "site.crt"], [pki / "site.key"], [origin.address, other.address])
    edge = Edge(daemons, folder, [both])
    run(FARKEY, "control", "-c", edge.conf, "origin-down", f"example.com/{origin.address}")
    upgrade(edge)
    assert {served(edge, ca) for _ in range(6)} == {"another origin"}
    edge.write([main_site(pki, origin)])  # without the other; this one is another site's now, and up
    upgrade(edge)
    run(FARKEY, "control", "-c", edge.conf, "origin-up", f"example.com/{origin.address}")
    assert served(edge, ca) == "hello from the origin"
    other.close()


def test_listeners_change_with_the_master(daemons, folder, pki, ca, origin, upgrade):
    """Of what the new configuration does not name nothing stays open; what it names anew is there."""
    old, new = free_port(), free_port()
    admin = folder / "admin.sock"
    edge = Edge(daemons, folder, [main_site(pki, origin), f'listen "127.0.0.1:{old}" {{}}',
                                  f'admin {{ listen = "unix:{admin}" }}'])
    edge.write([main_site(pki, origin), f'listen "127.0.0.1:{new}" {{}}', f'admin {{ listen = "unix:{admin}" }}'])
    upgrade(edge)
    assert daemons[0].process.wait(edgelib.PATIENCE) == 0
    wait_until(lambda: not port_listens(old), "the old port is closed")
    assert curl(f"https://example.com:{new}/", ca=ca, resolve=f"example.com:{new}:127.0.0.1")[1] == "hello from the origin"
    assert run("curl", "-s", "--unix-socket", admin, "http://localhost/healthz").stdout


def test_the_service_manager_follows(daemons, folder, pki, origin):
    manager = Manager(folder / "notify")
    edge = Edge(daemons, folder, [main_site(pki, origin)],
                env=manager.environment(WATCHDOG_USEC="300000"))
    first = edge.daemon
    assert f"MAINPID={first.pid}" in manager.wait("READY=1")
    first.signal(signal.SIGUSR2)
    pid = int(first.wait_log(r"the successor serves pid=(\d+)")[1])
    daemons.append(Successor(first, pid))
    manager.wait(f"MAINPID={pid}")
    assert first.process.wait(edgelib.PATIENCE) == 0
    assert not [text for text in manager.heard if "STOPPING" in text]
    for _ in range(3):
        manager.wait("WATCHDOG=1")
    os.kill(pid, signal.SIGTERM)
    manager.wait("STOPPING=1")
    manager.socket.close()
