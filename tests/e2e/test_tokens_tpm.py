"""Keys in TPMs (K13): a key server whose keys are in swtpm, by key files and by persistent handles."""
import re
import signal
import threading

import pytest

import harness
import keyproto
import pair as pairs
import tokens
from harness import FARKEY, control, run, wait_until
from test_tokens import (ECDSA_SHA256, INTERNAL, RATE, certificate, check_signature, edge_channel, failure, sign,
                         wait_state)

AUTH = "secret"


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


@pytest.fixture
def tpm(folder, daemons):
    return tokens.Tpm(folder / "tpm", daemons)


@pytest.fixture
def make_pair(folder, authority, site_authority, origin, tpm):
    """A pair whose sites' keys are made in the TPM; those of `auth` need that value. Nothing runs yet."""
    def make(keys, auth=None, keep=(), **options):
        if auth:
            pin_file = folder / "pin"
            pin_file.write_text(auth + "\n")
            pin_file.chmod(0o600)
            options["pin_file"] = f'"{pin_file}"'
        pair = pairs.Pair(folder, authority, site_authority, origin.port, keys=keys,
                          policy="allow = {sign}\n", keyd_options=f"fronts = 1 signers = 1\n{tpm.block(**options)}\n")
        store = folder / "keys1/keys"
        for name, [kind] in keys.items():
            if name in keep:
                continue
            (store / f"{name}.key").unlink()
            tpm.make_key(kind, folder / f"{name}.tss", auth)
            tpm.public(folder / f"{name}.tss", store / f"{name}.pub", auth)
            certify(pair, name)
            (store / f"{name}.token").write_text(f'token = "tpm" file = "{folder}/{name}.tss"\n')
        return pair
    return make


def certify(pair, name):
    """The site's certificate for NAME.pub, whose private half cannot sign a request here."""
    store, authority = pair.folder / "keys1/keys", pair.site_authority
    (pair.folder / "ext").write_text(f"subjectAltName=DNS:{name}\n")
    harness.make_key("p256", pair.folder / "any.key")
    request = run("openssl", "req", "-new", "-key", pair.folder / "any.key", "-subj", f"/CN={name}").stdout
    run("openssl", "x509", "-req", "-CA", authority.certificate, "-CAkey", authority.key, "-days", 30, "-set_serial", 7,
        "-force_pubkey", store / f"{name}.pub", "-extfile", pair.folder / "ext", "-out", certificate(pair, name),
        input=request)
    (pair.folder / "edge1" / f"{name}.crt").write_bytes(certificate(pair, name).read_bytes())


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_handshakes(make_pair, daemons, kind):
    """TLS 1.2 and 1.3 with a key that only the TPM can use, which wants an authorisation value."""
    pair = make_pair({"example.com": [kind]}, auth=AUTH)
    pair.start(daemons)
    row = wait_state(pair, "open", "tpm")
    assert (row["type"], row["keys"], row["keys_found"]) == ("tpm2", 1, 1), row
    for version in ("-tls1_2", "-tls1_3"):
        assert "hello from the origin" in pair.s_client(version)
    assert pair.status("keyd")["keys"][0]["token"] == "tpm"
    assert pair.audit_verify().returncode == 0


def test_persistent_handle(make_pair, tpm, daemons):
    """A key that stays in the TPM, made by tpm2-tools."""
    pair = make_pair({"example.com": ["p256"]})
    store, work = pair.folder / "keys1/keys", pair.folder
    tpm.run("tpm2_createprimary", "-C", "o", "-c", work / "primary")
    tpm.run("tpm2_create", "-C", work / "primary", "-G", "ecc256", "-u", work / "u", "-r", work / "r", "-a",
            "sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth")
    tpm.run("tpm2_flushcontext", "-t")
    tpm.run("tpm2_load", "-C", work / "primary", "-u", work / "u", "-r", work / "r", "-c", work / "loaded")
    tpm.run("tpm2_evictcontrol", "-C", "o", "-c", work / "loaded", "0x81000007")
    tpm.run("tpm2_flushcontext", "-t")
    tpm.run("tpm2_readpublic", "-c", "0x81000007", "-f", "pem", "-o", store / "handle.example.pub")
    (store / "handle.example.token").write_text('token = "tpm" handle = "0x81000007"\n')
    # Somebody else's handle is no key of ours.
    (store / "other.example.pub").write_text(public_of_another_key(work))
    (store / "other.example.token").write_text('token = "tpm" handle = "0x81000007"\n')
    pair.start_keyd(daemons)
    row = wait_state(pair, "open", "tpm")
    assert (row["keys"], row["keys_found"]) == (3, 2), row
    pair.keyd.wait_log('key is not in its token .*key="other.example" why="it is another key"')
    with edge_channel(pair) as channel:
        check_signature(channel, pair.folder, store / "handle.example.pub", ECDSA_SHA256)
        sign(channel, pair, "example.com", ECDSA_SHA256)


