"""Split keys (K14): shares in files, at edges and key servers; faults of shares; what is left in memory."""
import base64
import os

import pytest

import harness
import pair as pairs
import tokens
from splitlib import farkey, holders, make_split, processes, share_bytes, split, split_again


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


# --- the command ---

@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "p521", "ed25519"])
def test_any_two_of_three_shares_make_the_key(folder, kind):
    (folder / "keys").mkdir()
    farkey(folder, "key", "generate", "-t", kind, "site")
    ski = farkey(folder, "key", "list").stdout.split()[2]
    split(folder)
    files = ["keys/site.share", "site.share.2", "site.share.3"]
    for one in files:
        assert (folder / one).stat().st_mode & 0o777 == 0o600
        for other in set(files) - {one}:
            assert f"key {ski}" in farkey(folder, "key", "combine-check", one, other).stdout
    done = farkey(folder, "key", "combine-check", *files)
    assert "3 shares (2 needed, 3 there are)" in done.stdout


def test_wrong_missing_repeated_and_foreign_shares_are_named(folder):
    (folder / "keys").mkdir()
    farkey(folder, "key", "generate", "site")
    (folder / "one").mkdir()
    split(folder, "site", "3-of-3", "--out", "one")
    (folder / "keys/site.share").rename(folder / "one/site.share.1")
    (folder / "two").mkdir()
    split(folder, "site", "3-of-3", "--out", "two")

    def refused(*files):
        done = farkey(folder, "key", "combine-check", *files, check=False)
        assert done.returncode == 1 and done.stdout == ""
        return done.stderr

    one = [f"one/site.share.{i}" for i in (1, 2, 3)]
    assert "3 shares" in farkey(folder, "key", "combine-check", *one).stdout
    assert "a share of the split key is missing" in refused(*one[:2])
    assert f"{one[1]}: the same share of the split key twice" in refused(one[0], one[1], one[1])
    assert "two/site.share.3: a share of another key, or of another splitting" in refused(*one[:2], "two/site.share.3")
    text = (folder / one[2]).read_text()
    lines = text.splitlines()
    raw = bytearray(base64.b64decode("".join(lines[1:-1])))
    raw[-1] ^= 1
    (folder / one[2]).write_text("\n".join([lines[0], base64.encodebytes(raw).decode().strip(), lines[-1], ""]))
    assert f"{one[2]}: a share of the split key is wrong" in refused(*one)
    assert "malformed" in refused(one[0], "keys/site.key")


def test_splitting_overwrites_nothing_and_removes_when_told(folder):
    (folder / "keys").mkdir()
    farkey(folder, "key", "generate", "site")
    original = (folder / "keys/site.key").read_bytes()
    split(folder)
    assert (folder / "keys/site.key").read_bytes() == original
    done = farkey(folder, "key", "split", "site", "--shares", "2-of-2", check=False)
    assert done.returncode == 1 and "keys/site.share: duplicate" in done.stderr
    for path in ["keys/site.share", "site.share.2", "site.share.3"]:
        (folder / path).unlink()
    split(folder, "site", "2-of-2", "--remove-original")
    assert sorted(path.name for path in (folder / "keys").iterdir()) == ["site.share"]
    assert "2 shares" in farkey(folder, "key", "combine-check", "keys/site.share", "site.share.2").stdout


@pytest.mark.parametrize("shares", [None, "1-of-2", "3-of-2", "2-of-17", "2", "2-of-3x"])
def test_numbers_of_shares_that_cannot_be(folder, shares):
    (folder / "keys").mkdir()
    farkey(folder, "key", "generate", "site")
    done = farkey(folder, "key", "split", "site", *([] if shares is None else ["--shares", shares]), check=False)
    assert done.returncode == 2 and "--shares K-of-N" in done.stderr
    assert not (folder / "keys/site.share").exists()


# --- a share at the edge ---

@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "ed25519"])
def test_a_share_at_the_edge_in_both_versions(folder, authority, site_authority, origin, daemons, kind):
    pair = make_split(folder, authority, site_authority, origin, kind).start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        assert "hello from the origin" in pair.s_client(version)
    assert "hello from the origin" in pair.get()[1]
    assert pair.audit_verify().returncode == 0


