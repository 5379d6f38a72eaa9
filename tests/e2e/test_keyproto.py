"""The independent client against the vectors: both must agree before either judges a key server."""
import pathlib
import re
import socket
import ssl
import subprocess
import threading

import pytest

import keyproto

VECTORS = pathlib.Path(__file__).resolve().parents[1] / "vectors"
ITEMS = ("digest", "sni", "client_ip", "ski", "server_ip", "cert_id", "extra", "cert_hash", "share")


def unhex(text):
    data = b""
    for part in text.split("+"):
        digits, _, times = part.partition("*")
        data += b"" if part == "-" else bytes.fromhex(digits) * int(times or 1)
    return data


def vectors(file):
    for line in (VECTORS / file).read_text().splitlines():
        if line and not line.startswith("#"):
            name, data, *fields = line.split()
            yield pytest.param(unhex(data), dict(field.split("=", 1) for field in fields), id=name)


@pytest.mark.parametrize("data, fields", [*vectors("dialect1.txt"), *vectors("farkey1.txt")])
def test_frame_vectors(data, fields):
    version, length, ident = int.from_bytes(data[:2], "big"), data[2:4], int.from_bytes(data[4:8], "big")
    assert int.from_bytes(length, "big") == len(data) - 8
    if fields.get("error") == "DUPLICATE" or fields.get("error") == "TRUNCATED" or "version" in fields:
        with pytest.raises(keyproto.Malformed):
            keyproto.Answer(version, ident, data[8:])
        return
    if "error" in fields:
        return  # sizes of items that answers do not have
    answer = keyproto.Answer(version, ident, data[8:])
    assert answer.ident == int(fields["id"], 16) and answer.opcode == int(fields["opcode"], 16)
    assert answer.payload == (unhex(fields["payload"]) if "payload" in fields else None)
    for name in ITEMS:
        assert answer.items.get(name) == (unhex(fields[name]) if name in fields else None)
    if "encode" not in fields:
        items = {name: unhex(fields[name]) for name in sorted(ITEMS, key=keyproto.TAGS.get) if name in fields}
        assert keyproto.frame(answer.ident, answer.opcode, answer.payload, padded="pad" in fields,
                              **items) == data


@pytest.mark.parametrize("data, fields", [v for file in ("keyop.txt", "lend.txt") for v in vectors(file)
                                          if "error" not in v.values[1]])
def test_payload_vectors(data, fields):
    def number(name):
        return int(fields[name], 16)

    if fields["op"] == "sign13":
        digest = unhex(fields["hash"])
        assert keyproto.sign13(number("scheme"), number("role"), digest) == data
        assert keyproto.sign13_message(number("role"), digest) == unhex(fields["tbs"])
    elif fields["op"] == "sign12":
        params = unhex(fields["params"])
        if number("kx") == keyproto.ECDHE:
            assert keyproto.ecdh_params(number("group"), unhex(fields["point"])) == params
        assert keyproto.sign12(number("scheme"), number("kx"), unhex(fields["client_random"]),
                               unhex(fields["server_random"]), params) == data
    elif fields["op"] == "decrypt":
        assert keyproto.decrypt(number("client_version"), unhex(fields["ciphertext"])) == data
    elif fields["op"] == "lend":
        assert keyproto.lend(unhex(fields["recipient"]), unhex(fields["once"]), number("seconds")) == data
    elif fields["op"] == "answer":
        lent = keyproto.Lent(data)
        assert (lent.seconds, lent.permissions) == (number("seconds"), number("permissions"))
        assert (lent.spki, lent.sealed) == (unhex(fields["spki"]), unhex(fields["sealed"]))
    elif fields["op"] == "info_request":
        assert keyproto.info(number("cursor")) == data
    elif fields["op"] == "info":
        page = keyproto.Page(data)
        assert page.generation == number("generation") and page.next_cursor == number("next_cursor")
        assert page.capabilities == number("capabilities") and len(page.keys) == number("count")
        for i, key in enumerate(page.keys):
            assert key["ski"] == unhex(fields[f"ski{i}"]) and key["type"] == number(f"type{i}")
            assert key["name"].encode() == unhex(fields[f"name{i}"])
            assert b"".join(map(keyproto.vec16, key["chain"])) == unhex(fields[f"chain{i}"])
    elif fields["op"] == "ticket_keys":
        answer = keyproto.TicketKeys(data)
        assert answer.refresh == number("refresh") and len(answer.keys) == number("count")
        for i, key in enumerate(answer.keys):
            assert key == (unhex(fields[f"id{i}"]), unhex(fields[f"secret{i}"]), number(f"seals{i}"), number(f"ends{i}"))
    elif fields["op"] == "ticket_seal":
        assert keyproto.ticket_seal(number("count"), number("mode"), unhex(fields["owner"])) == data
    elif fields["op"] == "ticket_singles":
        answer = keyproto.SingleTickets(data)
        assert answer.life == number("life") and len(answer.tickets) == number("count")
        for i, ticket in enumerate(answer.tickets):
            assert ticket == tuple(unhex(fields[f"{part}{i}"]) for part in ("name", "aes", "mac"))
    elif fields["op"] == "ticket_unseal":
        assert keyproto.ticket_unseal(unhex(fields["name"]), number("mode"), unhex(fields["owner"])) == data
    elif fields["op"] == "ticket_unsealed":
        answer = keyproto.UnsealedTicket(data)
        assert answer.renew == number("renew") and answer.keys == (unhex(fields["aes"]), unhex(fields["mac"]))
    else:
        assert fields["op"] == "pong" and int.from_bytes(data, "big") == number("generation")


