"""HTTP/2 by hand, for what no honest client sends: frames and fields go out as they are written."""
import struct

import hpack

import edgelib

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS = 1, 4
ERRORS = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
          "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"]

GET = [(":method", "GET"), (":scheme", "https"), (":authority", "example.com"), (":path", "/")]


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def octets(value):
    return value if isinstance(value, bytes) else value.encode("latin-1")


def number(value):
    """An integer with a prefix of seven bits (RFC 7541 section 5.1)."""
    if value < 127:
        return bytes([value])
    value, out = value - 127, b"\x7f"
    while value >= 128:
        out, value = out + bytes([value % 128 + 128]), value // 128
    return out + bytes([value])


def block(fields):
    """Literal fields without indexing: each byte as it is."""
    return b"".join(b"\0" + b"".join(number(len(octets(part))) + octets(part) for part in field) for field in fields)


class Client:
    """One connection; `ask` takes odd stream ids in turn."""

    def __init__(self, port, ca, ctx=None, session=None):
        self.ctx = ctx or edgelib.context(ca)
        self.ctx.set_alpn_protocols(["h2"])
        self.sock = edgelib.connect(port, ca, ctx=self.ctx, session=session)
        assert self.sock.selected_alpn_protocol() == "h2"
        self.decoder = hpack.Decoder()
        self.unread = b""
        self.stream = -1
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def ask(self, fields, *pieces, trailers=None):
        """Send a request in frames; its stream."""
        self.send(self.frames(fields, *pieces, trailers=trailers))
        return self.stream

    def frames(self, fields, *pieces, trailers=None):
        """A request, as the connection's next stream."""
        self.stream += 2
        head = block(fields)
        last = not pieces and trailers is None
        first, rest = head[:16384], head[16384:]
        out = frame(HEADERS, (END_STREAM if last else 0) | (0 if rest else END_HEADERS), self.stream, first)
        while rest:
            part, rest = rest[:16384], rest[16384:]
            out += frame(CONTINUATION, 0 if rest else END_HEADERS, self.stream, part)
        for i, piece in enumerate(pieces):
            out += frame(DATA, END_STREAM if i == len(pieces) - 1 and trailers is None else 0, self.stream, piece)
        if trailers is not None:
            out += frame(HEADERS, END_STREAM | END_HEADERS, self.stream, block(trailers))
        return out

    def read(self):
        """(kind, flags, stream, payload); None at the end."""
        while len(self.unread) < 9 or len(self.unread) < 9 + int.from_bytes(self.unread[:3], "big"):
            data = self.sock.recv(65536)
            if not data:
                return None
            self.unread += data
        size = int.from_bytes(self.unread[:3], "big")
        kind, flags, stream = self.unread[3], self.unread[4], int.from_bytes(self.unread[5:9], "big")
        payload, self.unread = self.unread[9:9 + size], self.unread[9 + size:]
        return kind, flags, stream, payload

    def answer(self, stream):
        """Of a stream: (status, fields, body) when it is whole, the name of its reset's error, or that of a GOAWAY."""
        status, fields, body = None, [], b""
        while (got := self.read()) is not None:
            kind, flags, where, payload = got
            if kind == GOAWAY:
                return "GOAWAY " + ERRORS[int.from_bytes(payload[4:8], "big")]
            if kind == HEADERS:
                decoded = self.decoder.decode(payload)
            if where != stream:
                continue
            if kind == HEADERS:
                fields += decoded
                status = status or int(dict(decoded)[":status"])
                status = None if status < 200 else status
            elif kind == DATA:
                body += payload
            elif kind == RST_STREAM and status is None:
                return ERRORS[int.from_bytes(payload, "big")]
            elif kind == RST_STREAM:
                return status, fields, body
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                return status, fields, body
        return "closed"
