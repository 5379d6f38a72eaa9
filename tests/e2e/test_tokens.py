"""Keys in HSMs (K13): a key server whose keys are in softhsm2, from the handshake to the token that goes and comes back."""
import hashlib
import os
import pathlib
import re
import shutil
import signal
import threading
import time

import pytest

import harness
import keyproto
import pair as pairs
import tokens
from harness import FARKEY, PATIENCE, control, run, wait_until
from keyproto import Channel, Refused
from tokens import SoftHsm, move_keys, state_of

HASH = hashlib.sha256(b"transcript").digest()
ECDSA_SHA256, ED25519 = 0x0403, 0x0807
KEY_NOT_FOUND, RATE, INTERNAL = 0x02, 0x41, 0x08


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


@pytest.fixture
def hsm(folder, monkeypatch):
    return SoftHsm(folder / "hsm", monkeypatch)


@pytest.fixture
def make_pair(folder, authority, site_authority, origin, hsm):
    """A pair whose sites' keys are in the token; nothing runs yet."""
    def make(keys, block=None, site_options="", keep=()):
        block = block or hsm.block()
        pair = pairs.Pair(folder, authority, site_authority, origin.port, keys=keys,
                          policy="allow = {sign, decrypt}\n", site_options=site_options,
                          keyd_options=f"fronts = 1 signers = 1\n{block}\n")
        for name in keep:
            (folder / "keys1/keys" / f"{name}.key").rename(folder / "keys1" / f"{name}.kept")
        move_keys(pair, hsm)
        for name in keep:
            (folder / "keys1" / f"{name}.kept").rename(folder / "keys1/keys" / f"{name}.key")
        return pair
    return make


def edge_channel(pair):
    own = pair.folder / "edge1"
    return Channel(("127.0.0.1", pair.keyd_port), own / "channel.crt", own / "channel.key", own / "ca.crt",
                   identity="farkey:keyserver:keys1", timeout=PATIENCE)


def certificate(pair, name):
    return pair.folder / "keys1/keys" / f"{name}.crt"


def ski(pair, name):
    return keyproto.ski_of(keyproto.spki_of(harness.ssl_der(certificate(pair, name))))


def sign(channel, pair, name, scheme):
    return channel.call(keyproto.SIGN13, keyproto.sign13(scheme, keyproto.SERVER, HASH), ski=ski(pair, name))


def wait_state(pair, state, name="hsm"):
    """The token's row of the status, once it is in that state."""
    seen = {}

    def look():
        try:
            row = state_of(pair.status("keyd"), name)
        except ConnectionRefusedError:
            return None  # the admin process is not there yet
        seen["row"] = row
        return row if row.get("state") == state else None
    try:
        return wait_until(look, f"token {name} is {state}")
    except AssertionError as error:
        raise AssertionError(f"{error}; of it is said last: {seen}") from None


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_handshakes(make_pair, daemons, kind):
    """TLS 1.2 and 1.3 with a key that no file has; the token's name is told, and the audit log is whole."""
    pair = make_pair({"example.com": [kind]})
    pair.start(daemons)
    row = wait_state(pair, "open")
    assert (row["type"], row["keys"], row["keys_found"]) == ("pkcs11", 1, 1), row
    for version in ("-tls1_2", "-tls1_3"):
        assert "hello from the origin" in pair.s_client(version)
    key = pair.status("keyd")["keys"][0]
    assert (key["name"], key["token"]) == ("example.com", "hsm"), key
    listed = run(FARKEY, "key", "list", "--dir", pair.folder / "keys1/keys").stdout
    assert re.search(r"^example.com .*token hsm", listed, re.M), listed
    assert pair.audit_verify().returncode == 0
    assert "example.com" in (pair.folder / "keys1/audit.log").read_text()


def test_rsa_key_exchange(make_pair, daemons):
    """RSA key exchange: the token decrypts raw, the padding is judged by its process."""
    pair = make_pair({"example.com": ["rsa2048"]}, site_options="mode = decrypt rsa_key_exchange = on")
    pair.start(daemons)
    assert "hello from the origin" in pair.s_client("-tls1_2", "-cipher", "AES128-GCM-SHA256")


def encrypted_block(pair, name, block):
    """A block of the modulus's size, encrypted with a key's public half as it is."""
    public = pair.folder / f"{name}.pem"
    public.write_text(run("openssl", "x509", "-in", certificate(pair, name), "-noout", "-pubkey").stdout)
    (pair.folder / "block").write_bytes(block)
    run("openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", public, "-pkeyopt", "rsa_padding_mode:none",
        "-in", pair.folder / "block", "-out", pair.folder / "ciphertext")
    return (pair.folder / "ciphertext").read_bytes()


