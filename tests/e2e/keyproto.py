"""A client of the key protocol, both dialects, written from docs/wire-key.md alone.

It shares no code with Farkey's own and uses the standard library only. Tests speak through it to a key
server as an edge does, and as no edge would: wrong certificates, garbage, half frames.

    with Channel(("127.0.0.1", 2407), "edge.crt", "edge.key", "ca.crt") as channel:
        signature = channel.call(SIGN13, sign13(0x0804, SERVER, digest), ski=ski)
"""
import hashlib
import hmac
import itertools
import socket
import ssl
import struct
import time

# Opcodes.
RSA_DECRYPT, RSA_RAW = 0x01, 0x08
RSA_MD5SHA1, RSA_SHA1, RSA_SHA224, RSA_SHA256, RSA_SHA384, RSA_SHA512 = range(0x02, 0x08)
ECDSA_MD5SHA1, ECDSA_SHA1, ECDSA_SHA224, ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512 = range(0x12, 0x18)
ED25519 = 0x18
PSS_SHA256, PSS_SHA384, PSS_SHA512 = 0x35, 0x36, 0x37
INFO, SIGN13, SIGN12, DECRYPT, LEND = 0x40, 0x41, 0x42, 0x43, 0x44
AGREE_INIT, AGREE_FINISH, MASTER, KEYS, FINISHED, EXPOSE = 0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4E
KEYS_KEEP, RESUME = 0x4D, 0x4F
HS_OPEN, HS_DATA, HS_CLOSE = 0x50, 0x51, 0x52
HELLO13, FLIGHT13 = 0x53, 0x54
TICKET_SEAL, TICKET_UNSEAL, TICKET_KEYS = 0x58, 0x59, 0x5a
RESPONSE, PING, PONG, ERROR = 0xF0, 0xF1, 0xF2, 0xFF

# Roles of SIGN13, key exchanges of SIGN12.
SERVER, CLIENT = 1, 2
ECDHE, DHE = 1, 2

ERRORS = {
    0x01: "crypto", 0x02: "key not found", 0x03: "read", 0x04: "version", 0x05: "bad opcode",
    0x06: "unexpected opcode", 0x07: "format", 0x08: "internal", 0x09: "no certificate",
    0x0A: "expired", 0x0B: "remote configuration", 0x40: "not authorised", 0x41: "rate limited",
    0x42: "draining", 0x43: "replay", 0x44: "expired handle",
    0x48: "share missing", 0x49: "share wrong", 0x4A: "share repeated", 0x4B: "share foreign",
}

# Items, by the names that frame() and Answer use.
TAGS = {
    "digest": 0x01, "sni": 0x02, "client_ip": 0x03, "ski": 0x04, "server_ip": 0x05, "cert_id": 0x06,
    "opcode": 0x11, "payload": 0x12, "extra": 0x14, "padding": 0x20, "cert_hash": 0x41, "share": 0x42,
}
NAMES = {tag: name for name, tag in TAGS.items()}


class Refused(Exception):
    """The key server answered with an error."""

    def __init__(self, code):
        super().__init__(f"error {code:02x} ({ERRORS.get(code, 'unknown')})")
        self.code = code


class Malformed(Exception):
    """The key server sent what docs/wire-key.md does not allow."""


class Closed(Exception):
    """The key server closed the channel."""


# --- frames ---

def item(tag, data):
    return struct.pack(">BH", tag, len(data)) + data


def frame(ident, opcode, payload=None, padded=False, version=0x0100, **items):
    """A request's bytes. `items` by the names of TAGS; text is encoded."""
    body = item(TAGS["opcode"], bytes([opcode]))
    if payload is not None:
        body += item(TAGS["payload"], payload)
    for name, data in items.items():
        if data is not None:
            body += item(TAGS[name], data.encode() if isinstance(data, str) else data)
    if padded and 8 + len(body) + 3 <= 1024:
        body += item(TAGS["padding"], bytes(1024 - 8 - len(body) - 3))
    return raw_frame(ident, body, version)


def raw_frame(ident, body, version=0x0100):
    return struct.pack(">HHI", version, len(body), ident) + body


