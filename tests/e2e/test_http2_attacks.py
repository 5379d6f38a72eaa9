"""What HTTP/2 can say and HTTP/1.1 cannot, or says otherwise: requests that a careless edge would pass to its origin as
other ones. Each row: what is sent, and the expected verdict."""
import re

import pytest

import edgelib
import h2raw
from edgelib import Edge
from web import Strict

M, S, A, P = (":method", "GET"), (":scheme", "https"), (":authority", "example.com"), (":path", "/")
POST = (":method", "POST")
GET = [M, S, A, P]
RESET = "PROTOCOL_ERROR"


def get(*more):
    return [*GET, *more]


def to(path):
    return [M, S, A, (":path", path)]


def by(method):
    return [(":method", method), S, A, P]


def at(authority, *more):
    return [M, S, (":authority", authority), P, *more]


def post(*more):
    return [POST, S, A, P, *more]


# (what, fields, verdict): a status of the edge, the error of a reset, or for those that pass the request line and some of
# the fields that the origin must get
HEADS = [
    # lengths and codings
    ("transfer-encoding", get(("transfer-encoding", "chunked")), RESET),
    ("transfer-encoding in capitals", get(("Transfer-Encoding", "chunked")), RESET),
    ("transfer-encoding with a space", get(("transfer-encoding ", "chunked")), RESET),
    ("transfer-encoding: identity", get(("transfer-encoding", "identity")), RESET),
    ("a length without body", get(("content-length", "5")), RESET),
    ("length 0 without body", get(("content-length", "0")), "GET / HTTP/1.1"),
    ("two equal lengths", get(("content-length", "0"), ("content-length", "0")), RESET),
    ("a list of lengths", get(("content-length", "0, 0")), RESET),
    ("a signed length", get(("content-length", "+0")), RESET),
    ("a negative length", get(("content-length", "-1")), RESET),
    ("a hexadecimal length", get(("content-length", "0x0")), RESET),
    ("an endless length", get(("content-length", "99999999999999999999")), RESET),
    ("a length with a space", get(("content-length", "0 ")), RESET),
    # values
    ("CRLF in a value", get(("x", "a\r\nx-evil: 1")), RESET),
    ("CRLF CRLF and a request in a value", get(("x", "a\r\n\r\nGET /evil HTTP/1.1\r\nhost: a")), RESET),
    ("LF in a value", get(("x", "a\nx-evil: 1")), RESET),
    ("CR in a value", get(("x", "a\rb")), RESET),
    ("NUL in a value", get(("x", "a\0b")), RESET),
    ("DEL in a value", get(("x", "a\x7fb")), RESET),
    ("a space before a value", get(("x", " a")), RESET),
    ("a tab behind a value", get(("x", "a\t")), RESET),
    ("CRLF in a cookie", get(("cookie", "a=1\r\nx-evil: 1")), RESET),
    ("bytes that are no ASCII in a value", get(("x", "caf\xe9")), "x: caf\xe9"),
    # names
    ("capitals in a name", get(("X-Upper", "a")), RESET),
    ("CRLF in a name", get(("x\r\nx-evil", "a")), RESET),
    ("a colon in a name", get(("x:y", "a")), RESET),
    ("a header within a name", get(("transfer-encoding: chunked\r\nx", "a")), RESET),
    ("a space in a name", get(("x y", "a")), RESET),
    ("NUL in a name", get(("x\0", "a")), RESET),
    ("no name", get(("", "a")), RESET),
    ("a name that is no ASCII", get(("caf\xe9", "a")), RESET),
    # fields of a connection
    ("connection", get(("connection", "close")), RESET),
    ("connection that names a field", get(("connection", "client-cert"), ("client-cert", "x")), RESET),
    ("keep-alive", get(("keep-alive", "timeout=5")), RESET),
    ("proxy-connection", get(("proxy-connection", "keep-alive")), RESET),
    ("upgrade to websocket", get(("upgrade", "websocket")), RESET),
    ("upgrade to h2c", get(("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA")), RESET),
    ("te that is not trailers", get(("te", "gzip")), RESET),
    ("te with more than trailers", get(("te", "trailers, gzip")), RESET),
    ("te", get(("te", "trailers")), "TE: trailers"),
    # whom it is for
    ("host that differs", get(("host", "evil.example")), 400),
    ("host with another port", get(("host", "example.com:80")), 400),
    ("host that is the same", get(("host", "EXAMPLE.com:443")), "Host: example.com"),
    ("host alone", [M, S, P, ("host", "example.com")], "Host: example.com"),
    ("two hosts", [M, S, P, ("host", "example.com"), ("host", "example.com")], RESET),
    ("nobody", [M, S, P], RESET),
    ("an empty authority", at(""), RESET),
    ("an empty authority and a host", at("", ("host", "example.com")), RESET),
    ("two authorities", [M, S, A, A, P], RESET),
    ("a user", at("admin@example.com"), 400),
    ("a path in the authority", at("example.com/x"), RESET),
    ("a request in the authority", at("example.com\r\nx-evil: 1"), RESET),
    ("a space in the authority", at("example.com evil"), RESET),
    ("a comma in the authority", at("example.com,evil"), 400),
    ("a port that is none", at("example.com:99999"), 400),
    # what for
    ("a space in the path", to("/ HTTP/1.1"), RESET),
    ("a request in the path", to("/ HTTP/1.1\r\nhost: evil\r\n\r\nGET /evil"), RESET),
    ("LF in the path", to("/\nx-evil: 1"), RESET),
    ("NUL in the path", to("/\0"), RESET),
    ("an escaped NUL in the path", to("/%00"), 400),
    ("half an escape in the path", to("/%2"), 400),
    ("a path that is no ASCII", to("/caf\xe9"), 400),
    ("a fragment", to("/#x"), 400),
    ("no path", to(""), RESET),
    ("a relative path", to("x"), RESET),
    ("an absolute path", to("http://evil.example/"), RESET),
    ("the asterisk", to("*"), RESET),
    ("two paths", [M, S, A, P, P], RESET),
    ("path missing", [M, S, A], RESET),
    ("a path that looks like an authority", to("//evil.example/"), "GET //evil.example/ HTTP/1.1"),
    ("an escaped request in the path", to("/%20HTTP/1.1%0d%0aHost:%20evil"), "GET /%20HTTP/1.1%0d%0aHost:%20evil HTTP/1.1"),
    # by what method
    ("a request as the method", by("GET /evil HTTP/1.1\r\nhost: a\r\n\r\nGET"), RESET),
    ("a space in the method", by("GET /evil"), RESET),
    ("no method", by(""), RESET),
    ("method missing", [S, A, P], RESET),
    ("two methods", [M, M, S, A, P], RESET),
    ("a method that nobody knows", by("GETS"), 501),
    ("a method in small letters", by("get"), 501),
    ("CONNECT", [(":method", "CONNECT"), (":authority", "example.com:443")], 501),
    ("CONNECT with a path", by("CONNECT"), RESET),
    ("CONNECT for websockets", [(":method", "CONNECT"), (":protocol", "websocket"), S, A, P], RESET),
    # over what
    ("another scheme", [M, (":scheme", "ftp"), A, P], 400),
    ("a request in the scheme", [M, (":scheme", "https://evil/ HTTP/1.1\r\nx: "), A, P], RESET),
    ("no scheme", [M, A, P], RESET),
    ("two schemes", [M, S, S, A, P], RESET),
    # pseudo-header fields
    ("an unknown one", [*GET, (":evil", "x")], RESET),
    ("one of answers", [*GET, (":status", "200")], RESET),
    ("one behind a field", [M, S, A, ("x", "a"), P], RESET),
    ("expectations", get(("expect", "200-maybe")), 417),
    # size
    ("many fields", get(*((f"x-{i}", "a") for i in range(200))), 431),
    ("large fields", get(*((f"x-{i}", 2000 * "a") for i in range(30))), 431),
]