def decrypt(pair, ciphertext):
    with edge_channel(pair) as channel:
        return channel.call(keyproto.DECRYPT, keyproto.decrypt(0x0303, ciphertext), ski=ski(pair, "example.com"))


def kill_token_process(pair, name="hsm"):
    """Kill the token's process and wait for the next one."""
    [child] = pair.keyd.children("token")
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: pair.keyd.children("token") not in ([], [child]), "another token process")
    wait_state(pair, "open", name)


def check_rejection(pair, name="hsm"):
    """Good padding is decrypted; bad padding gets an answer like any other: pseudo-random, the same each time."""
    premaster = b"\3\3" + os.urandom(46)
    padding = bytes(byte or 1 for byte in os.urandom(256 - 3 - 48))
    good = encrypted_block(pair, "example.com", b"\0\2" + padding + b"\0" + premaster)
    bad = encrypted_block(pair, "example.com", b"\0\2" + padding + b"\1" + premaster)
    other = encrypted_block(pair, "example.com", b"\0\3" + padding + b"\0" + premaster)
    assert decrypt(pair, good) == premaster
    answer = decrypt(pair, bad)
    assert len(answer) == 48 and answer[:2] == b"\3\3" and answer != premaster
    assert decrypt(pair, bad) == answer
    assert decrypt(pair, other) not in (answer, premaster)
    kill_token_process(pair, name)
    assert decrypt(pair, bad) == answer
    assert decrypt(pair, good) == premaster


def test_bad_padding_is_answered_like_good(make_pair, daemons):
    """Implicit rejection with a key that nobody can read, also after a restart of its process."""
    pair = make_pair({"example.com": ["rsa2048"]})
    pair.start_keyd(daemons)
    wait_state(pair, "open")
    check_rejection(pair)


SCHEMES = {0x0403: "-sha256", 0x0804: "-sha256", 0x0805: "-sha384", 0x0806: "-sha512"}


def check_signature(channel, folder, public, scheme):
    """A TLS 1.3 signature by the key of a PEM file, which openssl accepts."""
    spki = harness.pem_der(public.read_text())
    signature = channel.call(keyproto.SIGN13, keyproto.sign13(scheme, keyproto.SERVER, HASH),
                             ski=keyproto.ski_of(spki))
    (folder / "message").write_bytes(keyproto.sign13_message(keyproto.SERVER, HASH))
    (folder / "signature").write_bytes(signature)
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if scheme >= 0x0804 else []
    run("openssl", "dgst", SCHEMES[scheme], *pss, "-verify", public, "-signature", folder / "signature", folder / "message")


def test_keys_made_in_the_token(make_pair, hsm, daemons):
    """Keys that were never elsewhere: found by label, told apart by the public half; one that is missing is said."""
    pair = make_pair({"example.com": ["p256"]})
    store = pair.folder / "keys1/keys"
    hsm.tool("--keypairgen", "--key-type", "EC:prime256v1", "--id", "71", "--label", "made")
    hsm.tool("--keypairgen", "--key-type", "rsa:3072", "--id", "72", "--label", "made")
    made = {"ec.example": ("71", [0x0403]), "rsa.example": ("72", [0x0804, 0x0805, 0x0806])}
    for name, (ident, _) in made.items():
        hsm.tool("--read-object", "--type", "pubkey", "--id", ident, "--output-file", pair.folder / "der", login=False)
        run("openssl", "pkey", "-pubin", "-inform", "DER", "-in", pair.folder / "der", "-out", store / f"{name}.pub")
        (store / f"{name}.token").write_text('token = "hsm" label = "made"\n')
    harness.make_key("p256", pair.folder / "spare.key")
    run("openssl", "pkey", "-in", pair.folder / "spare.key", "-pubout", "-out", store / "gone.example.pub")
    (store / "gone.example.token").write_text('token = "hsm" label = "gone"\n')
    pair.start_keyd(daemons)
    row = wait_state(pair, "open")
    assert (row["keys"], row["keys_found"]) == (4, 3), row
    pair.keyd.wait_log(r'key is not in its token .*key="gone.example"')
    with edge_channel(pair) as channel:
        for name, (_, schemes) in made.items():
            for scheme in schemes:
                check_signature(channel, pair.folder, store / f"{name}.pub", scheme)
        with pytest.raises(Refused) as refused:
            channel.call(keyproto.SIGN13, keyproto.sign13(ECDSA_SHA256, keyproto.SERVER, HASH), sni="gone.example")
        assert refused.value.code == KEY_NOT_FOUND
        sign(channel, pair, "example.com", ECDSA_SHA256)