class Answer:
    """One frame as received."""

    def __init__(self, version, ident, body):
        self.version, self.ident, self.size = version, ident, 8 + len(body)
        self.items = {}
        while body:
            if len(body) < 3:
                raise Malformed("item header cut")
            tag, length = struct.unpack(">BH", body[:3])
            if len(body) < 3 + length:
                raise Malformed("item ends outside the body")
            name = NAMES.get(tag, tag)
            if tag in NAMES and name != "padding" and name in self.items:
                raise Malformed(f"item {tag:02x} twice")
            self.items[name] = body[3:3 + length]
            body = body[3 + length:]
        if version != 0x0100:
            raise Malformed(f"version {version:04x}")
        if len(self.items.get("opcode", b"")) != 1:
            raise Malformed("no opcode of one byte")
        self.opcode = self.items["opcode"][0]
        self.payload = self.items.get("payload")

    def result(self):
        """The payload of a response or pong; raises for an error."""
        if self.payload is None:
            raise Malformed("no payload")
        if self.opcode == ERROR:
            if len(self.payload) != 1:
                raise Malformed("error that is not one byte")
            raise Refused(self.payload[0])
        if self.opcode not in (RESPONSE, PONG):
            raise Malformed(f"opcode {self.opcode:02x} as an answer")
        return self.payload


# --- payloads of farkey/1, and what their answers mean ---

def vec8(data):
    return struct.pack(">B", len(data)) + data


def vec16(data):
    return struct.pack(">H", len(data)) + data


def sign13(scheme, role, transcript_hash):
    return struct.pack(">HB", scheme, role) + vec8(transcript_hash)


def sign13_message(role, transcript_hash):
    """What SIGN13 signs."""
    who = b"server" if role == SERVER else b"client"
    return b" " * 64 + b"TLS 1.3, " + who + b" CertificateVerify\x00" + transcript_hash


def ecdh_params(group, point):
    return struct.pack(">BH", 3, group) + vec8(point)


def dh_params(p, g, ys):
    return vec16(p) + vec16(g) + vec16(ys)


def sign12(scheme, kx, client_random, server_random, params):
    return struct.pack(">HB", scheme, kx) + client_random + server_random + vec16(params)


def decrypt(client_version, ciphertext):
    return struct.pack(">H", client_version) + vec16(ciphertext)


def lend(recipient, once, seconds):
    return recipient + once + struct.pack(">I", seconds)


class Lent:
    """A LEND answer; what is sealed stays sealed."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.seconds, self.permissions = reader.unpack(">IH")
        self.spki, self.sealed = reader.vec(2), reader.vec(2)
        reader.end()


# Groups of AGREE_INIT, and its forms.
SECP256R1, SECP384R1, X25519, FFDHE2048, FFDHE3072, FFDHE4096 = 0x17, 0x18, 0x1D, 0x100, 0x101, 0x102
KEPT, HANDED = 0, 1


def agree_init(scheme, group, client_random, server_random, form=KEPT):
    return struct.pack(">HHB", scheme, group, form) + client_random + server_random


class Made:
    """An AGREE_INIT answer; `share` is the server's point or Ys, `prime` DHE's."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.handle, self.params = reader.take(16), reader.vec(2)
        self.signature, self.private = reader.vec(2), reader.vec(2)
        reader.end()
        params = Reader(self.params)
        if params.data[0] == 3:
            self.group = int.from_bytes(params.take(3)[1:], "big")
            self.share, self.prime = params.vec(1), None
        else:
            self.prime, self.generator, self.share = params.vec(2), params.vec(2), params.vec(2)
        params.end()


def agree_finish(handle, share):
    return handle + vec16(share)


# Where MASTER's and KEYS' premaster secret comes from, and the PRF's hashes.
PRF_SHA256, PRF_SHA384 = 4, 5


def agreed(handle, share):
    return b"\1" + agree_finish(handle, share)


def server_random(seed):
    """Of RSA key exchange: it is made of a seed that only who makes the handshake has."""
    return hashlib.sha256(b"farkey server random" + seed).digest()


def by_rsa(client_version, ciphertext, seed):
    return b"\2" + decrypt(client_version, ciphertext) + seed