def source(fields):
    if fields["kind"] == "1":
        return keyproto.agreed(unhex(fields["handle"]), unhex(fields["share"]))
    return keyproto.by_rsa(int(fields["client_version"], 16), unhex(fields["ciphertext"]),
                           unhex(fields["random_seed"]))


def derivation(fields):
    return keyproto.derivation(int(fields["prf"], 16), unhex(fields["seed"]), int(fields["ems"]))


@pytest.mark.parametrize("data, fields", [v for v in vectors("agree.txt") if "error" not in v.values[1]])
def test_agree_vectors(data, fields):
    def number(name):
        return int(fields[name], 16)

    if fields["op"] == "init":
        assert keyproto.agree_init(number("scheme"), number("group"), unhex(fields["client_random"]),
                                   unhex(fields["server_random"]), number("form")) == data
    elif fields["op"] == "made":
        made = keyproto.Made(data)
        assert (made.handle, made.params) == (unhex(fields["handle"]), unhex(fields["params"]))
        assert (made.signature, made.private) == (unhex(fields["signature"]), unhex(fields["private"]))
        assert made.prime is not None if number("group") >= 0x100 else made.group == number("group")
    elif fields["op"] == "finish":
        assert keyproto.agree_finish(unhex(fields["handle"]), unhex(fields["share"])) == data
    elif fields["op"] == "master":
        assert keyproto.master(source(fields), derivation(fields)) == data
    elif fields["op"] == "keys":
        assert keyproto.keys(source(fields), derivation(fields), number("suite"), unhex(fields["client_random"]),
                             unhex(fields["server_random"]), unhex(fields["finished_hash"])) == data
    elif fields["op"] == "keys_answer":
        answer = keyproto.Keys(data)
        assert (answer.handle, answer.key_block) == (unhex(fields["handle"]), unhex(fields["key_block"]))
        assert answer.verify_data == unhex(fields["verify_data"])
    elif fields["op"] == "exposed_answer":
        answer = keyproto.Exposed(data)
        assert (answer.key_block, answer.master) == (unhex(fields["key_block"]), unhex(fields["master"]))
    elif fields["op"] == "keep":
        asked = keyproto.keys(source(fields), derivation(fields), number("suite"), unhex(fields["client_random"]),
                              unhex(fields["server_random"]), unhex(fields["finished_hash"]))
        assert keyproto.keys_keep(asked, unhex(fields["context"]), number("lifetime"), number("scope")) == data
    elif fields["op"] == "keep_answer":
        answer = keyproto.Kept(data)
        assert (answer.sealed, answer.keys.handle) == (unhex(fields["sealed"]), unhex(fields["handle"]))
        assert answer.keys.key_block == unhex(fields["key_block"])
        assert answer.keys.verify_data == unhex(fields["verify_data"])
    elif fields["op"] == "resume":
        assert keyproto.resume(unhex(fields["sealed"]), unhex(fields["context"]), unhex(fields["random_seed"]),
                               unhex(fields["client_random"]), unhex(fields["server_random"])) == data
    elif fields["op"] == "resume_answer":
        answer = keyproto.Resumed(data)
        assert (answer.handle, answer.key_block) == (unhex(fields["handle"]), unhex(fields["key_block"]))
    else:
        assert fields["op"] == "finished"
        assert keyproto.finished(unhex(fields["handle"]), number("end"), unhex(fields["hash"])) == data


