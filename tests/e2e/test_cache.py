"""farkey edge with cache = on: curl in front, nginx behind, which logs what it is asked."""
import re
import threading

import pytest

import edgelib
import harness
from edgelib import Edge, Origin, connect, read_head
from harness import Daemon, control, curl, free_port, run, wait_until

CACHE = "cache { size = 8m object = 1m }"
ALPN = '{"h2", "http/1.1"}'
LARGE = 300_000


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256")
    staff = harness.Authority(folder / "staff", "Staff CA")
    staff.issue(folder / "alice", "alice", "DNS:alice.example")
    return folder


class Nginx:
    """An origin: answers say what the query asks for, files have validators, and a log tells what came."""

    def __init__(self, daemons, folder):
        self.root, self.log = folder / "root", folder / "requests.log"
        self.root.mkdir()
        (self.root / "file").write_bytes(edgelib.block(0, LARGE))
        for i in range(40):
            (self.root / f"f{i}").write_bytes(edgelib.block(i, 100_000))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        (folder / "nginx.conf").write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; user root;
events {{ }}
http {{
  log_format line escape=none '$request_method $request_uri $status $http_if_none_match $http_range'; access_log {self.log} line;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/t1; fastcgi_temp_path {folder}/t2;
  uwsgi_temp_path {folder}/t3; scgi_temp_path {folder}/t4;
  server {{
    listen {self.address}; root {self.root};
    add_header Cache-Control $arg_cc always; add_header Set-Cookie $arg_cookie always; add_header Vary $arg_vary always;
    location /text {{ return 200 "$request_id"; }}
    location /error {{ return 503 "broken"; }}
    location /slow/ {{ alias {self.root}/; limit_rate 200k; }}
  }}
}}
""")
        self.daemons, self.folder = daemons, folder
        self.start()

    def start(self):
        self.daemon = Daemon("nginx", "-c", self.folder / "nginx.conf", "-e", self.folder / "nginx.log",
                             log=self.folder / "nginx.out")
        self.daemons.append(self.daemon)
        wait_until(lambda: harness.port_open(self.port), "nginx listens")

    def requests(self, path):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.split()[1].partition("?")[0] == path]

    def was_asked(self, path, times):
        """So often and no more: nginx logs when it has answered."""
        wait_until(lambda: len(self.requests(path)) >= times, "nginx has logged it")
        return len(self.requests(path)) == times


@pytest.fixture
def nginx(daemons, folder):
    return Nginx(daemons, folder)


def site(pki, *origins, more="", **options):
    text = edgelib.site("example.com", [pki / "p256.crt"], [pki / "p256.key"], origins,
                        **{"protocol": "http", "cache": "on", "alpn": ALPN, **options})
    return text.removesuffix("}") + more + "\n}"


@pytest.fixture
def edge(daemons, folder, pki, nginx):
    return Edge(daemons, folder, [site(pki, nginx.address)], options=CACHE)


class Answer:
    def __init__(self, talk, body):
        head = [line[2:] for line in talk.splitlines() if line.startswith("< ")]
        self.status = int(re.search(r" (\d{3})", head[0])[1])
        self.fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        self.did = self.fields.get("cache-status", "")
        self.body = body


def fetch(edge, ca, path, *options, version="--http1.1"):
    out = edge.folder / "out"
    out.unlink(missing_ok=True)
    _, _, talk = curl(f"https://example.com:{edge.port}{path}", version, "--output", out, *options, ca=ca,
                      resolve=f"example.com:{edge.port}:127.0.0.1")
    return Answer(talk, out.read_bytes() if out.exists() else b"")


# --- hits ---

@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_the_second_is_a_hit(edge, ca, nginx, version):
    first = fetch(edge, ca, "/text?cc=max-age=60", version=version)
    assert first.status == 200 and first.did == "farkey; fwd=uri-miss; stored" and "age" not in first.fields
    second = fetch(edge, ca, "/text?cc=max-age=60", version=version)
    assert second.body == first.body and re.fullmatch(r"farkey; hit; ttl=(60|5\d)", second.did)
    assert int(second.fields["age"]) <= 10 and second.fields["date"] == first.fields["date"]
    assert second.fields["via"] == "1.1 farkey"
    assert fetch(edge, ca, "/text?cc=max-age=61", version=version).did == "farkey; fwd=uri-miss; stored"
    assert nginx.was_asked("/text", 2)
    assert edge.counter('cache_requests_total{result="hit"}') == 1
    assert edge.counter('cache_requests_total{result="miss"}') == 2


def test_one_store_for_both_versions(edge, ca, nginx):
    first = fetch(edge, ca, "/file?cc=max-age=60", version="--http2")
    second = fetch(edge, ca, "/file?cc=max-age=60")
    assert first.body == second.body == edgelib.block(0, LARGE) and "; hit" in second.did
    assert nginx.was_asked("/file", 1)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_ranges_and_conditions(edge, ca, nginx, version):
    def get(*options):
        return fetch(edge, ca, "/file?cc=max-age=60", *options, version=version)
    whole, content = get(), edgelib.block(0, LARGE)
    tag = whole.fields["etag"]
    part = get("-r", "1000-200999")
    assert part.status == 206 and part.body == content[1000:201000]
    assert part.fields["content-range"] == f"bytes 1000-200999/{LARGE}"
    assert get("-r", "-5").body == content[-5:]
    assert get("-r", f"{LARGE}-").status == 416
    assert get("-r", "0-1", "-H", f"If-Range: {tag}").status == 206
    assert get("-r", "0-1", "-H", 'If-Range: "other"').body == content
    same = get("-H", f"If-None-Match: {tag}")
    assert same.status == 304 and same.body == b"" and same.fields["etag"] == tag
    assert get("-H", f"If-Modified-Since: {whole.fields['last-modified']}").status == 304
    head = get("--head")
    assert head.status == 200 and head.fields["content-length"] == str(LARGE) and head.body.startswith(b"HTTP/")
    assert nginx.was_asked("/file", 1)


def test_several_requests_on_one_connection(edge, ca, nginx):
    """A hit leaves the connection to the client, and that to the origin, as they are."""
    sock = connect(edge.port, ca)
    with sock, sock.makefile("rb") as stream:
        for path in ["/text?cc=max-age=60", "/text?cc=max-age=60", "/text?cc=no-store", "/text?cc=max-age=60"]:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n".encode())
            head = {}
            while line := stream.readline().strip().decode():
                name, _, value = line.partition(": ")
                head[name.lower()] = value
            assert len(stream.read(int(head["content-length"]))) == 32
            assert "connection" not in head
    assert nginx.was_asked("/text", 2)


# --- revalidation, stale answers ---

def test_what_is_stale_is_confirmed(edge, ca, nginx):
    def renewed():
        return "fwd-status=304" in fetch(edge, ca, "/file?cc=max-age=1").did
    tag = fetch(edge, ca, "/file?cc=max-age=1").fields["etag"]
    wait_until(renewed, "it was stale, and confirmed")
    assert nginx.was_asked("/file", 2)
    first, *others = nginx.requests("/file")
    assert first.split()[2] == "200" and [line.split()[2:4] for line in others] == [["304", tag]]
    (nginx.root / "file").write_bytes(b"other")
    wait_until(lambda: fetch(edge, ca, "/file?cc=max-age=1").body == b"other", "it was stale, and replaced")


def test_stale_while_revalidate(edge, ca, nginx):
    path = "/text?cc=max-age=1,stale-while-revalidate=600"
    first = fetch(edge, ca, path).body
    seen = []

    def stale():
        seen.append(fetch(edge, ca, path))
        assert "; hit;" in seen[-1].did  # nobody ever waits for the origin again
        return int(seen[-1].did.partition("ttl=")[2]) <= 0
    wait_until(stale, "it is stale")
    assert {answer.body for answer in seen} == {first}
    wait_until(lambda: fetch(edge, ca, path).body != first, "it was renewed behind the client's back")
    assert edge.counter('cache_requests_total{result="stale"}') >= 1


def test_stale_if_error(edge, ca, nginx):
    path = "/text?cc=max-age=1,stale-if-error=600"
    first = fetch(edge, ca, path)
    nginx.daemon.stop()
    wait_until(lambda: "stale-if-error" in (last := fetch(edge, ca, path)).did and last.body == first.body,
               "it is stale, and bridges the origin's absence")
    assert fetch(edge, ca, "/text?cc=max-age=1").status == 502
    nginx.start()
    wait_until(lambda: fetch(edge, ca, path).body != first.body, "the origin is asked again")


# --- many at once ---

def test_a_hundred_clients_are_one_request(edge, ca, nginx):
    url = f"https://example.com:{edge.port}/slow/file?cc=max-age=60"
    outs = [argument for i in range(100) for argument in (url, "--output", edge.folder / f"many{i}")]
    run("curl", "--silent", "--show-error", "--http1.1", "--cacert", ca, "--noproxy", "*", "--resolve",
        f"example.com:{edge.port}:127.0.0.1", "--parallel", "--parallel-immediate", "--parallel-max", "100",
        "--max-time", "30", *outs)
    for i in range(100):
        assert (edge.folder / f"many{i}").read_bytes() == edgelib.block(0, LARGE)
    assert nginx.was_asked("/slow/file", 1)
    assert edge.counter('cache_requests_total{result="miss"}') == 1
    collapsed = edge.counter('cache_requests_total{result="collapsed"}')
    assert collapsed > 0 and collapsed + edge.counter('cache_requests_total{result="hit"}') == 99


def wait_for_clients(edge, number):
    wait_until(lambda: sum(s["active"] for w in edge.status()["workers"] for s in w["sites"]) >= number, "they are there")


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_what_is_private_is_asked_for_by_each(daemons, folder, pki, ca, version):
    """Those who wait go on as soon as the head tells, not when the answer is whole."""
    seen, told, rest = [], threading.Event(), threading.Event()

    def serve(sock):
        while read_head(sock):
            seen.append(len(seen))
            told.wait(harness.PATIENCE)
            sock.sendall(b"HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 5\r\n\r\n%04d" % seen[-1])
            if len(seen) < 3:
                rest.wait(harness.PATIENCE)
            sock.sendall(b".")
    origin = Origin(serve)
    edge = Edge(daemons, folder, [site(pki, origin.address)], options=CACHE)
    bodies = []

    def client(i):
        done = run("curl", "--silent", "--show-error", version, "--cacert", ca, "--noproxy", "*", "--resolve",
                   f"example.com:{edge.port}:127.0.0.1", f"https://example.com:{edge.port}/")
        bodies.append(done.stdout)
    threads = [threading.Thread(target=client, args=(i,)) for i in range(3)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        wait_for_clients(edge, number)
    wait_until(lambda: len(seen) == 1, "one of them asks")
    told.set()
    wait_until(lambda: len(seen) == 3, "the others ask, too")
    rest.set()
    for thread in threads:
        thread.join()
    assert len(bodies) == 3 and edge.counter('cache_requests_total{result="miss"}') == 3
    origin.close()


def test_when_one_goes_another_asks(daemons, folder, pki, ca):
    asked, told = [], threading.Event()

    def serve(sock):
        while read_head(sock):
            asked.append(sock)
            if len(asked) == 1:
                sock.recv(1)  # until the edge lets go
                return
            told.wait(harness.PATIENCE)
            sock.sendall(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello")
    origin = Origin(serve)
    edge = Edge(daemons, folder, [site(pki, origin.address)], options=CACHE)
    request = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
    first = connect(edge.port, ca)
    first.sendall(request)
    wait_until(lambda: len(asked) == 1, "the first asks")
    others = [connect(edge.port, ca) for _ in range(3)]
    for sock in others:
        sock.sendall(request)
    first.close()
    wait_until(lambda: len(asked) == 2, "one of the others asks")
    told.set()
    for sock in others:
        answer = b""
        while not answer.endswith(b"hello"):
            answer += sock.recv(4096)
        sock.close()
    assert len(asked) == 2
    origin.close()


# --- nothing private is shared ---

@pytest.mark.parametrize("query, options, why", [
    ("cc=private,max-age=60", (), "private"),
    ("cc=no-store", (), "no-store"),
    ("cc=max-age=60&cookie=a=b", (), "set-cookie"),
    ("cc=public,max-age=60&cookie=a=b", (), "set-cookie"),
    ("cc=max-age=60&vary=*", (), "vary"),
    ("cc=max-age=60", ("-H", "Authorization: Basic eDp5"), "authorization"),
    ("", ("-H", "Cookie: session=1"), "cookie"),
])
def test_what_is_one_clients_is_stored_for_nobody(edge, ca, nginx, query, options, why):
    first, second = (fetch(edge, ca, f"/text?{query}", *options) for _ in range(2))
    assert first.did == second.did == f"farkey; fwd=uri-miss; detail={why}"
    assert first.body != second.body and nginx.was_asked("/text", 2)
    assert "farkey; fwd=uri-miss" in fetch(edge, ca, f"/text?{query}").did


def test_certificates_are_told_apart(daemons, folder, pki, ca, nginx):
    block = f'client_certificate {{ require = optional ca = "{pki}/staff/ca.crt" }}'
    edge = Edge(daemons, folder, [site(pki, nginx.address, more=block)], options=CACHE)
    alice = ("--cert", pki / "alice.crt", "--key", pki / "alice.key")
    hers = fetch(edge, ca, "/text?cc=max-age=60", *alice)
    assert hers.did == "farkey; fwd=uri-miss; detail=certificate"
    others = fetch(edge, ca, "/text?cc=max-age=60")
    assert "; stored" in others.did and others.body != hers.body
    again = fetch(edge, ca, "/text?cc=max-age=60", *alice)
    assert "hit" not in again.did and again.body not in (hers.body, others.body)
    assert "; hit" in fetch(edge, ca, "/text?cc=max-age=60").did
    public = fetch(edge, ca, "/text?cc=public,max-age=60", *alice)
    assert fetch(edge, ca, "/text?cc=public,max-age=60").body == public.body
    assert fetch(edge, ca, "/text?cc=public,max-age=60", *alice).body == public.body
    varies = "/text?cc=public,max-age=60&vary=Client-Cert"
    hers = fetch(edge, ca, varies, *alice)
    assert "; stored" in hers.did and hers.fields["vary"] == "*"
    assert fetch(edge, ca, varies).body != hers.body
    assert fetch(edge, ca, varies, *alice).body == hers.body


def test_sites_are_apart(daemons, folder, pki, ca, nginx, site_authority):
    site_authority.issue(folder / "other", "other.example", "DNS:other.example", "p256")
    other = edgelib.site("other.example", [folder / "other.crt"], [folder / "other.key"], [nginx.address], protocol="http",
                         cache="on")
    edge = Edge(daemons, folder, [site(pki, nginx.address), other], options=CACHE)
    first = fetch(edge, ca, "/text?cc=max-age=60")
    _, body, talk = curl(f"https://other.example:{edge.port}/text?cc=max-age=60", "-H", f"Host: example.com:{edge.port}", ca=ca,
                         resolve=f"other.example:{edge.port}:127.0.0.1")
    assert "fwd=uri-miss; stored" in talk and body.encode() != first.body


# --- what goes ---

def test_variants(edge, ca, nginx):
    path = "/text?cc=max-age=60&vary=Accept-Language"
    german, english = (fetch(edge, ca, path, "-H", f"Accept-Language: {lang}").body for lang in ("de", "en"))
    assert german != english
    assert fetch(edge, ca, path, "-H", "Accept-Language: de").body == german
    assert fetch(edge, ca, path, "-H", "Accept-Language: en").body == english


def test_changes_invalidate(edge, ca, nginx):
    path = "/text?cc=max-age=60"
    first = fetch(edge, ca, path)
    assert fetch(edge, ca, path, "-X", "POST").did == "farkey; fwd=method"
    assert fetch(edge, ca, path).body != first.body
    wait_until(lambda: edge.counter("cache_purged_total") == 1, "it is counted")


def test_operators_purge(daemons, folder, pki, ca, nginx):
    edge = Edge(daemons, folder, [site(pki, nginx.address)], options=CACHE, workers=2)
    paths = [f"/text?cc=max-age=60&n={i}" for i in range(2)]
    sock = folder / "run" / "edge.sock"

    def bodies(path):
        """What the workers have: whichever the kernel gives a connection to."""
        return {fetch(edge, ca, path).body for _ in range(12)}
    before = [bodies(path) for path in paths]
    assert all(1 <= len(seen) <= 2 for seen in before)
    url = f"https://example.com:{edge.port}{paths[0]}"
    assert run(harness.FARKEY, "control", "--control", sock, "purge", url).stdout == "ok: true\n"
    assert not bodies(paths[0]) & before[0] and bodies(paths[1]) & before[1]
    assert control(sock, "purge") == {"ok": True}
    assert not bodies(paths[1]) & before[1]
    for bad in ["example.com/text", "ftp://example.com/", "https://exa%mple.com/"]:
        assert "not a URL" in control(sock, "purge", argument=bad)["error"]
    assert control(sock, "status", argument="x") == {"error": "status takes no argument"}


def test_memory_is_bounded(daemons, folder, pki, ca, nginx):
    edge = Edge(daemons, folder, [site(pki, nginx.address)], options="cache { size = 1m object = 200k }")
    for i in range(40):
        assert "; stored" in fetch(edge, ca, f"/f{i}?cc=max-age=60").did
    wait_until(lambda: edge.counter("cache_evicted_total") >= 30, "what is too much went")
    assert 900_000 < edge.counter("cache_bytes") <= 1 << 20
    assert "; hit" in fetch(edge, ca, "/f39?cc=max-age=60").did
    assert "fwd=uri-miss" in fetch(edge, ca, "/f0?cc=max-age=60").did
    assert fetch(edge, ca, "/file?cc=max-age=60").did == "farkey; fwd=uri-miss; detail=too-large"


def test_a_reload_keeps_what_is_stored(edge, ca, nginx, pki):
    path = "/text?cc=max-age=60"
    first = fetch(edge, ca, path)
    edge.reload([site(pki, nginx.address)])
    assert fetch(edge, ca, path).body == first.body
    edge.options = ""
    edge.reload([site(pki, nginx.address, cache="off")])
    assert "cache-status" not in fetch(edge, ca, path).fields
    edge.options = CACHE
    edge.reload([site(pki, nginx.address)])
    assert fetch(edge, ca, path).body != first.body