def derivation(prf, seed, ems):
    return bytes([prf, ems]) + vec8(seed)


def master(source, derived):
    return source + derived


def keys(source, derived, suite, client_random, server_random, finished_hash=b""):
    return source + derived + struct.pack(">H", suite) + client_random + server_random + vec8(finished_hash)


class Keys:
    """A KEYS answer."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.handle, self.key_block, self.verify_data = reader.take(16), reader.vec(1), reader.vec(1)
        reader.end()


class Exposed:
    """An EXPOSE answer; the request is that of KEYS, without a hash."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.key_block, self.master = reader.vec(1), reader.take(48)
        reader.end()


# Whose a session is that KEYS_KEEP seals.
OWN, SHARED = 0, 1


def keys_keep(asked, context, lifetime, scope=OWN):
    """`asked`: as of KEYS."""
    return bytes([scope]) + context + struct.pack(">I", lifetime) + asked


class Kept:
    """A KEYS_KEEP answer."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.sealed = reader.vec(1)
        self.keys = Keys(reader.data)


def resume(sealed, context, seed, client_random, random):
    """`random`: of the server, of that seed."""
    return vec8(sealed) + context + seed + client_random + random


class Resumed:
    """A RESUME answer."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.handle, self.key_block = reader.take(16), reader.vec(1)
        reader.end()


def hello13(group, suite, server_random, share, hello):
    return struct.pack(">HH", group, suite) + server_random + vec16(share) + vec16(hello)


def flight13(handle, scheme, transcript):
    return handle + struct.pack(">H", scheme) + vec16(transcript)


CLIENT_END, SERVER_END = 1, 2


def finished(handle, end, transcript_hash):
    return handle + bytes([end]) + vec8(transcript_hash)


def verify_data(number, secret, end, transcript_hash):
    label = b"client finished" if end == CLIENT_END else b"server finished"
    return prf(number, secret, label, transcript_hash, 12)


def prf(number, secret, label, seed, size):
    """TLS 1.2's PRF (RFC 5246 section 5)."""
    digest = "sha256" if number == PRF_SHA256 else "sha384"
    data, chain, seed = b"", label + seed, label + seed
    while len(data) < size:
        chain = hmac.digest(secret, chain, digest)
        data += hmac.digest(secret, chain + seed, digest)
    return data[:size]


def master_secret(number, premaster, seed, ems):
    return prf(number, premaster, b"extended master secret" if ems else b"master secret", seed, 48)


def info(cursor=0):
    return struct.pack(">I", cursor)


# Options of HS_OPEN, states of its answer.
ECDHE_KX, DHE_KX, RSA_KX, IDS = 1, 2, 4, 8
ANY, FLIGHT, DONE, FAILED = 1, 2, 3, 4


def hs_open(name, records, versions=3, options=ECDHE_KX, tickets=1, lifetime=3600, groups=b"", alpn=b"", client=0, cas=(),
            title=""):
    return (struct.pack(">BBBI", versions, options, tickets, lifetime) + vec8(groups) + vec16(alpn)
            + bytes([client]) + vec16(b"".join(map(vec16, cas))) + vec8(title.encode()) + vec8(name.encode()) + vec16(records))


def hs_data(handshake, records):
    return handshake + vec16(records)


class Handshake:
    """An answer to HS_OPEN or HS_DATA."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.state, = reader.unpack(">B")
        self.id, self.records = reader.take(16), reader.vec(2)
        if self.state == DONE:
            self.resumed, self.rest = reader.unpack(">BH")
            self.alpn, self.keys, self.chain = reader.vec(1), reader.vec(2), reader.vec(2)
        elif self.state == FAILED:
            self.cause, self.alert = reader.unpack(">BB")
            self.reason = reader.vec(1).decode()
        elif self.state not in (ANY, FLIGHT):
            raise Malformed(f"state {self.state}")
        reader.end()


def ticket_seal(count, mode, owner):
    return bytes([count, mode]) + owner


def ticket_unseal(name, mode, owner):
    return name + bytes([mode]) + owner


class SingleTickets:
    """A TICKET_SEAL answer: tickets are (name, AES key, MAC key)."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.life, count = reader.unpack(">IB")
        self.tickets = [(reader.take(16), reader.take(32), reader.take(32)) for _ in range(count)]
        reader.end()