@pytest.mark.parametrize("kind,options", [("p256", []), ("rsa2048", ["--additive"])])
def test_shares_that_an_hsm_keeps(folder, authority, site_authority, origin, daemons, monkeypatch, kind, options):
    """Both shares lie in tokens, as private data objects; no disk has them before the daemons start (docs/modes.md)."""
    pair = make_split(folder, authority, site_authority, origin, kind, split_options=options)
    hsm = tokens.SoftHsm(folder / "hsm", monkeypatch)
    shares = [folder / "keys1/keys/example.com.share", folder / "edge1/example.com.share.2"]
    for share in shares:
        hsm.tool("--write-object", share, "--type", "data", "--label", share.name, "--private")
        share.unlink()
    done = farkey(folder, "check", "edge1/edge.conf", check=False)
    assert done.returncode == 1 and "example.com.share.2" in done.stderr
    for share in shares:
        hsm.tool("--read-object", "--type", "data", "--label", share.name, "--output-file", share)
        share.chmod(0o600)
    pair.start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        assert "hello from the origin" in pair.s_client(version)


def test_rsa_key_exchange_with_a_split_key(folder, authority, site_authority, origin, daemons):
    pair = make_split(folder, authority, site_authority, origin, "rsa2048", policy="allow = {sign, decrypt}\n",
                      site_options='mode = decrypt rsa_key_exchange = on share = {"example.com.share.2"}')
    pair.start(daemons)
    text = pair.s_client("-tls1_2", "-cipher", "AES128-GCM-SHA256")
    assert "AES128-GCM-SHA256" in text and "hello from the origin" in text


def test_certificates_of_the_key_server_with_a_split_key(folder, authority, site_authority, origin, daemons):
    pair = make_split(folder, authority, site_authority, origin, fetch_certificates=True).start(daemons)
    assert "hello from the origin" in pair.get()[1]


HANDSHAKE = {"policy": "allow = {handshake}\n", "edge_allow": "handshake", "fetch_certificates": True}


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "ed25519"])
def test_a_handshake_made_with_a_split_key(folder, authority, site_authority, origin, daemons, kind):
    """Mode handshake: the share goes with the first request, for all that has to be signed in the handshake."""
    pair = make_split(folder, authority, site_authority, origin, kind, **HANDSHAKE,
                      site_options='mode = handshake rsa_key_exchange = on share = {"example.com.share.2"}')
    pair.start(daemons)
    for options in ["-tls1_2"], ["-tls1_3"], *([["-tls1_2", "-cipher", "AES128-GCM-SHA256"]] if kind == "rsa2048" else []):
        assert "hello from the origin" in pair.s_client(*options)
    session = folder / "session.pem"
    pair.s_client("-tls1_3", "-sess_out", session)
    assert "Reused, " in pair.s_client("-tls1_3", "-sess_in", session)
    assert pair.audit_verify().returncode == 0


def test_one_of_two_keys_is_split(folder, authority, site_authority, origin, daemons):
    """The client chooses which is used: the share is of use for the one, and in the way of the other not."""
    pair = pairs.Pair(folder, authority, site_authority, origin.port, keys={"example.com": ["rsa2048", "p256"]}, **HANDSHAKE,
                      site_options='mode = handshake share = {"example.com-p256.share.2"}')
    split(folder, "example.com-p256", "2-of-2", "--dir", "keys1/keys", "--out", "edge1", "--remove-original")
    pair.start(daemons)
    for algorithms, kind in ("ECDSA+SHA256", "id-ecPublicKey"), ("RSA-PSS+SHA256", "rsaEncryption"):
        text = pair.s_client("-tls1_3", "-sigalgs", algorithms)
        assert f"PKEY: {kind}" in text and "hello from the origin" in text
    conf = folder / "edge1/edge.conf"
    conf.write_text(conf.read_text().replace("share = {", 'share = {"another.share.2", '))
    done = farkey(folder, "check", "edge1/edge.conf", check=False)
    assert "with mode = handshake only one of a site's keys can be split" in done.stderr


