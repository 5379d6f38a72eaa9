"""Time in HTTP: of a request's head, of an origin's answer."""
import re
import socket
import threading

import pytest

import edgelib
import h2raw
from edgelib import Edge, Origin, connect, read_head
from harness import PATIENCE

SOON = "300ms"


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("time")
    site_authority.issue(folder / "site", "example.com", "DNS:example.com")
    return folder


class Silent:
    """An origin that answers, but for /never; what comes of these is closed at the end, or answered too late."""

    def __init__(self):
        self.asked, self.over = threading.Semaphore(0), threading.Event()
        self.origin = Origin(self.serve)
        self.address = self.origin.address

    def serve(self, sock):
        while head := read_head(sock):
            if b" /never " in head:
                self.asked.release()
                self.over.wait(PATIENCE)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    def close(self):
        self.over.set()
        self.origin.close()


@pytest.fixture
def origin():
    made = Silent()
    yield made
    made.close()


def site(pki, origin, **options):
    return edgelib.site("example.com", [pki / "site.crt"], [pki / "site.key"], [origin.address], protocol="http", **options)


def read_all(sock):
    sock.settimeout(PATIENCE)
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def get(path):
    return b"GET %s HTTP/1.1\r\nHost: example.com\r\n\r\n" % path


@pytest.mark.parametrize("pieces,answers", [
    ((b"GET / HTTP/1.1\r\nHost: exam",), [b"408"]),
    ((get(b"/") + b"GET / HT",), [b"200", b"408"]),
    ((), []),
], ids=["first", "second", "nothing"])
def test_head_that_does_not_end(daemons, folder, pki, ca, origin, pieces, answers):
    edge = Edge(daemons, folder, [site(pki, origin), f"limits {{ request_timeout = {SOON} }}"])
    with connect(edge.port, ca) as sock:
        for piece in pieces:
            sock.sendall(piece)
        data = read_all(sock)
    assert re.findall(rb"HTTP/1.1 (\d+) ", data) == answers
    assert edge.counter('http_refused_total{side="client"}') == answers.count(b"408")
    if b"408" in answers:
        edge.daemon.wait_log('fault="LATE"')


def test_head_in_many_pieces_and_then_silence(daemons, folder, pki, ca, origin):
    """Bytes that trickle do not gain time; a client that has been answered may be silent for longer."""
    edge = Edge(daemons, folder, [site(pki, origin), f"limits {{ request_timeout = {SOON} }}"])
    with connect(edge.port, ca) as idle, connect(edge.port, ca) as slow:
        idle.sendall(get(b"/"))
        assert idle.recv(65536).endswith(b"hi")
        slow.settimeout(0.02)
        data = b""
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        while b"\r\n\r\n" not in data:
            slow.sendall(b"x")
            try:
                data += slow.recv(65536)
            except (TimeoutError, socket.timeout):
                pass
        assert data.startswith(b"HTTP/1.1 408 ")
        idle.sendall(get(b"/"))
        assert idle.recv(65536).endswith(b"hi")


def test_origin_that_does_not_answer(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [site(pki, origin, origin_answer_timeout=SOON)])
    with connect(edge.port, ca) as sock:
        sock.sendall(get(b"/") + get(b"/never"))
        data = read_all(sock)
    assert re.findall(rb"HTTP/1.1 (\d+) ", data) == [b"200", b"504"]
    assert origin.asked.acquire(timeout=PATIENCE)
    assert edge.counter("origin_answers_late_total") == 1
    edge.daemon.wait_log("origin does not answer in time")
    with connect(edge.port, ca) as sock:  # another connection to the origin, which is well
        sock.sendall(get(b"/"))
        assert sock.recv(65536).endswith(b"hi")


def test_other_streams_go_on(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [site(pki, origin, origin_answer_timeout=SOON, alpn='{"h2"}')])
    with h2raw.Client(edge.port, ca) as client:
        late = client.ask([*h2raw.GET[:3], (":path", "/never")])
        fine = client.ask(h2raw.GET)
        assert client.answer(fine)[0] == 200
        assert client.answer(late)[0] == 504
        again = client.ask(h2raw.GET)
        assert client.answer(again)[0] == 200
    assert edge.counter("origin_answers_late_total") == 1


def test_body_of_a_request_is_no_wait(daemons, folder, pki, ca, origin):
    """An upload lasts as long as it wants: the answer is waited for when it is whole."""
    edge = Edge(daemons, folder, [site(pki, origin, origin_answer_timeout=SOON)])
    with connect(edge.port, ca) as sock, connect(edge.port, ca) as other:
        sock.sendall(b"POST /never HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nh")
        other.sendall(get(b"/never"))
        assert read_all(other).startswith(b"HTTP/1.1 504 ")  # so long it has been
        origin.over.set()
        sock.sendall(b"i")
        sock.settimeout(PATIENCE)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
