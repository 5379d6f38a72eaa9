"""farkey edge with protocol = http: curl in front, nginx and hand-written origins behind."""
import hashlib
import re
import socket

import pytest

import edgelib
from edgelib import Edge, Origin, connect, read_head
from harness import curl, free_port
from web import Recorder, digest_body, start_nginx


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("http")
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256")
    return folder


def site(pki, *origins, **options):
    return edgelib.site("example.com", [pki / "p256.crt"], [pki / "p256.key"], origins, protocol="http", **options)


def fetch(edge, ca, *options, path="/", check=True):
    return curl(f"https://example.com:{edge.port}{path}", *options, ca=ca,
                resolve=f"example.com:{edge.port}:127.0.0.1", check=check)


@pytest.fixture
def recorder():
    made = Recorder()
    yield made
    made.origin.close()


def exchange(edge, ca, *pieces):
    """What the edge answers to bytes, until it closes or says nothing more; and whether it closed."""
    sock = connect(edge.port, ca)
    with sock:
        for piece in pieces:
            sock.sendall(piece)
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


# --- what an origin gets ---

def test_requests_share_an_origins_connection(daemons, folder, pki, ca, recorder):
    edge = Edge(daemons, folder, [site(pki, recorder.address)])
    url = f"https://example.com:{edge.port}/first?q=1"
    _, body, talk = fetch(edge, ca, url, path="/second")
    assert body == "hellohello"
    assert "Re-using existing connection" in talk
    assert recorder.origin.count == 1
    assert [head.splitlines()[0] for head in recorder.heads] == ["GET /first?q=1 HTTP/1.1", "GET /second HTTP/1.1"]
    assert edge.counter("http_requests_total") == 2


def test_origin_learns_who_asks_and_cannot_be_deceived(daemons, folder, pki, ca, recorder):
    edge = Edge(daemons, folder, [site(pki, recorder.address)])
    fetch(edge, ca, "-H", "X-Forwarded-For: 10.9.9.9", "-H", "x_forwarded_proto: gopher", "-H", "Forwarded: for=10.9.9.9",
          "-H", "Connection: close, X-Secret, Via", "-H", "X-Secret: 1", "-H", "Keep-Alive: 5", "-H", "Proxy: http://evil",
          "-H", "Client-Cert: :Zm9yZ2Vk:", "-H", "client_cert: :Zm9yZ2Vk:")
    host = f"example.com:{edge.port}"
    lines = recorder.heads[0].splitlines()
    fields = [line for line in lines[1:] if not line.lower().startswith(("user-agent:", "accept:"))]
    assert fields == [f"Host: {host}", "Via: 1.1 farkey", f'Forwarded: for=127.0.0.1;host="{host}";proto=https',
                      "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: https", f"X-Forwarded-Host: {host}",
                      f"X-Forwarded-Port: {edge.port}"]


# --- nginx behind ---

@pytest.fixture
def nginx(daemons, folder):
    return start_nginx(daemons, folder)


def test_nginx(daemons, folder, pki, ca, nginx):
    edge = Edge(daemons, folder, [site(pki, nginx)])
    _, body, talk = fetch(edge, ca)
    assert body == "from nginx\n"
    assert "Via: 1.1 farkey" in talk
    _, body, talk = fetch(edge, ca, "--head")
    assert "HTTP/1.1 200 OK" in body and "Content-Length: 11" in body
    status, body, _ = fetch(edge, ca, path="/none")
    assert "404 Not Found" in body


def test_chunks_for_those_who_know_them(daemons, folder, pki, ca):
    recorder = Recorder(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    edge = Edge(daemons, folder, [site(pki, recorder.address)])
    _, body, talk = fetch(edge, ca)
    assert body == "hello" and "Transfer-Encoding: chunked" in talk
    _, body, talk = fetch(edge, ca, "--http1.0")
    assert body == "hello" and "Transfer-Encoding" not in talk
    recorder.origin.close()


def test_large_answer(daemons, folder, pki, ca, nginx):
    edge = Edge(daemons, folder, [site(pki, nginx)])
    fetch(edge, ca, "--output", folder / "got", path="/large")
    assert hashlib.sha256((folder / "got").read_bytes()).digest() == hashlib.sha256(edgelib.block(0, 20_000_000)).digest()


def test_uploads(daemons, folder, pki, ca):
    origin = Origin(digest_body)
    edge = Edge(daemons, folder, [site(pki, origin.address)])
    content = edgelib.block(0, 5_000_000)
    (folder / "large").write_bytes(content)
    for options in [[], ["-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"]]:
        _, body, _ = fetch(edge, ca, "--upload-file", folder / "large", *options, path="/x")
        assert body == hashlib.sha256(content).hexdigest()
    origin.close()


# --- what does not pass ---

BAD = [
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "HOST_REPEATED"),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "BARE_LF"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "LENGTH_AND_CODING"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + 40000 * b"x" + b"\r\n\r\n", 431, "FIELDS_LARGE"),
    (b"GET /" + 9000 * b"x" + b" HTTP/1.1\r\n", 414, "LINE_LONG"),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501, "CONNECT"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "VERSION"),
]