def openssl(*words, **options):
    return subprocess.run(["openssl", *words], check=True, capture_output=True, **options).stdout


@pytest.mark.parametrize("kind", ["rsa", "p256", "ed25519"])
def test_names_of_keys(tmp_path, kind):
    options = {"rsa": ("RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
               "p256": ("EC", "-pkeyopt", "ec_paramgen_curve:P-256"), "ed25519": ("ED25519",)}[kind]
    key, certificate = tmp_path / "k", tmp_path / "c"
    openssl("genpkey", "-algorithm", *options, "-out", str(key))
    openssl("req", "-x509", "-key", str(key), "-subj", "/CN=x", "-out", str(certificate),
            "-addext", "subjectKeyIdentifier=hash")
    spki = openssl("pkey", "-in", str(key), "-pubout", "-outform", "DER")
    assert keyproto.spki_of(ssl.PEM_cert_to_DER_cert(certificate.read_text())) == spki
    text = openssl("x509", "-in", str(certificate), "-noout", "-ext", "subjectKeyIdentifier").decode()
    assert keyproto.ski_of(spki).hex().upper() == re.search(r"[0-9A-F:]{59}", text)[0].replace(":", "")
    if kind == "rsa":
        line = openssl("rsa", "-in", str(key), "-noout", "-modulus").strip().partition(b"=")[2]
        assert keyproto.digest_of(spki) == keyproto.hashlib.sha256(line).digest()
    if kind == "p256":
        short = openssl("ec", "-in", str(key), "-pubout", "-conv_form", "compressed", "-outform", "DER")
        line = short[-33:].hex().upper().encode()
        assert keyproto.digest_of(spki) == keyproto.hashlib.sha256(line).digest()


def test_answers_are_matched_by_id(authority_pair):
    """Against a server that answers in the wrong order, cut into single bytes, and then hangs up."""
    certificate, key, serve = authority_pair
    one = keyproto.frame(1, keyproto.RESPONSE, b"one")
    two = keyproto.frame(2, keyproto.ERROR, b"\x02")
    address = serve([two + one])
    with keyproto.Channel(address, certificate, key, certificate) as channel:
        first, second = channel.send(keyproto.PING, b""), channel.send(keyproto.PING, b"")
        assert channel.receive(first).result() == b"one"
        with pytest.raises(keyproto.Refused) as caught:
            channel.receive(second).result()
        assert caught.value.code == 2
        assert channel.wait_closed() == []


@pytest.fixture
def authority_pair(tmp_path):
    certificate, key = str(tmp_path / "c"), str(tmp_path / "k")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-out", certificate, "-subj", "/CN=x", "-addext", "subjectAltName=URI:farkey:keyserver:x")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["farkey/1"])
    threads = []

    def serve(answers):
        listener = socket.create_server(("127.0.0.1", 0))

        def run():
            with listener, context.wrap_socket(listener.accept()[0], server_side=True) as peer:
                peer.recv(1)
                for answer in answers:
                    for i in range(len(answer)):
                        peer.sendall(answer[i:i + 1])
                # Closing with requests unread would reset the connection and lose the answers.
                socket.socket.shutdown(peer, socket.SHUT_WR)
                while peer.recv(65536):
                    pass

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return listener.getsockname()

    yield certificate, key, serve
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