class UnsealedTicket:
    """A TICKET_UNSEAL answer."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.renew, = reader.unpack(">B")
        self.keys = reader.take(32), reader.take(32)
        reader.end()


class TicketKeys:
    """A TICKET_KEYS answer: keys are (id, secret, seals in, ends in)."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.refresh, count = reader.unpack(">IB")
        self.keys = [(reader.take(16), reader.take(32), *reader.unpack(">II")) for _ in range(count)]
        reader.end()


class Page:
    """An INFO answer."""

    def __init__(self, payload):
        reader = Reader(payload)
        self.generation, self.capabilities, self.next_cursor = reader.unpack(">QII")
        keys, self.keys = Reader(reader.vec(2)), []
        reader.end()
        while keys.left():
            key = {"ski": keys.take(20)}
            key["type"], key["permissions"] = keys.unpack(">BH")
            key["name"] = keys.vec(1).decode()
            chain, key["chain"] = Reader(keys.vec(2)), []
            while chain.left():
                key["chain"].append(chain.vec(2))
            self.keys.append(key)


class Reader:
    def __init__(self, data):
        self.data = data

    def left(self):
        return len(self.data)

    def take(self, count):
        if len(self.data) < count:
            raise Malformed("truncated")
        data, self.data = self.data[:count], self.data[count:]
        return data

    def unpack(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def vec(self, size):
        return self.take(int.from_bytes(self.take(size), "big"))

    def end(self):
        if self.data:
            raise Malformed("trailing bytes")


# --- names of keys, from a certificate in DER or a public key's SubjectPublicKeyInfo ---

def der(data):
    """The first DER value: tag, contents, rest."""
    tag, length, at = data[0], data[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(data[2:at], "big")
    return tag, data[at:at + length], data[at + length:]


def spki_of(certificate):
    """The SubjectPublicKeyInfo of a certificate in DER."""
    fields = der(der(certificate)[1])[1]  # of the TBSCertificate
    if der(fields)[0] == 0xA0:  # version
        fields = der(fields)[2]
    for _ in range(5):  # serial, signature, issuer, validity, subject
        fields = der(fields)[2]
    return fields[:len(fields) - len(der(fields)[2])]


def key_bits(spki):
    algorithm_and_key = der(spki)[1]
    tag, bits, _ = der(der(algorithm_and_key)[2])
    if tag != 0x03 or bits[0] != 0:
        raise ValueError("no BIT STRING of whole bytes")
    return bits[1:]


def ski_of(spki):
    return hashlib.sha1(key_bits(spki)).digest()


def digest_of(spki):
    """Dialect 1's digest of an RSA or EC key."""
    bits = key_bits(spki)
    if bits[0] == 0x30:  # RSAPublicKey: modulus first
        text = f"{int.from_bytes(der(der(bits)[1])[1], 'big'):X}"
    elif bits[0] == 0x04:
        half = (len(bits) - 1) // 2
        text = (bytes([2 + (bits[-1] & 1)]) + bits[1:1 + half]).hex().upper()
    else:
        text = bits.hex().upper()
    return hashlib.sha256(text.encode()).digest()


# --- a channel ---

class Channel:
    """A connection to a key server. `alpn` None speaks dialect 1.

    `identity`: the URI that the server's certificate must have, None: any that the CA signed.
    """

    def __init__(self, address, certificate=None, key=None, ca=None, alpn="farkey/1", identity=None,
                 timeout=10, minimum=None, maximum=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # roles are URIs, checked below
        if ca is None:
            context.verify_mode = ssl.CERT_NONE
        else:
            context.load_verify_locations(ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        if alpn is not None:
            context.set_alpn_protocols([alpn])
        if minimum is not None:
            context.minimum_version = minimum
        if maximum is not None:
            context.maximum_version = maximum
        self.dialect = 1 if alpn is None else 2
        self.timeout = timeout
        self.buffer = b""
        self.waiting = {}  # answers that were read before they were asked for
        self.idents = itertools.count(1)
        raw = socket.create_connection(address, timeout=timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket = context.wrap_socket(raw)
        except BaseException:
            raw.close()
            raise
        try:
            self.check_peer(alpn, identity)
        except BaseException:
            self.close()
            raise

    def check_peer(self, alpn, identity):
        # One that does not want the dialect closes, or goes on without ALPN.
        if alpn is not None and self.socket.selected_alpn_protocol() != alpn:
            raise Malformed(f"ALPN {self.socket.selected_alpn_protocol()} instead of {alpn}")
        if identity is not None:
            names = (self.socket.getpeercert() or {}).get("subjectAltName", ())
            if [value for kind, value in names if kind == "URI"] != [identity]:
                raise Malformed(f"the server is {names}, not {identity}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # Sending.

    def send_raw(self, data):
        """Bytes as they are: garbage, half frames, many frames at once."""
        self.socket.sendall(data)

    def request(self, opcode, payload=None, ident=None, **items):
        """A request's id and bytes, padded as the dialect does."""
        ident = next(self.idents) if ident is None else ident
        items.setdefault("padded", self.dialect == 1)
        return ident, frame(ident, opcode, payload, **items)

    def send(self, opcode, payload=None, **items):
        """Send a request; its id, for receive()."""
        ident, data = self.request(opcode, payload, **items)
        self.send_raw(data)
        return ident

    # Receiving.

    def receive_any(self, timeout=None):
        """The next frame, whatever its id. Closed, TimeoutError."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if len(self.buffer) >= 8:
                version, length, ident = struct.unpack(">HHI", self.buffer[:8])
                if len(self.buffer) >= 8 + length:
                    body, self.buffer = self.buffer[8:8 + length], self.buffer[8 + length:]
                    return Answer(version, ident, body)
            self.fill(deadline)

    def fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer from the key server")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(65536)
        except socket.timeout:  # not TimeoutError's alias before Python 3.10
            raise TimeoutError("no answer from the key server") from None
        except (ssl.SSLError, ConnectionError) as error:
            raise Closed(str(error)) from error
        finally:
            if self.socket.fileno() >= 0:
                self.socket.settimeout(self.timeout)
        if not data:
            raise Closed("end of the channel")
        self.buffer += data

    def receive(self, ident, timeout=None):
        """The answer to request `ident`; others are kept for their own receive()."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while ident not in self.waiting:
            answer = self.receive_any(max(0, deadline - time.monotonic()))
            if answer.ident in self.waiting:
                raise Malformed(f"two answers to {answer.ident}")
            self.waiting[answer.ident] = answer
        return self.waiting.pop(ident)

    def wait_closed(self, timeout=None):
        """Read until the server closes; the frames that came before. TimeoutError."""
        answers = []
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            try:
                answers.append(self.receive_any(max(0, deadline - time.monotonic())))
            except Closed:
                return answers

    # Both.

    def call(self, opcode, payload=None, timeout=None, **items):
        """Ask and wait: the result's bytes, or Refused."""
        return self.receive(self.send(opcode, payload, **items), timeout).result()

    def ping(self, data=b""):
        return self.call(PING, data)

    def generation(self):
        """farkey/1's generation, by a ping."""
        (number,) = struct.unpack(">Q", self.ping())
        return number

    def sign13(self, scheme, transcript_hash, role=SERVER, **items):
        return self.call(SIGN13, sign13(scheme, role, transcript_hash), **items)

    def sign12(self, scheme, kx, client_random, server_random, params, **items):
        return self.call(SIGN12, sign12(scheme, kx, client_random, server_random, params), **items)

    def decrypt(self, ciphertext, client_version=0x0303, **items):
        return self.call(DECRYPT, decrypt(client_version, ciphertext), **items)

    def keys(self):
        """All keys that INFO lists, page by page, and the generation."""
        while True:
            keys, cursor, generation = [], 0, None
            while True:
                page = Page(self.call(INFO, info(cursor)))
                if generation not in (None, page.generation):
                    break  # the keys changed: begin again
                generation, cursor = page.generation, page.next_cursor
                keys += page.keys
                if cursor == 0:
                    return keys, generation