def failure(channel, pair, name, scheme=ECDSA_SHA256):
    """The code that a signature is refused with, None when it is made."""
    try:
        sign(channel, pair, name, scheme)
    except Refused as refused:
        return refused.code
    return None


@pytest.mark.unsanitized  # softhsm2 leaks the name of the curve whenever it reads such a key
def test_ed25519(make_pair, hsm, daemons):
    """Ed25519, where the token has it: it signs the whole message."""
    pair = make_pair({"example.com": ["p256"]})
    store = pair.folder / "keys1/keys"
    hsm.tool("--keypairgen", "--key-type", "EC:edwards25519", "--id", "81", "--label", "ed")
    listed = hsm.tool("--list-objects", "--type", "pubkey", login=False)
    point = re.search(r"EC_POINT:\s+0420([0-9a-f]{64})\n", listed)[1]
    (pair.folder / "der").write_bytes(bytes.fromhex("302a300506032b6570032100" + point))
    run("openssl", "pkey", "-pubin", "-inform", "DER", "-in", pair.folder / "der", "-out", store / "ed.example.pub")
    (store / "ed.example.token").write_text('token = "hsm" id = "81"\n')
    pair.start_keyd(daemons)
    assert wait_state(pair, "open")["keys_found"] == 2
    spki = harness.pem_der((store / "ed.example.pub").read_text())
    with edge_channel(pair) as channel:
        signature = channel.call(keyproto.SIGN13, keyproto.sign13(ED25519, keyproto.SERVER, HASH),
                                 ski=keyproto.ski_of(spki))
    (pair.folder / "message").write_bytes(keyproto.sign13_message(keyproto.SERVER, HASH))
    (pair.folder / "signature").write_bytes(signature)
    run("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", store / "ed.example.pub", "-rawin", "-in",
        pair.folder / "message", "-sigfile", pair.folder / "signature")


def test_token_lost_and_back(make_pair, hsm, daemons):
    """Without its token a key has a named error at once, and others are served; when it is back, so is the key."""
    pair = make_pair({"example.com": ["p256"], "file.example": ["p256"]}, keep=["file.example"])
    pair.start_keyd(daemons)
    wait_state(pair, "open")
    with edge_channel(pair) as channel:
        sign(channel, pair, "example.com", ECDSA_SHA256)
        with hsm.away():
            wait_until(lambda: failure(channel, pair, "example.com") is not None, "the token is missed")
            wait_state(pair, "lost")
            started = time.monotonic()
            assert failure(channel, pair, "example.com") == INTERNAL
            sign(channel, pair, "file.example", ECDSA_SHA256)
            assert time.monotonic() - started < 1
            pair.keyd.wait_log("operation failed .*err=TOKEN")
            assert pair.status("keyd")["ready"]
        wait_state(pair, "open")
        sign(channel, pair, "example.com", ECDSA_SHA256)


def test_start_without_token(make_pair, hsm, daemons):
    """A key server starts without its token, which may come later."""
    pair = make_pair({"example.com": ["p256"]})
    with hsm.away():
        pair.start_keyd(daemons)
        assert "no token" in wait_state(pair, "lost")["why"]
    wait_state(pair, "open")
    with edge_channel(pair) as channel:
        sign(channel, pair, "example.com", ECDSA_SHA256)


@pytest.mark.unsanitized  # that build's sandbox has no files to be bound to
def test_path_that_comes_later_or_anew(make_pair, hsm, daemons, folder):
    """The sandbox is bound to what its paths led to at the start. A folder that is there only later (a device, a daemon's
    socket), or another one in its place, is found all the same."""
    pair = make_pair({"example.com": ["p256"]})
    place = folder / "elsewhere"
    conf = hsm.folder / "softhsm2.conf"
    conf.write_text(conf.read_text().replace(str(hsm.tokens), str(place)))
    text = (pair.folder / "keys1/keyd.conf").read_text()
    (pair.folder / "keys1/keyd.conf").write_text(text.replace("paths = {", f'paths = {{"{place}", '))
    pair.start_keyd(daemons)
    wait_state(pair, "lost")
    hsm.tokens.rename(place)
    wait_state(pair, "open")
    with edge_channel(pair) as channel:
        sign(channel, pair, "example.com", ECDSA_SHA256)
    place.rename(hsm.tokens)
    shutil.copytree(hsm.tokens, place)
    tokens.give_to_token_process(place)
    with edge_channel(pair) as channel:
        wait_until(lambda: failure(channel, pair, "example.com") is None, "the key is there again", timeout=60)
    wait_state(pair, "open")
    pair.keyd.wait_log("a path of the token is another one than at the start")