def test_a_handshake_without_its_share(folder, authority, site_authority, origin, daemons):
    pair = make_split(folder, authority, site_authority, origin, **HANDSHAKE, site_options="mode = handshake")
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    pair.edge.wait_log("key server is up")
    text = pair.s_client("-tls1_3", check=False)
    assert "alert internal error" in text and "hello" not in text, text
    pair.edge.wait_log('why="a share of the split key is missing"')


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
def test_a_handshake_leaves_the_key_in_no_memory(folder, authority, site_authority, origin, daemons):
    pair = make_split(folder, authority, site_authority, origin, "rsa2048", **HANDSHAKE,
                      site_options='mode = handshake share = {"example.com.share.2"}').start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        pair.s_client(version)
    secrets = pairs.private_numbers(folder / "original.key")
    share = share_bytes(folder / "edge1/example.com.share.2")
    with_share = set()
    for daemon in pair.keyd, pair.edge:
        for name, pid in processes(daemon):
            assert not pairs.holds_any(pid, secrets), name
            if any(share in chunk for chunk in pairs.process_memory(pid)):
                with_share.add(name)
    assert with_share == {"signer of edge"}


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_signed_requests_bring_shares(folder, authority, site_authority, origin, daemons, kind):
    """The signer takes the share out of what the edge has signed."""
    pair = make_split(folder, authority, site_authority, origin, kind, keyd_options="fronts = 1 signers = 1 signed_requests = on",
                      edge_policy='request_key = "request.pub"', edge_channel_options='request_key = "request.key"')
    harness.run("openssl", "genpkey", "-algorithm", "ed25519", "-out", folder / "edge1/request.key")
    (folder / "edge1/request.key").chmod(0o600)
    harness.run("openssl", "pkey", "-in", folder / "edge1/request.key", "-pubout", "-out", folder / "keys1/request.pub")
    pair.start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        assert "hello from the origin" in pair.s_client(version)


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "ed25519"])
def test_the_key_is_in_no_memory_after_an_operation(folder, authority, site_authority, origin, daemons, kind):
    pair = make_split(folder, authority, site_authority, origin, kind).start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        pair.s_client(version)
    share = share_bytes(folder / "keys1/keys/example.com.share")
    signer = pair.keyd.children("signer")[0]
    assert any(share in chunk for chunk in pairs.process_memory(signer))  # the search works
    secrets = pairs.private_numbers(folder / "original.key")

    both = [pair.keyd, pair.edge]
    assert holders(both, secrets) == set()
    whole = folder / "keys1/keys/example.com.key"  # now the search must find it
    whole.write_bytes((folder / "original.key").read_bytes())
    whole.chmod(0o600)
    farkey(folder, "control", "-c", "keys1/keyd.conf", "reload")
    harness.wait_until(lambda: "signer of keyd" in holders(both, secrets), "a signer holds the whole key")


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
def test_the_share_is_in_the_signer_of_the_edge_alone(folder, authority, site_authority, origin, daemons):
    pair = make_split(folder, authority, site_authority, origin, "rsa2048").start(daemons)
    pair.s_client("-tls1_3")
    share = share_bytes(folder / "edge1/example.com.share.2")
    holders = [name for daemon in (pair.keyd, pair.edge) for name, pid in processes(daemon)
               if any(share in chunk for chunk in pairs.process_memory(pid))]
    assert set(holders) == {"signer of edge"}, holders


def test_a_second_key_server_with_the_same_share_takes_over(folder, authority, site_authority, origin, daemons):
    pair = make_split(folder, authority, site_authority, origin)
    second = harness.free_port()
    conf = (folder / "keys1/keyd.conf").read_text()
    (folder / "keys1/keyd2.conf").write_text(conf.replace(str(pair.keyd_port), str(second))
                                             .replace("run/keyd.sock", "run/keyd2.sock").replace("audit.log", "audit2.log"))
    pair.servers["keys2"] = second
    pair.write_edge()
    daemons.append(harness.Daemon(harness.FARKEY, "keyd", "-c", folder / "keys1/keyd2.conf", log=folder / "keyd2.log"))
    harness.wait_until(lambda: harness.port_open(second), "the second key server listens")
    pair.start(daemons)
    pair.s_client("-tls1_3")
    pair.keyd.stop()
    for _ in range(4):
        assert "hello from the origin" in pair.s_client("-tls1_3")


# --- shares that do not fit ---

def failed(pair):
    """What the key server says of an operation that failed; the client gets an alert."""
    text = pair.s_client("-tls1_3", check=False)
    assert "alert" in text and "hello" not in text, text
    return pair.keyd.log()


def test_without_its_share_an_edge_gets_nothing(folder, authority, site_authority, origin, daemons):
    pair = make_split(folder, authority, site_authority, origin, site_options="")
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    assert "SHARE_MISSING" in failed(pair)


