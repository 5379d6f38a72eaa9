"""Every request of the corpus of HTTP/1 at an edge, with TLS and without: what reaches the origin, as another program's
parser (h11) understands it, is what the corpus says that the request means, or nothing at all."""
import queue
import re
import socket
import sys

import h11
import pytest

import edgelib
from edgelib import Edge, Origin
from harness import PATIENCE, TOP, free_port

sys.path.insert(0, str(TOP / "tests/fuzz"))
from seeds import VECTORS, cases, unescape  # pylint: disable=wrong-import-position

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def corpus():
    """(bytes, verdict lines) of each case."""
    path = VECTORS / "requests.txt"
    text = re.split(r"^== ", path.read_text(), flags=re.M)[1:]
    parsed = list(cases(path))
    assert len(text) == len(parsed) > 150
    for case, (_, message) in zip(text, parsed):
        yield pytest.param(message, re.findall(r"^=> (.*)$", case, re.M), id=case.split()[0])


def statuses():
    """Of each fault, as docs/http.md tells them."""
    table = (TOP / "docs/http.md").read_text()
    return {name: int(status) for name, status in re.findall(r"^\| ([A-Z0-9_]+) \| (\d+) \|", table, re.M)}


STATUS = statuses()


class Witness:
    """An origin that reads with h11. What it has understood is in `seen`, in its order; a connection's end is None."""

    def __init__(self):
        self.seen = queue.Queue()
        self.origin = Origin(self.serve)
        self.address = self.origin.address

    def serve(self, sock):
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
        request, body = None, b""
        try:
            while True:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    if not (data := sock.recv(65536)):
                        break  # what is not whole has no effect
                    parser.receive_data(data)
                elif isinstance(event, h11.Request):
                    request, body = event, b""
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    fields = dict(request.headers)
                    self.seen.put((request.method.decode(), fields.get(b"host", b"").decode(), request.target.decode(), body))
                    sock.sendall(ANSWER)
                    if parser.states[h11.CLIENT] is not h11.DONE:
                        break
                    parser.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                    parser.send(h11.EndOfMessage())
                    parser.start_next_cycle()
                else:
                    break
        except h11.RemoteProtocolError as error:
            self.seen.put(str(error))
        finally:
            self.seen.put(None)


@pytest.fixture(scope="module")
def witness():
    made = Witness()
    yield made
    made.origin.close()


@pytest.fixture(scope="module")
def edge(tmp_path_factory, site_authority, witness):
    folder = tmp_path_factory.mktemp("smuggling")
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)
    site_authority.issue(folder / "site", "example.com", "DNS:example.com")
    plain = free_port()
    started = []
    made = Edge(started, folder, [edgelib.site("example.com", [folder / "site.crt"], [folder / "site.key"], [witness.address],
                                               protocol="http", origin_keep="0"),
                                  f'listen "127.0.0.1:{plain}" {{ plain = "example.com" }}'])
    made.plain = plain
    yield made
    for daemon in started:
        daemon.end()


def connect(edge, ca, tls):
    return edgelib.connect(edge.port, ca) if tls else socket.create_connection(("127.0.0.1", edge.plain), PATIENCE)


def answers(sock, count):
    """The statuses of `count` answers, or of fewer when the edge ends the connection."""
    parser, found = b"", []
    while len(found) < count:
        data = sock.recv(65536)
        if not data:
            break
        parser += data
        while match := re.match(rb"HTTP/1\.1 (\d+) .*?\r\n\r\n", parser, re.S):
            length = int((re.search(rb"(?i)content-length: (\d+)", match[0]) or [0, 0])[1])
            if len(parser) < match.end() + length:
                break
            parser = parser[match.end() + length:]
            if match[1] != b"100":
                found.append(int(match[1]))
    return found


def expected(verdicts):
    """(what reaches the origin, statuses) of a case's verdicts."""
    requests, replies = [], []
    for line in verdicts:
        words = line.split(" ")
        if line == "incomplete":
            break
        if words[0] in STATUS and len(words) == 1:
            replies.append(STATUS[words[0]])
            break
        method, host, target = words[:3]
        if host == "-":  # origins are asked by HTTP/1.1, which needs one
            replies.append(STATUS["HOST_MISSING"])
            break
        body = re.search(r" body:(.*?)(?: trailers=\d+)?$", line)
        size = re.search(r" body=(\d+)", line)
        requests.append((method, host, target, unescape(body[1]) if body else int(size[1]) if size else b""))
        replies.append(200)
    return requests, replies


def same(seen, wanted):
    return seen[:3] == wanted[:3] and (len(seen[3]) == wanted[3] if isinstance(wanted[3], int) else seen[3] == wanted[3])


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("message,verdicts", corpus())
def test_request(edge, witness, site_authority, tls, message, verdicts):
    requests, replies = expected(verdicts)
    with connect(edge, site_authority.certificate, tls) as sock:
        sock.settimeout(PATIENCE)
        sock.sendall(message)
        assert answers(sock, len(replies)) == replies
    seen = []
    for _ in requests:
        while (one := witness.seen.get(timeout=PATIENCE)) is None:
            pass
        seen.append(one)
    assert all(same(one, wanted) for one, wanted in zip(seen, requests)), (seen, requests)
    assert all(one is None for one in list(witness.seen.queue)), list(witness.seen.queue)


def test_nothing_more_reaches_the_origin(edge, witness, site_authority):
    """Not later either, than what has been seen to come."""
    with connect(edge, site_authority.certificate, True) as sock:
        sock.sendall(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert answers(sock, 1) == [200]
    while (one := witness.seen.get(timeout=PATIENCE)) is None:
        pass
    assert one == ("GET", "a", "/last", b"")
