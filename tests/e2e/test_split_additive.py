"""Additive shares of RSA keys: each side signs its half, and the key is nowhere."""
import base64
import hashlib
import os
import subprocess
import threading

import pytest

import harness
import pair as pairs
from splitlib import farkey, holders, make_split, processes, share_bytes, split


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


def make_additive(*args, kind="rsa2048", **options):
    return make_split(*args, kind, split_options=["--additive"], **options)


def test_the_command_makes_two_shares_of_an_rsa_key(folder):
    (folder / "keys").mkdir()
    farkey(folder, "key", "generate", "-t", "rsa3072", "site")
    farkey(folder, "key", "generate", "-t", "p256", "curve")
    ski = next(line for line in farkey(folder, "key", "list").stdout.splitlines() if line.startswith("site")).split()[2]
    done = farkey(folder, "key", "split", "site", "--additive", "--shares", "2-of-3", check=False)
    assert done.returncode == 2 and "--additive makes two shares" in done.stderr
    done = farkey(folder, "key", "split", "curve", "--additive", check=False)
    assert done.returncode == 1 and "cannot split the key of curve: not supported" in done.stderr
    farkey(folder, "key", "split", "site", "--additive", "--remove-original")
    assert sorted(path.name for path in (folder / "keys").iterdir()) == ["curve.key", "site.share"]
    files = ["keys/site.share", "site.share.2"]
    assert f"key {ski}" in farkey(folder, "key", "combine-check", *files).stdout
    done = farkey(folder, "key", "combine-check", files[0], files[0], check=False)
    assert done.returncode == 1 and "the same share of the split key twice" in done.stderr


def test_shares_of_two_schemes_do_not_mix(folder):
    (folder / "keys").mkdir()
    farkey(folder, "key", "generate", "-t", "rsa2048", "site")
    for way in ("additive", "shamir"):
        (folder / way).mkdir()
        split(folder, "site", "2-of-2", "--out", way, *(["--additive"] if way == "additive" else []))
        (folder / "keys/site.share").rename(folder / way / "site.share")
    done = farkey(folder, "key", "combine-check", "additive/site.share", "shamir/site.share.2", check=False)
    assert done.returncode == 1 and "of another splitting" in done.stderr


@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072"])
def test_a_share_at_the_edge_in_both_versions(folder, authority, site_authority, origin, daemons, kind):
    pair = make_additive(folder, authority, site_authority, origin, kind=kind).start(daemons)
    for options in (["-tls1_2"], ["-tls1_3"], ["-tls1_2", "-sigalgs", "RSA+SHA256"], ["-tls1_2", "-sigalgs", "RSA+SHA512"],
                    ["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha384"], ["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha512"]):
        assert "hello from the origin" in pair.s_client(*options), options
    assert "hello from the origin" in pair.get()[1]
    assert pair.audit_verify().returncode == 0


def test_rsa_key_exchange(folder, authority, site_authority, origin, daemons):
    pair = make_additive(folder, authority, site_authority, origin, policy="allow = {sign, decrypt}\n",
                         site_options='mode = decrypt rsa_key_exchange = on share = {"example.com.share.2"}')
    pair.start(daemons)
    text = pair.s_client("-tls1_2", "-cipher", "AES128-GCM-SHA256")
    assert "AES128-GCM-SHA256" in text and "hello from the origin" in text


def test_signed_requests(folder, authority, site_authority, origin, daemons):
    pair = make_additive(folder, authority, site_authority, origin,
                         keyd_options="fronts = 1 signers = 1 signed_requests = on",
                         edge_policy='request_key = "request.pub"', edge_channel_options='request_key = "request.key"')
    harness.run("openssl", "genpkey", "-algorithm", "ed25519", "-out", folder / "edge1/request.key")
    (folder / "edge1/request.key").chmod(0o600)
    harness.run("openssl", "pkey", "-in", folder / "edge1/request.key", "-pubout", "-out", folder / "keys1/request.pub")
    pair.start(daemons)
    assert "hello from the origin" in pair.s_client("-tls1_3")


def test_a_wrong_part_makes_no_signature(folder, authority, site_authority, origin, daemons):
    """The share's numbers are changed with the hash that guards them: only the product can tell."""
    pair = make_additive(folder, authority, site_authority, origin)
    path = folder / "edge1/example.com.share.2"
    lie(path)
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    text = pair.s_client("-tls1_3", check=False)
    assert "alert" in text and "hello" not in text, text
    assert "SHARE_WRONG" in pair.keyd.log()


def lie(path):
    """Another number in share 2, and its hash: docs and src/signer/share.h have the layout."""
    raw = bytearray(base64.b64decode("".join(path.read_text().splitlines()[1:-1])))
    spki_len = int.from_bytes(raw[21:23], "big")
    spki = bytes(raw[23:23 + spki_len])
    hashes = 23 + spki_len
    combiner = bytes(raw[hashes + 64:hashes + 96])
    assert raw[hashes + 96] == 0
    data = hashes + 99
    raw[-1] ^= 1

    def digest():
        return hashlib.sha256(b"farkey share hash 1\0" + raw[5:21] + raw[2:5] + hashlib.sha256(spki).digest() + combiner
                              + raw[data:]).digest()
    raw[-1] ^= 1
    assert digest() == bytes(raw[hashes + 32:hashes + 64])
    raw[-1] ^= 1
    raw[hashes + 32:hashes + 64] = digest()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], base64.encodebytes(raw).decode().strip(), lines[-1], ""]))


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
def test_the_key_is_in_no_memory_at_any_time(folder, authority, site_authority, origin, daemons):
    """Searched again and again while operations go on: there is no moment at which the key is whole."""
    pair = make_additive(folder, authority, site_authority, origin, edge_options="workers = 1 tickets { enabled = off }")
    pair.start(daemons)
    both = [pair.keyd, pair.edge]
    assert "signer of keyd" in holders(both, [share_bytes(folder / "keys1/keys/example.com.share")])  # the search works
    assert holders(both, [share_bytes(folder / "edge1/example.com.share.2")]) == {"signer of edge"}
    secrets = pairs.private_numbers(folder / "original.key")
    searched, done = 0, threading.Event()

    def shake_hands():
        while not done.is_set():
            pair.s_client("-tls1_3")
    clients = [threading.Thread(target=shake_hands) for _ in range(2)]
    for client in clients:
        client.start()
    since = pair.keyd.log()
    try:
        before = operations(pair)
        while operations(pair) < before + 40 or searched < 20:
            for name, pid in [*processes(pair.keyd), *processes(pair.edge)]:
                if name.startswith("signer"):
                    assert not pairs.holds_any(pid, secrets), name
                    searched += 1
        assert holders(both, secrets) == set()
    finally:
        done.set()
        for client in clients:
            client.join()
    assert pair.keyd.log() == since


def operations(pair):
    audit = subprocess.run(["grep", "-c", "sign-1.3", pair.folder / "keys1/audit.log"], capture_output=True, text=True, check=False)
    return int(audit.stdout or 0)
