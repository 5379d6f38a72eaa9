"""HTTP/2 from clients: curl, nghttp and h2load in front, nginx and hand-written origins behind."""
import hashlib
import re
import signal
import threading

import pytest

import edgelib
import h2raw
from edgelib import Edge, Origin, read_head
from harness import curl, free_port, run, wait_until
from web import Recorder, digest_body, start_nginx

ALPN = '{"h2", "http/1.1"}'


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("http2")
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256")
    return folder


@pytest.fixture
def recorder():
    made = Recorder()
    yield made
    made.origin.close()


def start(daemons, folder, pki, origin, **options):
    options = {"alpn": ALPN, "protocol": "http"} | options
    return Edge(daemons, folder, [edgelib.site("example.com", [pki / "p256.crt"], [pki / "p256.key"], [origin], **options)])


def fetch(edge, ca, *options, path="/", check=True):
    return curl(f"https://example.com:{edge.port}{path}", "--http2", *options, ca=ca,
                resolve=f"example.com:{edge.port}:127.0.0.1", check=check)


def nghttp(edge, *options, path="/"):
    """nghttp's story of one connection."""
    return run("nghttp", "-v", "--no-dep", *options, f"https://127.0.0.1:{edge.port}{path}", "-H", ":authority: example.com",
               check=False).stdout


@pytest.mark.parametrize("records", ["engine", "openssl"])
def test_curl(daemons, folder, pki, ca, recorder, records):
    edge = start(daemons, folder, pki, recorder.address, records=records)
    _, body, talk = fetch(edge, ca, f"https://example.com:{edge.port}/first?q=1", path="/second")
    assert body == "hellohello" and "Re-using existing connection" in talk
    assert "ALPN: server accepted h2" in talk and talk.count("HTTP/2 200") == 2
    assert [head.splitlines()[0] for head in recorder.heads] == ["GET /first?q=1 HTTP/1.1", "GET /second HTTP/1.1"]
    assert "Via: 2.0 farkey" in recorder.heads[0].splitlines()
    assert (edge.counter("http_requests_total"), edge.counter("http2_requests_total")) == (2, 2)


def test_the_client_chooses(daemons, folder, pki, ca, recorder):
    """By ALPN; without it, and where the site lists no h2, HTTP/1.1 is spoken."""
    edge = start(daemons, folder, pki, recorder.address)
    for option in "--http1.1", "--no-alpn":
        _, body, talk = fetch(edge, ca, option)
        assert body == "hello" and "HTTP/1.1 200 OK" in talk
    edge.reload([edgelib.site("example.com", [pki / "p256.crt"], [pki / "p256.key"], [recorder.address], protocol="http",
                              alpn='{"http/1.1"}')])
    _, body, talk = fetch(edge, ca)
    assert body == "hello" and "HTTP/1.1 200 OK" in talk
    assert edge.counter("http2_requests_total") == 0


def test_many_streams_of_many_clients(daemons, folder, pki):
    edge = start(daemons, folder, pki, start_nginx(daemons, folder))
    done = run("h2load", "-n", "3000", "-c", "5", "-m", "100", f"--connect-to=127.0.0.1:{edge.port}",
               f"https://example.com:{edge.port}/").stdout
    assert "3000 succeeded, 0 failed, 0 errored" in done and "status codes: 3000 2xx" in done
    assert edge.counter("http2_requests_total") == 3000


def test_large_answers_at_once(daemons, folder, pki, ca):
    edge = start(daemons, folder, pki, start_nginx(daemons, folder))
    more = [part for i in range(3) for part in ("--output", folder / f"got{i}", f"https://example.com:{edge.port}/large")]
    fetch(edge, ca, "--parallel", *more, "--output", folder / "got3", path="/large")
    digest = hashlib.sha256(edgelib.block(0, 20_000_000)).digest()
    for i in range(4):
        assert hashlib.sha256((folder / f"got{i}").read_bytes()).digest() == digest


def test_uploads(daemons, folder, pki, ca):
    origin = Origin(digest_body)
    edge = start(daemons, folder, pki, origin.address)
    content = edgelib.block(0, 5_000_000)
    (folder / "large").write_bytes(content)
    _, body, _ = fetch(edge, ca, "--upload-file", folder / "large", path="/x")
    assert body == hashlib.sha256(content).hexdigest()
    with open(folder / "large", "rb") as source:
        body = run("curl", "-s", "--http2", "--cacert", ca, "--resolve", f"example.com:{edge.port}:127.0.0.1", "-T", "-",
                   "-H", "Expect: 100-continue", f"https://example.com:{edge.port}/x", stdin=source).stdout
    assert body == hashlib.sha256(content).hexdigest()
    origin.close()


def test_trailers_both_ways(daemons, folder, pki):
    seen = []

    def serve(sock):
        text = b""
        while b"0\r\ndigest: abc\r\n" not in text:
            text += sock.recv(65536)
        seen.append(text)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\n\r\n")

    origin = Origin(serve)
    edge = start(daemons, folder, pki, origin.address)
    (folder / "body").write_text("12345")
    story = nghttp(edge, "--data", folder / "body", "--no-content-length", "--trailer", "digest: abc", "--trailer", "client-cert: x",
                   "-H", "te: trailers")
    assert re.search(r"recv \(stream_id=\d+\) grpc-status: 0", story), story
    assert b"\r\nTE: trailers\r\n" in seen[0] and b"5\r\n12345\r\n0\r\ndigest: abc\r\n\r\n" in seen[0]
    origin.close()