@pytest.mark.parametrize("other_key", [False, True])
def test_a_share_of_another_splitting_is_foreign(folder, authority, site_authority, origin, daemons, other_key):
    pair = make_split(folder, authority, site_authority, origin)
    other = split_again(pair, "other", None if other_key else pair.folder / "original.key")
    (folder / "edge1/example.com.share.2").write_bytes((other / "example.com.share.2").read_bytes())
    if other_key:  # a share that belongs to none of the certificates is refused where it lies
        done = harness.run(harness.FARKEY, "check", "-c", folder / "edge1/edge.conf", check=False)
        assert done.returncode == 1 and "belongs to none of the certificates" in done.stderr + done.stdout
        return
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    assert "SHARE_FOREIGN" in failed(pair)


def test_shares_where_they_do_not_belong_are_refused_by_check(folder, authority, site_authority, origin):
    pair = make_split(folder, authority, site_authority, origin, shares="2-of-3")
    own, theirs = folder / "keys1/keys/example.com.share", folder / "edge1/example.com.share.2"
    mine, other = own.read_bytes(), theirs.read_bytes()

    def said(part):
        done = harness.run(harness.FARKEY, "check", "-c", folder / part, check=False)
        assert done.returncode == 1
        return done.stdout + done.stderr

    for part in ("keys1/keyd.conf", "edge1/edge.conf"):
        assert harness.run(harness.FARKEY, "check", "-c", folder / part).returncode == 0
    theirs.write_bytes(mine)
    assert "share 1 is the key server's" in said("edge1/edge.conf")
    theirs.write_bytes(other[:100])
    assert "not a share of a key" in said("edge1/edge.conf")
    own.write_bytes(other)
    assert "not share 1" in said("keys1/keyd.conf")
    own.write_bytes(b"nothing")
    assert "not a share of a key" in said("keys1/keyd.conf")
    own.write_bytes(mine)
    own.chmod(0o644)
    assert "open to other users" in said("keys1/keyd.conf")
    own.chmod(0o600)
    theirs.write_bytes(other)
    text = (folder / "edge1/edge.conf").read_text()
    (folder / "edge1/edge.conf").write_text(text.replace('share = {"example.com.share.2"}',
                                                         'share = {"example.com.share.2", "example.com.share.3"}'))
    assert "one host must not have both" in said("edge1/edge.conf")
    (folder / "edge1/edge.conf").write_text(text.replace("share =", 'mode = local key = {"../original.key"} share ='))
    assert "mode = local has whole keys" in said("edge1/edge.conf")
    assert pair.keyd is None


def test_three_shares_do_not_serve(folder, authority, site_authority, origin):
    """They can be kept, and checked; two is what comes together for an operation."""
    make_split(folder, authority, site_authority, origin, shares="3-of-3")
    done = harness.run(harness.FARKEY, "check", "-c", folder / "keys1/keyd.conf", check=False)
    assert done.returncode == 1 and "split it 2-of-N" in done.stdout + done.stderr


def test_the_original_serves_until_it_is_removed(folder, authority, site_authority, origin, daemons):
    """Splitting, bringing the share to the edge and removing the original: no handshake fails."""
    pair = pairs.Pair(folder, authority, site_authority, origin.port, keys={"example.com": ["p256"]})
    pair.start(daemons)
    keys = folder / "keys1/keys"
    split(folder, "example.com", "2-of-2", "--dir", "keys1/keys", "--out", "edge1")
    pair.s_client("-tls1_3")
    text = (folder / "edge1/edge.conf").read_text()
    (folder / "edge1/edge.conf").write_text(text.replace("origin =", 'share = {"example.com.share.2"} origin ='))
    farkey(folder, "control", "-c", "edge1/edge.conf", "reload")
    pair.s_client("-tls1_3")
    (keys / "example.com.key").unlink()
    farkey(folder, "control", "-c", "keys1/keyd.conf", "reload")
    assert "hello from the origin" in pair.s_client("-tls1_3")
    assert "SHARE" not in pair.keyd.log()


def test_sessions_go_on_without_the_share(folder, authority, site_authority, origin, daemons):
    """[0393]: resumption needs no private key, so no share and no key server."""
    pair = make_split(folder, authority, site_authority, origin).start(daemons)
    session = folder / "session"
    pair.s_client("-tls1_3", "-sess_out", session)
    pair.keyd.stop()
    text = pair.s_client("-tls1_3", "-sess_in", session)
    assert "Reused, TLSv1.3" in text and "hello from the origin" in text
