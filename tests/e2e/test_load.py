"""An edge with HTTP under load: ten thousand idle clients and two hundred that ask, some that never read, a slow origin;
reloads and new masters meanwhile. No request fails, and memory has a bound."""
import contextlib
import resource
import threading

import pytest

import edgelib
from edgelib import Edge, Origin, read_head
from harness import PATIENCE, control, wait_until

IDLE, ACTIVE, STALLED, LARGE = 10_000, 200, 100, 4_000_000


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("load")
    site_authority.issue(folder / "site", "example.com", "DNS:example.com")
    return folder


class Server:
    """Answers at once; /slow half a second later; /large with many bytes."""

    def __init__(self):
        self.never = threading.Event()
        self.origin = Origin(self.serve)
        self.address = self.origin.address

    def serve(self, sock):
        sock.settimeout(300)
        while head := read_head(sock):
            path = head.split()[1]
            if path == b"/slow":
                self.never.wait(0.5)  # what is slow about it
            body = edgelib.block(0, LARGE) if path == b"/large" else b"answer"
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.fixture
def server():
    made = Server()
    yield made
    made.origin.close()


def ask(sock, path):
    """One request on a connection, and whether it may be used again."""
    sock.sendall(b"GET %s HTTP/1.1\r\nHost: example.com\r\n\r\n" % path)
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.endswith(b"answer"):
        data = sock.recv(65536)
        if not data:
            raise ConnectionError(f"cut off after {answer!r}")
        answer += data
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return b"Connection: close" not in answer


class Askers:
    """Clients that ask again and again, on one connection as long as the edge wants. One that has been answered before and
    is closed before its next request arrives asks again on another, as all clients of HTTP do (RFC 9110, section 9.2.2)."""

    def __init__(self, edge, ctx, number):
        self.edge, self.ctx, self.stop = edge, ctx, threading.Event()
        self.failures, self.answers = [], [0] * number
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(number)]

    def run(self, index):
        path = b"/slow" if index % 10 == 0 else b"/"
        sock, used = None, False
        while not self.stop.is_set():
            try:
                if sock is None:
                    sock, used = edgelib.connect(self.edge.port, None, ctx=self.ctx), False
                    sock.settimeout(PATIENCE)
                again = ask(sock, path)
                used = True
                self.answers[index] += 1
            except (OSError, AssertionError) as error:
                again = False
                if not used or isinstance(error, AssertionError):
                    self.failures.append(repr(error))
            if not again:
                with contextlib.suppress(OSError):
                    sock.close()
                sock = None

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def go_on(self):
        """Each is answered once more."""
        before = list(self.answers)
        wait_until(lambda: all(now > then for now, then in zip(self.answers, before)), "all clients are answered", 60)


def memory_of(edge):
    """Resident bytes of its workers."""
    return sum(edgelib.resident(pid) for pid in edge.daemon.children("edge-worker"))


def idle_clients(edge, ctx, number):
    """Connections that have been answered once."""
    made = []
    for _ in range(number):
        sock = edgelib.connect(edge.port, None, ctx=ctx)
        made.append(sock)
        ask(sock, b"/")
    return made


def in_parallel(count, work):
    """What `work` returns, called by two threads."""
    found, threads = [], []
    for _ in range(2):
        threads.append(threading.Thread(target=lambda: found.extend(work(count // 2))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(found) == count
    return found


@pytest.mark.long
@pytest.mark.unsanitized
def test_load(daemons, folder, pki, site_authority, server, upgrade):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    edge = Edge(daemons, folder, [edgelib.site("example.com", [pki / "site.crt"], [pki / "site.key"], [server.address],
                                               protocol="http"),
                                  "limits { connections_per_address = 0 }"], workers=2)
    ctx = edgelib.context(site_authority.certificate)
    empty = memory_of(edge)
    idle = in_parallel(IDLE, lambda count: idle_clients(edge, ctx, count))
    wait_until(lambda: edge.counter("connections") == IDLE, "all idle clients are there")
    # docs/http.md: 6 KiB each, and what an allocator keeps besides.
    assert memory_of(edge) - empty < IDLE * 8 * 1024
    stalled = idle_clients(edge, ctx, STALLED)
    for sock in stalled:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: example.com\r\n\r\n")
    most = memory_of(edge) + STALLED * 512 * 1024 + ACTIVE * 256 * 1024
    with Askers(edge, ctx, ACTIVE) as askers:
        askers.go_on()
        for _ in range(10):
            assert control(edge.folder / "run" / "edge.sock", "reload").get("ok")
            askers.go_on()
            assert memory_of(edge) < most
        for _ in range(2):
            upgrade(edge)
            askers.go_on()
            assert memory_of(edge) < most
    assert askers.failures == []
    for sock in idle + stalled:
        sock.close()
    wait_until(lambda: edge.counter("connections") == 0, "nobody is left")