def test_wrong_pin_is_tried_once(make_pair, hsm, daemons):
    """A PIN that is refused has a name, is not tried again whatever is asked, and a reload brings the right one."""
    hsm.write_pin("000000")
    pair = make_pair({"example.com": ["p256"], "file.example": ["p256"]}, keep=["file.example"])
    pair.start_keyd(daemons)
    assert "PIN is wrong" in wait_state(pair, "PIN refused")["why"]
    with edge_channel(pair) as channel:
        for _ in range(20):
            assert failure(channel, pair, "example.com") == INTERNAL
        sign(channel, pair, "file.example", ECDSA_SHA256)
        pair.keyd.wait_log("operation failed .*err=PIN")
        assert pair.keyd.log().count('state="PIN refused"') == 1
        assert pair.keyd.log().count('state="opening"') == 0
        hsm.write_pin(tokens.PIN)
        assert control(pair.folder / "keys1/run/keyd.sock", "reload").get("ok")
        wait_state(pair, "open")
        sign(channel, pair, "example.com", ECDSA_SHA256)


def test_reload_keeps_the_process(make_pair, daemons):
    """A reload leaves the process of a token about which nothing changed, and replaces it when something did."""
    pair = make_pair({"example.com": ["p256"]})
    pair.start_keyd(daemons)
    wait_state(pair, "open")
    [first] = pair.keyd.children("token")
    socket = pair.folder / "keys1/run/keyd.sock"
    conf = pair.folder / "keys1/keyd.conf"
    with edge_channel(pair) as channel:
        for _ in range(2):
            assert control(socket, "reload").get("ok")
            assert pair.keyd.children("token") == [first]
            sign(channel, pair, "example.com", ECDSA_SHA256)
        conf.write_text(conf.read_text().replace("type = pkcs11", "type = pkcs11 sessions = 2"))
        assert control(socket, "reload").get("ok")
        wait_state(pair, "open")
        sign(channel, pair, "example.com", ECDSA_SHA256)
        wait_until(lambda: first not in pair.keyd.children("token"), "the old process ends")
        # Nothing of it any more: the key goes back to a file.
        store = pair.folder / "keys1/keys"
        (store / "example.com.token").unlink()
        harness.make_key("p256", store / "example.com.key")
        pair.site_authority.certify(store / "example.com.key", store / "example.com.crt", "example.com",
                                    "DNS:example.com")
        conf.write_text(re.sub(r'token "hsm".*?\n}', "", conf.read_text(), flags=re.S))
        answer = control(socket, "reload")
        assert answer.get("ok"), answer
        sign(channel, pair, "example.com", ECDSA_SHA256)
        wait_until(lambda: not pair.keyd.children("token"), "no token, no process")
        assert "tokens" not in pair.status("keyd")


def test_process_dies(make_pair, daemons):
    """A token's process that is killed is started again, and what it was asked meanwhile is done."""
    pair = make_pair({"example.com": ["p256"]})
    pair.start_keyd(daemons)
    wait_state(pair, "open")
    with edge_channel(pair) as channel:
        [child] = pair.keyd.children("token")
        os.kill(child, signal.SIGKILL)
        sign(channel, pair, "example.com", ECDSA_SHA256)
        wait_until(lambda: pair.keyd.children("token") not in ([], [child]), "another process")


def test_slow_token(make_pair, hsm, daemons, monkeypatch):
    """A slow token bounds its own queue: more is refused at once by name, and other keys do not wait for it."""
    slow = pathlib.Path(FARKEY).parent / "tests/tools/libslowtoken.so"
    monkeypatch.setenv("SLOWTOKEN_MODULE", tokens.MODULE)
    monkeypatch.setenv("SLOWTOKEN_MS", "300")
    paths = f'{{"{hsm.folder}", "{slow}"}}'
    pair = make_pair({"example.com": ["p256"], "file.example": ["p256"]}, keep=["file.example"],
                     block=hsm.block(module=slow, sessions=2, queue=3, paths=paths))
    pair.start_keyd(daemons)
    wait_state(pair, "open")
    results = []

    def ask():
        with edge_channel(pair) as channel:
            results.append(failure(channel, pair, "example.com"))
    with edge_channel(pair) as other:
        sign(other, pair, "file.example", ECDSA_SHA256)
        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        wait_until(lambda: RATE in results, "some are refused")
        # The token is at work for three rounds of 300 ms yet.
        started = time.monotonic()
        for _ in range(20):
            sign(other, pair, "file.example", ECDSA_SHA256)
        assert time.monotonic() - started < 0.3 * (10 if harness.SANITIZED else 1)
        for thread in threads:
            thread.join()
    assert results.count(None) >= 5 and results.count(None) + results.count(RATE) == 12, results
    pair.keyd.wait_log("err=BUSY")