BODIES = [
    ("a body of its length", post(("content-length", "5")), [b"12", b"345"], None, b"12345"),
    ("a body without length", post(), [b"12", b"345"], None, b"12345"),
    ("a request as a body", post(), [b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"], None,
     b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a request as a body of its length", post(("content-length", "33")), [b"GET /evil HTTP/1.1\r\nHost: aaa\r\n\r\n"], None,
     b"GET /evil HTTP/1.1\r\nHost: aaa\r\n\r\n"),
    ("a body of GET", get(), [b"GET /evil HTTP/1.1\r\n\r\n"], None, b"GET /evil HTTP/1.1\r\n\r\n"),
    ("a body that is too long", post(("content-length", "3")), [b"12345"], None, RESET),
    ("a body that is too short", post(("content-length", "5")), [b"123"], None, RESET),
    ("more than nothing", post(("content-length", "0")), [b"1"], None, RESET),
    ("trailers", post(), [b"1"], [("digest", "x")], b"1"),
    ("trailers with a length", post(), [b"1"], [("content-length", "1")], RESET),
    ("trailers with a coding", post(), [b"1"], [("transfer-encoding", "chunked")], RESET),
    ("trailers with a host", post(), [b"1"], [("host", "evil")], RESET),
    ("trailers with a pseudo-header field", post(), [b"1"], [(":path", "/evil")], RESET),
    ("trailers with CRLF", post(), [b"1"], [("x", "a\r\n\r\nGET /evil HTTP/1.1")], RESET),
    ("trailers in capitals", post(), [b"1"], [("Digest", "x")], RESET),
]


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacks")
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256")
    return folder


@pytest.fixture
def origin():
    made = Strict()
    yield made
    made.origin.close()


@pytest.fixture
def edge(daemons, folder, pki, origin):
    return Edge(daemons, folder, [edgelib.site("example.com", [pki / "p256.crt"], [pki / "p256.key"], [origin.address],
                                               protocol="http", alpn='{"h2"}')])


def verdict(answer):
    return answer if isinstance(answer, str) else answer[0]


def passed(client, origin, known):
    """What a good request on the same connection shows: it is the next one that the origin gets."""
    assert verdict(client.answer(client.ask(to("/probe")))) == 200
    assert [head.split()[1] for head, _ in origin.requests[known:]] == ["/probe"]


def test_heads(edge, ca, origin):
    wrong = []
    for what, fields, expected in HEADS:
        known = len(origin.requests)
        with h2raw.Client(edge.port, ca) as client:
            got = verdict(client.answer(client.ask(fields)))
            new = origin.requests[known:]
            if isinstance(expected, int) or expected == RESET:
                if got != expected or new:
                    wrong.append((what, expected, got, new))
            elif got != 200 or len(new) != 1 or expected not in new[0][0].split("\r\n"):
                wrong.append((what, expected, got, new))
            passed(client, origin, len(origin.requests))
    assert not wrong
    assert len(HEADS) + len(BODIES) >= 100
    assert not origin.bad


def test_bodies(edge, ca, origin):
    wrong = []
    for what, fields, pieces, trailers, expected in BODIES:
        known = len(origin.requests)
        with h2raw.Client(edge.port, ca) as client:
            got = verdict(client.answer(client.ask(fields, *pieces, trailers=trailers)))
            new = origin.requests[known:]
            if expected == RESET:
                if got != RESET or new:
                    wrong.append((what, expected, got, new))
            elif got != 200 or [body for _, body in new] != [expected]:
                wrong.append((what, expected, got, new))
            passed(client, origin, len(origin.requests))
    assert not wrong
    assert not re.search("evil", "".join(head for head, _ in origin.requests))
