"""Connections to origins that requests of many clients share, one after the other."""
import socket
import threading

import pytest

import edgelib
import h2raw
from edgelib import Edge, Origin, read_head
from harness import PATIENCE, curl, run, wait_until
from web import Recorder, start_nginx

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("origins")
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256")
    return folder


@pytest.fixture(params=["--http1.1", "--http2"])
def version(request):
    return request.param


def blocks(pki, origin, **options):
    options = {"alpn": '{"h2", "http/1.1"}', "protocol": "http"} | options
    return [edgelib.site("example.com", [pki / "p256.crt"], [pki / "p256.key"], [origin], **options)]


def start(daemons, folder, pki, origin, **options):
    return Edge(daemons, folder, blocks(pki, origin, **options))


def fetch(edge, ca, version, *options, path="/", check=True):
    return curl(f"https://example.com:{edge.port}{path}", version, *options, ca=ca,
                resolve=f"example.com:{edge.port}:127.0.0.1", check=check)


def test_clients_share_a_connection(daemons, folder, pki, ca, version):
    recorder = Recorder()
    edge = start(daemons, folder, pki, recorder.address)
    for _ in range(3):
        assert fetch(edge, ca, version)[1] == "hello"
    assert recorder.origin.count == 1 and len(recorder.heads) == 3
    assert edge.counter('origin_uses_total{connection="new"}') == 1
    assert edge.counter('origin_uses_total{connection="kept"}') == 2
    edge.reload(blocks(pki, recorder.address, origin_keep="0"))
    for _ in range(3):
        assert fetch(edge, ca, version)[1] == "hello"
    assert recorder.origin.count == 4
    recorder.origin.close()


def test_streams_share_connections(daemons, folder, pki):
    edge = start(daemons, folder, pki, start_nginx(daemons, folder))
    done = run("h2load", "-n", "2000", "-c", "4", "-m", "25", f"--connect-to=127.0.0.1:{edge.port}",
               f"https://example.com:{edge.port}/").stdout
    assert "2000 succeeded, 0 failed, 0 errored" in done
    assert edge.counter('origin_uses_total{connection="kept"}') > 1000


def test_kept_connections_are_not_kept_for_ever(daemons, folder, pki, ca, version):
    ended = threading.Event()

    def serve(sock):
        read_head(sock)
        sock.sendall(OK)
        if sock.recv(1) == b"":
            ended.set()

    origin = Origin(serve)
    edge = start(daemons, folder, pki, origin.address, origin_keep="50ms")
    assert fetch(edge, ca, version)[1] == "ok"
    assert ended.wait(20)
    assert fetch(edge, ca, version)[1] == "ok"
    assert origin.count == 2
    origin.close()


def test_what_may_be_sent_twice_is(daemons, folder, pki, ca, version):
    """The origin takes a second request on each connection, and closes without a word."""
    def serve(sock):
        read_head(sock)
        sock.sendall(OK)
        read_head(sock)

    origin = Origin(serve)
    edge = start(daemons, folder, pki, origin.address)
    for n in range(1, 4):
        assert fetch(edge, ca, version)[1] == "ok"
        assert origin.count == n
    _, body, _ = fetch(edge, ca, version, "--data", "x")
    assert body == "502 Bad Gateway\n" and origin.count == 3
    origin.close()


def test_unasked_answers_reach_nobody(daemons, folder, pki, ca, version):
    """An answer that comes when nobody has asked, or behind another, is no answer to whoever asks next."""
    late = threading.Event()

    def serve(sock):
        path = read_head(sock).split()[1]
        sock.sendall(OK + (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" if path == b"/behind" else b""))
        if path == b"/late":
            assert late.wait(20)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            sock.shutdown(socket.SHUT_WR)
        sock.recv(1)

    origin = Origin(serve)
    edge = start(daemons, folder, pki, origin.address, origin_keep="1h")
    assert fetch(edge, ca, version, path="/behind")[1] == "ok"
    assert fetch(edge, ca, version, path="/late")[1] == "ok"
    late.set()
    assert fetch(edge, ca, version, path="/")[1] == "ok"
    assert origin.count == 3
    origin.close()


# --- a new configuration ---

def test_reload_renews_connections(daemons, folder, pki, ca):
    """A client of HTTP/2 learns that it is to come again, and loses nothing that it asks until it knows."""
    recorder = Recorder()
    edge = start(daemons, folder, pki, recorder.address)
    with h2raw.Client(edge.port, ca) as client:
        assert client.answer(client.ask(h2raw.GET))[0] == 200
        edge.reload(blocks(pki, recorder.address, origin_timeout="2s"))
        got = [client.read() for _ in range(2)]
        while (h2raw.GOAWAY not in (kind for kind, *_ in got)) or (h2raw.PING not in (kind for kind, *_ in got)):
            got.append(client.read())
        (goaway,), (ping,) = ([frame for frame in got if frame[0] == kind] for kind in (h2raw.GOAWAY, h2raw.PING))
        assert goaway[3] == b"\x7f\xff\xff\xff\0\0\0\0"
        asked = client.ask(h2raw.GET)
        client.send(h2raw.frame(h2raw.PING, 1, 0, ping[3]))
        assert client.answer(asked)[0] == 200
        while (frame := client.read())[0] != h2raw.GOAWAY:
            pass
        assert frame[3] == b"\0\0\0\x03\0\0\0\0"
        assert client.read() is None
    with edgelib.connect(edge.port, ca) as sock:
        ask = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
        sock.sendall(ask)
        assert b"Connection: close" not in sock.recv(65536)
        edge.reload(blocks(pki, recorder.address))
        sock.sendall(ask)
        assert b"\r\nConnection: close\r\n" in sock.recv(65536)
        assert sock.recv(1) == b""
    recorder.origin.close()


def test_reloads_under_requests(daemons, folder, pki, ca, version):
    allowed, more = [40], threading.Condition()

    def pace(number):
        """So many requests are answered between two reloads."""
        with more:
            more.wait_for(lambda: number <= allowed[0], PATIENCE)
    recorder = Recorder(pace=pace)
    edge = start(daemons, folder, pki, recorder.address)
    results = []
    urls = [f"https://example.com:{edge.port}/{i}" for i in range(400)]
    client = threading.Thread(target=lambda: results.append(fetch(edge, ca, version, *urls, check=False)))
    client.start()
    for i in range(8):
        wait_until(lambda: len(recorder.heads) > allowed[0] or not client.is_alive(), "requests go on")
        edge.reload(blocks(pki, recorder.address, origin_timeout=f"{i + 1}s"))
        with more:
            allowed[0] += 40
            more.notify_all()
    with more:
        allowed[0] = 1000
        more.notify_all()
    client.join(60)
    status, body, talk = results[0]
    assert status == 0 and body == 401 * "hello"
    assert talk.count("Connected to") >= 8
    recorder.origin.close()