@pytest.mark.long
def test_hanging_token(make_pair, hsm, daemons, monkeypatch):
    """A call that never ends is given up with its process after 30 s; other keys and the key server do not notice."""
    slow = pathlib.Path(FARKEY).parent / "tests/tools/libslowtoken.so"
    monkeypatch.setenv("SLOWTOKEN_MODULE", tokens.MODULE)
    monkeypatch.setenv("SLOWTOKEN_MS", "3600000")
    paths = f'{{"{hsm.folder}", "{slow}"}}'
    pair = make_pair({"example.com": ["p256"], "file.example": ["p256"]}, keep=["file.example"],
                     block=hsm.block(module=slow, paths=paths))
    pair.start_keyd(daemons)
    wait_state(pair, "open")
    [child] = pair.keyd.children("token")
    with edge_channel(pair) as channel:
        assert failure(channel, pair, "example.com") == INTERNAL  # after limits { deadline }
        pair.keyd.wait_log("operation failed .*err=TIMEOUT")
        sign(channel, pair, "file.example", ECDSA_SHA256)
        assert pair.status("keyd")["ready"]
        wait_until(lambda: pair.keyd.children("token") not in ([], [child]), "another process", 60)
        pair.keyd.wait_log("a call of the token does not end")
        wait_state(pair, "open")
        sign(channel, pair, "file.example", ECDSA_SHA256)


@pytest.mark.unsanitized
def test_sandbox_of_the_token_process(make_pair, hsm, daemons):
    """No privileges, a user of its own, seccomp, no listening socket."""
    pair = make_pair({"example.com": ["p256"]})
    pair.start_keyd(daemons)
    wait_state(pair, "open")
    [child] = pair.keyd.children("token")
    status = pathlib.Path(f"/proc/{child}/status").read_text()
    assert re.search(r"^Seccomp:\t2$", status, re.M) and re.search(r"^NoNewPrivs:\t1$", status, re.M)
    assert re.search(r"^CapEff:\t0+$", status, re.M) and re.search(r"^CapPrm:\t0+$", status, re.M)
    for task in pathlib.Path(f"/proc/{child}/task").iterdir():
        assert "Seccomp:\t2\n" in (task / "status").read_text()
    if os.geteuid() == 0:
        assert re.search(r"^Uid:\t(?!0\t)", status, re.M)
    listening = run("ss", "-Hlntup").stdout
    assert f"pid={child}," not in listening


def test_mistakes_are_said(make_pair, hsm):
    """Each mistake about tokens with its file and what to write instead."""
    pair = make_pair({"example.com": ["p256"]})
    conf, store = pair.folder / "keys1/keyd.conf", pair.folder / "keys1/keys"
    good = conf.read_text()
    place = store / "example.com.token"

    def check(what):
        done = run(FARKEY, "check", conf, check=False)
        assert done.returncode != 0 and what in done.stdout + done.stderr, done.stdout + done.stderr
    conf.write_text(good.replace(f'label = "{hsm.label}"', ""))
    check("which token is not said; write label, serial or slot")
    conf.write_text(good.replace(f'module = "{tokens.MODULE}"', ""))
    check("no module")
    conf.write_text(good)
    place.write_text('token = "other" label = "x"\n')
    check("no token block of this name")
    place.write_text('token = "hsm"\n')
    check("which key is not said")
    place.write_text('token = "hsm" id = "0x1"\n')
    check("not an id")
    place.write_text('token = "hsm" handle = "0x81000001"\n')
    check("a key in a PKCS#11 token is named by label or id")
    place.write_text('token = "hsm" label = "example.com"\n')
    for more in ("handshake", "lend", "tickets"):
        (store / "example.com.policy").write_text(f"allow = {{sign, {more}}}\n")
        check("its policy allows what keys in such a token cannot do: handshake, lend and tickets in any")
    (store / "example.com.policy").write_text("allow = {sign, decrypt}\n")
    (store / "example.com.crt").unlink()
    check("the public half of a key in a token has to be there")