def test_malformed_requests_are_answered_and_named(daemons, folder, pki, ca, recorder):
    edge = Edge(daemons, folder, [site(pki, recorder.address)])
    for request, status, fault in BAD:
        answer = exchange(edge, ca, request)
        assert answer.startswith(b"HTTP/1.1 %d " % status), (fault, answer)
        assert b"Connection: close\r\n" in answer
        edge.daemon.wait_log(f'fault="{fault}"')
    assert recorder.heads == []
    assert edge.counter('http_refused_total{side="client"}') == len(BAD)


def test_smuggled_request_reaches_nobody(daemons, folder, pki, ca, recorder):
    edge = Edge(daemons, folder, [site(pki, recorder.address)])
    answer = exchange(edge, ca, b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
                                b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"
                                b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"400"]
    assert [head.split()[1] for head in recorder.heads] == ["/1"]


@pytest.mark.parametrize("answer,status", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 502),
    (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", 502),
    (b"220 smtp.example ESMTP\r\n", 502),
])
def test_malformed_answers_are_502(daemons, folder, pki, ca, answer, status):
    recorder = Recorder(answer)
    edge = Edge(daemons, folder, [site(pki, recorder.address)])
    _, body, talk = fetch(edge, ca)
    assert f"HTTP/1.1 {status}" in talk and f"{status} " in body
    assert edge.counter('http_refused_total{side="origin"}') == 1
    recorder.origin.close()


def test_no_origin(daemons, folder, pki, ca):
    edge = Edge(daemons, folder, [site(pki, f"127.0.0.1:{free_port()}")])
    _, body, talk = fetch(edge, ca)
    assert "HTTP/1.1 502 Bad Gateway" in talk and body == "502 Bad Gateway\n"


def test_origin_that_dies_in_a_body(daemons, folder, pki, ca):
    origin = Origin(lambda sock: (read_head(sock), sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal")))
    edge = Edge(daemons, folder, [site(pki, origin.address)])
    status, body, _ = fetch(edge, ca, check=False)
    assert body == "hal"
    assert status in (18, 56)  # curl: partial file, or the connection broke
    edge.daemon.wait_log('fault="TRUNCATED"')
    origin.close()


def test_origin_that_closes_kept_connections(daemons, folder, pki, ca):
    """Each answer promises more, and then the connection is closed: no request fails for it."""
    origin = Origin(lambda sock: (read_head(sock), sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
    edge = Edge(daemons, folder, [site(pki, origin.address)])
    url = f"https://example.com:{edge.port}/"
    _, body, talk = fetch(edge, ca, *(9 * [url]))
    assert body == 10 * "ok"
    assert origin.count == 10
    origin.close()


def test_upgrade_becomes_a_tunnel(daemons, folder, pki, ca):
    def serve(sock):
        head = read_head(sock)
        assert b"Upgrade: websocket\r\nConnection: upgrade\r\n" in head
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := sock.recv(65536):
            sock.sendall(data[::-1])
    origin = Origin(serve)
    edge = Edge(daemons, folder, [site(pki, origin.address)])
    with connect(edge.port, ca) as sock:
        sock.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert read_head(sock).startswith(b"HTTP/1.1 101 ")
        for text in [b"abc", b"GET / HTTP/1.1\r\n", b"\0\xff\n\n"]:
            sock.sendall(text)
            answer = b""
            while len(answer) < len(text):
                answer += sock.recv(100)
            assert answer == text[::-1]
    origin.close()


def test_records_by_openssl(daemons, folder, pki, ca, recorder):
    edge = Edge(daemons, folder, [site(pki, recorder.address, records="openssl")])
    _, body, _ = fetch(edge, ca, f"https://example.com:{edge.port}/2")
    assert body == "hellohello"