def test_origins_that_fail_harm_one_stream_only(daemons, folder, pki, ca):
    def serve(sock):
        path = read_head(sock).split()[1]
        if path == b"/dies":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal")
        elif path == b"/lies":
            sock.sendall(b"HTTP/1.1 200 OK\n\n")
        elif path == b"/good":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    origin = Origin(serve)
    edge = start(daemons, folder, pki, origin.address)
    urls = [f"https://example.com:{edge.port}/{name}" for name in ("dies", "lies", "silent", "good", "good")]
    _, body, talk = fetch(edge, ca, "-Z", *urls, path="/good", check=False)
    assert talk.count("HTTP/2 502") == 2 and talk.count("502 Bad Gateway") + body.count("502 Bad Gateway") >= 2
    assert body.count("ok") == 3 and "HTTP/2 stream" in talk and "INTERNAL_ERROR" in talk
    assert len(re.findall(r"Connected to", talk)) == 1
    origin.close()
    edge.daemon.wait_log('fault="TRUNCATED"')


def test_no_origin(daemons, folder, pki, ca):
    edge = start(daemons, folder, pki, f"127.0.0.1:{free_port()}")
    _, body, talk = fetch(edge, ca)
    assert "HTTP/2 502" in talk and body == "502 Bad Gateway\n"


def test_a_stop_answers_what_was_asked(daemons, folder, pki, ca):
    """GOAWAY goes out at the stop; the answer that is due still comes; then the edge is gone."""
    asked, go = threading.Event(), threading.Event()

    def serve(sock):
        read_head(sock)
        asked.set()
        assert go.wait(60)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

    origin = Origin(serve)
    edge = start(daemons, folder, pki, origin.address)
    story = []
    client = threading.Thread(target=lambda: story.append(nghttp(edge)))
    client.start()
    assert asked.wait(60)
    edge.daemon.process.send_signal(signal.SIGTERM)
    edge.daemon.wait_log("drain|stop")
    go.set()
    client.join(60)
    assert "late" in story[0] and re.search(r"recv GOAWAY frame", story[0]), story
    wait_until(lambda: not edge.daemon.alive(), "the edge has ended")
    origin.close()


def test_frames_without_use_end_the_connection(daemons, folder, pki, ca, recorder):
    edge = start(daemons, folder, pki, recorder.address)
    with edgelib.connect(edge.port, ca, ctx=h2_context(ca)) as sock:
        assert sock.selected_alpn_protocol() == "h2"
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5) + 1000 * (b"\0\0\x08\x06" + bytes(13)))
        answer = b""
        while data := sock.recv(65536):
            answer += data
    assert b"\x07\0\0\0\0\0" in answer and answer.endswith(b"\0\0\0\x0b")  # GOAWAY: ENHANCE_YOUR_CALM
    assert edge.counter('http2_cut_off_total{why="flood"}') == 1
    with edgelib.connect(edge.port, ca, ctx=h2_context(ca)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while sock.recv(65536):
            pass
    assert edge.counter('http2_cut_off_total{why="protocol"}') == 1


@pytest.mark.unsanitized
def test_a_client_that_reads_nothing_costs_little(daemons, folder, pki, ca, recorder):
    """A hundred answers of 20 MB at once, and windows for all of them: the worker holds no more than its bound, and others
    are served. Most of them given up, the others are whole once the client reads."""
    edge = start(daemons, folder, pki, start_nginx(daemons, folder))
    (worker,) = edge.daemon.children("edge-worker")
    fetch(edge, ca)
    before = edgelib.resident(worker)
    with h2raw.Client(edge.port, ca) as client:
        client.send(h2raw.frame(h2raw.SETTINGS, 0, 0, b"\0\x04\x7f\xff\xff\xff") + h2raw.frame(8, 0, 0, b"\x7f\xff\0\0"))
        # In one record: behind answers that fill the socket nothing more would be read.
        client.send(b"".join(client.frames([*h2raw.GET[:3], (":path", "/large")]) for _ in range(100)))
        wait_until(lambda: edge.counter("http2_requests_total") == 101, "all are asked")
        for _ in range(20):  # others are served all the time
            assert fetch(edge, ca)[1] == "from nginx\n"
        assert edgelib.resident(worker) - before < 12_000_000
        client.send(b"".join(h2raw.frame(h2raw.RST_STREAM, 0, stream, b"\0\0\0\x08") for stream in range(5, 201, 2)))
        got = {1: 0, 3: 0}
        while got:
            kind, flags, stream, payload = client.read()
            if kind == h2raw.DATA and stream in got:
                got[stream] += len(payload)
                if flags & h2raw.END_STREAM:
                    assert got.pop(stream) == 20_000_000


def h2_context(ca):
    made = edgelib.context(ca)
    made.set_alpn_protocols(["h2"])
    return made