def public_of_another_key(work):
    harness.make_key("p256", work / "another.key")
    return run("openssl", "pkey", "-in", work / "another.key", "-pubout").stdout


def test_tpm_lost_and_back(make_pair, tpm, daemons):
    """A TPM that is killed is missed by name, while other keys serve; when it is back, so are its keys."""
    pair = make_pair({"example.com": ["p256"], "file.example": ["p256"]}, keep=["file.example"])
    pair.start_keyd(daemons)
    wait_state(pair, "open", "tpm")
    with edge_channel(pair) as channel:
        sign(channel, pair, "example.com", ECDSA_SHA256)
        tpm.stop()
        assert failure(channel, pair, "example.com") == INTERNAL
        wait_state(pair, "lost", "tpm")
        sign(channel, pair, "file.example", ECDSA_SHA256)
        pair.keyd.wait_log("operation failed .*err=TOKEN")
        tpm.start()
        wait_state(pair, "open", "tpm")
        sign(channel, pair, "example.com", ECDSA_SHA256)


def test_slow_tpm(make_pair, tpm, daemons):
    """A TPM does one thing at a time: few wait for it, more are refused at once by name, and other keys do not wait."""
    pair = make_pair({"example.com": ["p256"], "file.example": ["p256"]}, keep=["file.example"], queue=2)
    conf = pair.folder / "keys1/keyd.conf"
    conf.write_text(conf.read_text() + "limits { deadline = 15s }\n")
    pair.start_keyd(daemons)
    wait_state(pair, "open", "tpm")
    results = []

    def ask():
        with edge_channel(pair) as channel:
            results.append(failure(channel, pair, "example.com"))
    with edge_channel(pair) as other:
        tpm.daemon.signal(signal.SIGSTOP)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        try:
            for thread in threads:
                thread.start()
            # One is at work, two wait; one may have come before the first was taken up.
            wait_until(lambda: results.count(RATE) >= 5, "the others are refused")
            sign(other, pair, "file.example", ECDSA_SHA256)
            assert set(results) == {RATE}
        finally:
            tpm.daemon.signal(signal.SIGCONT)
            for thread in threads:
                thread.join()
    assert results.count(None) >= 2 and results.count(None) + results.count(RATE) == 8, results
    pair.keyd.wait_log("err=BUSY")


def lockout_counter(tpm):
    text = tpm.run("tpm2_getcap", "properties-variable")
    return int(re.search(r"TPM2_PT_LOCKOUT_COUNTER:\s*(\w+)", text)[1], 16)


def test_wrong_auth_is_tried_once(make_pair, tpm, daemons):
    """A TPM counts wrong values and locks itself: after the first it is left alone."""
    pair = make_pair({"example.com": ["p256"]}, auth=AUTH)
    (pair.folder / "pin").write_text("wrong\n")
    pair.start_keyd(daemons)
    wait_state(pair, "open", "tpm")
    with edge_channel(pair) as channel:
        for _ in range(10):
            assert failure(channel, pair, "example.com") == INTERNAL
        assert "authorisation value" in wait_state(pair, "PIN refused", "tpm")["why"]
        pair.keyd.wait_log("operation failed .*err=PIN")
        (pair.folder / "pin").write_text(AUTH + "\n")
        assert control(pair.folder / "keys1/run/keyd.sock", "reload").get("ok")
        wait_state(pair, "open", "tpm")
        sign(channel, pair, "example.com", ECDSA_SHA256)
    pair.keyd.stop()
    assert lockout_counter(tpm) == 1


def test_decryption_is_refused(make_pair):
    """A policy that allows what a TPM's keys do not do is a mistake that is said."""
    pair = make_pair({"example.com": ["rsa2048"]})
    (pair.folder / "keys1/keys/example.com.policy").write_text("allow = {sign, decrypt}\n")
    done = run(FARKEY, "check", pair.folder / "keys1/keyd.conf", check=False)
    assert done.returncode != 0 and "its policy allows what keys in such a token cannot do" in done.stdout + done.stderr
