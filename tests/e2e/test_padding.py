"""RSA key exchange through the real edge tells nobody whether a premaster was padded well (Bleichenbacher).

The client below speaks just enough of TLS 1.2 to send any block as its premaster, and then a Finished
that nobody can have encrypted right: what comes back must be the same, to the byte, for every block.
"""
import os
import socket
import struct

import pytest

import harness
import pair as pairs

HANDSHAKE, CHANGE_CIPHER_SPEC, ALERT = 22, 20, 21
SERVER_HELLO_DONE = 14
GOOD = b"\x00\x02" + b"\x55" * 205 + b"\x00\x03\x03" + b"p" * 46


def spoiled(at, value):
    block = bytearray(GOOD)
    block[at] = value
    return bytes(block)


# What a premaster can have wrong: RFC 8017, 7.2.2 and RFC 5246, 7.4.7.1.
BLOCKS = {
    "good": GOOD,
    "first byte": spoiled(0, 1),
    "block type": spoiled(1, 1),
    "zero in the first eight": spoiled(2, 0),
    "zero later": spoiled(100, 0),
    "premaster too long": spoiled(206, 0),
    "premaster too short": spoiled(207, 1)[:210] + b"\x00" + GOOD[211:],
    "no separator": spoiled(207, 1),
    "version": spoiled(209, 2),
    "version of another protocol": spoiled(208, 9),
    "premaster empty": b"\x00\x02" + b"\x55" * 253 + b"\x00",
    "all zero but one": bytes(255) + b"\x01",
}


def record(kind, body):
    return struct.pack(">BHH", kind, 0x0303, len(body)) + body


def client_hello(name):
    server_name = struct.pack(">HBH", len(name) + 3, 0, len(name)) + name
    extensions = struct.pack(">HH", 0, len(server_name)) + server_name
    extensions += bytes.fromhex("000d0006000408040401")  # signature_algorithms
    body = b"\x03\x03" + os.urandom(32) + b"\x00" + b"\x00\x02\x00\x9c" + b"\x01\x00"
    body += struct.pack(">H", len(extensions)) + extensions
    return record(HANDSHAKE, b"\x01" + struct.pack(">I", len(body))[1:] + body)


def read_record(stream):
    head = stream.read(5)
    if len(head) < 5:
        return None
    kind, _, size = struct.unpack(">BHH", head)
    return kind, stream.read(size)


def read_flight(stream):
    """Up to ServerHelloDone."""
    messages = b""
    while not messages.endswith(bytes([SERVER_HELLO_DONE, 0, 0, 0])):
        kind, body = read_record(stream)
        assert kind == HANDSHAKE, (kind, body)
        messages += body


def answer_to(port, ciphertext):
    """All that the edge says after a ClientKeyExchange with this ciphertext and a false Finished."""
    with socket.create_connection(("127.0.0.1", port), harness.PATIENCE) as sock, sock.makefile("rb") as stream:
        sock.sendall(client_hello(b"example.com"))
        read_flight(stream)
        exchange = struct.pack(">H", len(ciphertext)) + ciphertext
        sock.sendall(record(HANDSHAKE, b"\x10" + struct.pack(">I", len(exchange))[1:] + exchange)
                     + record(CHANGE_CIPHER_SPEC, b"\x01") + record(HANDSHAKE, bytes(40)))
        records = []
        while (one := read_record(stream)) is not None:
            records.append(one)
        return records


def encrypt(folder, certificate, block):
    (folder / "block").write_bytes(block)
    harness.run("openssl", "pkeyutl", "-encrypt", "-certin", "-inkey", certificate, "-in", folder / "block",
                "-out", folder / "ciphertext", "-pkeyopt", "rsa_padding_mode:none")
    return (folder / "ciphertext").read_bytes()


@pytest.mark.parametrize("mode", ["decrypt"])
def test_every_premaster_gets_the_same_alert(folder, authority, site_authority, daemons, mode):
    origin = pairs.Nginx(folder / "origin")
    try:
        pair = pairs.Pair(folder, authority, site_authority, origin.port, keys={"example.com": ["rsa2048"]},
                          policy="allow = {sign, decrypt}\n",
                          site_options=f"mode = {mode} rsa_key_exchange = on").start(daemons)
        certificate = folder / "keys1/keys/example.com.crt"
        answers = {}
        for name, block in BLOCKS.items():
            ciphertext = encrypt(folder, certificate, block)
            for _ in range(2):
                answers.setdefault(repr(answer_to(pair.port, ciphertext)), []).append(name)
        assert len(answers) == 1, answers
        (only,) = answers
        assert only == repr([(ALERT, b"\x02\x14")]), only  # fatal, bad_record_mac
    finally:
        origin.stop()
