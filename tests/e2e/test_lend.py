"""Mode lend (K15): the key itself, sealed to the edge's signer, for a time; who has it, for how long, and who may have it."""
import base64
import contextlib
import os
import re
import shutil
import signal
import ssl
import threading

import pytest

import harness
import keyproto
import pair as pairs
from test_channel_trust import Trusting

RSA_KX = ("-tls1_2", "-cipher", "AES128-GCM-SHA256")
POLICY = "allow = {sign, decrypt, lend}\n"


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


def give_lend_key(folder, edge="edge1", keyserver="keys1"):
    """The edge makes its lend key; the key server gets the public half."""
    for part in (edge, keyserver):
        (folder / part).mkdir(exist_ok=True)
    harness.run(harness.FARKEY, "ca", "lend-key", "-o", folder / edge)
    shutil.copy(folder / edge / "lend.pub", folder / keyserver / f"{edge}.lend.pub")


@pytest.fixture
def build(folder, authority, site_authority, origin):
    """A pair that is not started. `time`: the site's lend_time."""
    def build_pair(kind="p256", time="1m", **options):
        give_lend_key(folder)
        site = f"mode = lend lend_time = {time} " + options.pop("site_options", "")
        options = {"policy": POLICY, "edge_allow": "sign, decrypt, lend",
                   "edge_policy": 'lend_key = "edge1.lend.pub"',
                   "edge_options": 'workers = 1 lend_key = "lend.key" tickets { enabled = off }',
                   **options}
        return pairs.Pair(folder, authority, site_authority, origin.port, keys={"example.com": [kind]},
                          site_options=site, **options)
    return build_pair


def lendings(pair):
    """Counted by the edge: (ok, failed)."""
    counters = pair.status("edge")["counters"]
    return tuple(counters.get(f'lendings_total{{result="{result}"}}', 0) for result in ("ok", "failed"))


def audited(pair):
    return (pair.folder / "keys1/audit.log").read_text()


def replace(path, old, new):
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new))


# --- what works ---

@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "ed25519"])
def test_both_versions_with_one_lending(build, daemons, kind):
    pair = build(kind).start(daemons)
    assert (pair.folder / "edge1/lend.key").stat().st_mode & 0o777 == 0o600
    for version in ("-tls1_2", "-tls1_3", "-tls1_2", "-tls1_3"):
        assert "hello from the origin" in pair.s_client(version)
    assert lendings(pair) == (1, 0)
    log = audited(pair)
    assert len(re.findall(r"\blend\b", log)) == 1 and "sign-1" not in log
    assert pair.audit_verify().returncode == 0
    site, = [site for worker in pair.status("edge")["workers"] for site in worker["sites"]]
    assert site["mode"] == "lend" and site["lent"] == {"seconds": 60, "lendings": 1, "failures": 0}


def test_rsa_and_dhe_key_exchange(build, daemons):
    pair = build("rsa2048", site_options="rsa_key_exchange = on dhe = on").start(daemons)
    for cipher in ("AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"):
        text = pair.s_client("-tls1_2", "-cipher", cipher)
        assert "hello from the origin" in text and cipher in text
    assert lendings(pair) == (1, 0)


def test_the_longest_key(build, daemons):
    pair = build("rsa4096").start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        assert "hello from the origin" in pair.s_client(version)


def test_certificates_of_the_key_server(build, daemons):
    pair = build(fetch_certificates=True).start(daemons)
    assert "hello from the origin" in pair.get()[1]


def test_for_one_operation(build, daemons):
    pair = build(time="0").start(daemons)
    before = lendings(pair)[0]
    for i in range(3):
        assert "hello from the origin" in pair.s_client("-tls1_3")
        assert lendings(pair)[0] == before + i + 1


def test_signed_requests(build, daemons):
    """The signer believes the edge alone: its request's signature names whose lend key it must be."""
    pair = build("rsa2048", edge_policy='lend_key = "edge1.lend.pub" request_key = "edge1.request.pub"',
                 keyd_options="fronts = 1 signers = 1 signed_requests = on",
                 edge_channel_options='request_key = "request.key"')
    harness.run(harness.FARKEY, "ca", "request-key", "-o", pair.folder / "edge1")
    shutil.copy(pair.folder / "edge1/request.pub", pair.folder / "keys1/edge1.request.pub")
    pair.start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        assert "hello from the origin" in pair.s_client(version)
    assert lendings(pair) == (1, 0)


def test_concurrent_handshakes_wait_for_one_lending(build, daemons):
    """The key server is stopped while they come, then goes on."""
    pair = build("rsa2048", site_options="deadline = 30s")
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    pair.edge.wait_log("key server is up")
    children = pair.keyd.children()
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    done = []
    threads = [threading.Thread(target=lambda: done.append(pair.s_client("-tls1_3"))) for _ in range(12)]
    try:
        for thread in threads:
            thread.start()
        harness.wait_until(lambda: pair.status("edge")["counters"]["connections"] == 12, "all have come")
        assert done == []
    finally:
        for pid in children:
            os.kill(pid, signal.SIGCONT)
    for thread in threads:
        thread.join()
    assert len(done) == 12 and all("hello from the origin" in text for text in done)
    assert lendings(pair) == (1, 0)


def test_without_the_key_server_while_the_key_is_here(build, daemons):
    pair = build().start(daemons)
    pair.keyd.stop()
    for _ in range(3):
        assert "hello from the origin" in pair.s_client("-tls1_3")


def test_signers_that_die_borrow_anew(build, daemons):
    pair = build(edge_options='workers = 2 lend_key = "lend.key" tickets { enabled = off }').start(daemons)
    assert len(pair.edge.children("signer")) == 2
    before = pair.edge.children("signer")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    harness.wait_until(lambda: len(set(pair.edge.children("signer")) - set(before)) == 2, "new signers are there")
    harness.wait_until(lambda: "hello from the origin" in pair.s_client("-tls1_3", check=False), "they serve")


# --- how long, and where ---

@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_borrowed_again_when_the_time_is_over(build, daemons, kind):
    pair = build(kind, time="1s").start(daemons)
    first = lendings(pair)[0]
    harness.wait_until(lambda: "hello" in pair.s_client("-tls1_3") and lendings(pair)[0] > first, "another lending")
    assert lendings(pair)[1] == 0


def processes(daemon, role):
    signers = daemon.children("signer")
    yield f"master of {role}", daemon.pid
    for pid in daemon.children():
        yield f"{'signer' if pid in signers else 'process'} of {role}", pid


def holders(pair, secrets):
    """Whose memory has any of the numbers."""
    found = set()
    for daemon, role in ((pair.keyd, "keyd"), (pair.edge, "edge")):
        for name, pid in processes(daemon, role):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found |= {name} if pairs.holds_any(pid, secrets) else set()
    return found


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "ed25519"])
def test_the_key_is_in_no_memory_but_that_of_signers(build, daemons, kind):
    """And in that of the edge's signer until the time is over."""
    pair = build(kind, time="4s", site_options="rsa_key_exchange = on" if kind == "rsa2048" else "").start(daemons)
    secrets = pairs.private_numbers(pair.folder / "keys1/keys/example.com.key")
    since = lendings(pair)[0]
    while True:  # a lending whose time is not over when all have been looked at
        for options in (("-tls1_2",), ("-tls1_3",), *((RSA_KX,) if kind == "rsa2048" else ())):
            assert "hello from the origin" in pair.s_client(*options)
        count, found = lendings(pair)[0], holders(pair, secrets)
        assert found <= {"signer of keyd", "signer of edge"}
        if "signer of edge" in found:
            break
        assert count - since < 10
    assert "signer of keyd" in found
    harness.wait_until(lambda: holders(pair, secrets) == {"signer of keyd"}, "the edge's signer has it no more")


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_after_an_operation_nothing_is_left(build, daemons, kind):
    pair = build(kind, time="0").start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        assert "hello from the origin" in pair.s_client(version)
    secrets = pairs.private_numbers(pair.folder / "keys1/keys/example.com.key")
    assert holders(pair, secrets) == {"signer of keyd"}


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
def test_the_lend_key_is_in_the_signer_alone(build, daemons):
    pair = build().start(daemons)
    text = harness.run("openssl", "pkey", "-in", pair.folder / "edge1/lend.key", "-noout", "-text").stdout
    raw = bytes.fromhex(re.sub(r"[^0-9a-f]", "", re.search(r"priv:\n((?:    [0-9a-f:]+\n)+)", text)[1]))
    body = "".join((pair.folder / "edge1/lend.key").read_text().splitlines()[1:-1]).encode()[24:]
    assert holders(pair, [raw, body]) == {"signer of edge"}


# --- who may ---

def refused(pair, why):
    text = pair.s_client("-tls1_3", check=False)
    assert "alert" in text and "hello" not in text, text
    pair.edge.wait_log(r'no key is lent .*site="example\.com"')
    pair.keyd.wait_log(why)
    assert lendings(pair)[0] == 0 and lendings(pair)[1] > 0


@pytest.mark.parametrize("options", [{"policy": "allow = {sign, decrypt}\n"}, {"policy": None},
                                     {"edge_allow": "sign, decrypt"}])
def test_lending_is_off_unless_key_and_edge_say_so(build, daemons, options):
    pair = build(**options)
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    refused(pair, r'operation refused .*op="lend" why="(policy|edge)"')


def test_an_edge_with_another_lend_key_gets_nothing(build, daemons):
    """The key server's signer knows to whom it may be sealed: what the edge says is not enough."""
    pair = build()
    for name in ("lend.key", "lend.pub"):
        (pair.folder / "edge1" / name).unlink()
    harness.run(harness.FARKEY, "ca", "lend-key", "-o", pair.folder / "edge1")
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    refused(pair, r'operation failed .*op="lend" err=DENIED')


@pytest.mark.parametrize("how", ["policy", "edge"])
def test_revoking_ends_further_lendings(build, daemons, how):
    pair = build(time="0").start(daemons)
    count = lendings(pair)[0]
    if how == "policy":
        (pair.folder / "keys1/keys/example.com.policy").write_text("allow = {sign}\n")
    else:
        replace(pair.folder / "keys1/keyd.conf", "allow = {sign, decrypt, lend}", "allow = {sign}")
    harness.run(harness.FARKEY, "control", "-c", pair.folder / "keys1/keyd.conf", "reload")
    assert "alert" in pair.s_client("-tls1_3", check=False)
    assert lendings(pair) == (count, 1)
    harness.wait_until(lambda: audited(pair).count("lend") > count, "the refusal has its line")


def test_an_edge_that_is_removed_is_lent_nothing(build, daemons):
    pair = build(time="0", site_options="deadline = 500ms").start(daemons)
    count = lendings(pair)[0]
    conf = pair.folder / "keys1/keyd.conf"
    conf.write_text(re.sub(r'^edge "edge1".*\n', 'edge "other" { keys = {"*"} }\n', conf.read_text(), flags=re.M))
    harness.run(harness.FARKEY, "control", "-c", conf, "reload")
    pair.keyd.wait_log("channel closed: no longer allowed")
    assert "alert" in pair.s_client("-tls1_3", check=False)
    assert lendings(pair)[0] == count


def test_an_edge_whose_certificate_is_revoked_is_lent_nothing(folder, authority, site_authority, origin, daemons):
    give_lend_key(folder)
    pair = Trusting(folder, authority, site_authority, origin.port, policy=POLICY, edge_allow="sign, lend",
                    edge_policy='lend_key = "edge1.lend.pub"',
                    edge_options='workers = 1 lend_key = "lend.key" tickets { enabled = off }',
                    site_options="mode = lend lend_time = 0 deadline = 500ms").start(daemons)
    count = lendings(pair)[0]
    pair.revoke("edge1", told="keys1")
    pair.keyd.wait_log("channel closed: no longer allowed")
    assert "alert" in pair.s_client("-tls1_3", check=False)
    assert lendings(pair)[0] == count


def test_a_key_is_lent_for_what_is_permitted(build, daemons):
    """The edge's signer has the key, and does not decrypt with it when the key server would not."""
    pair = build("rsa2048", policy="allow = {sign, lend}\n", site_options="rsa_key_exchange = on").start(daemons)
    assert "hello from the origin" in pair.s_client("-tls1_2")
    assert "alert" in pair.s_client(*RSA_KX, check=False)
    assert "hello from the origin" in pair.s_client("-tls1_3")


# --- a client of its own: what stands on the wire ---

def raw_public(path):
    """The 32 bytes of an X25519 public key in PEM: its SubjectPublicKeyInfo ends with them."""
    return base64.b64decode("".join(path.read_text().splitlines()[1:-1]))[-32:]


def test_on_the_wire(build, daemons, authority):
    pair = build()
    pair.start_keyd(daemons)
    recipient = raw_public(pair.folder / "keys1/edge1.lend.pub")
    spki = keyproto.spki_of(ssl.PEM_cert_to_DER_cert((pair.folder / "edge1/example.com.crt").read_text()))
    ski = keyproto.ski_of(spki)
    edge = pair.folder / "edge1"
    with keyproto.Channel(("127.0.0.1", pair.keyd_port), edge / "channel.crt", edge / "channel.key",
                          edge / "ca.crt") as channel:
        answer = channel.call(keyproto.LEND, keyproto.lend(recipient, b"\x09" + bytes(31), 5000), ski=ski)
        lent = keyproto.Lent(answer)
        assert (lent.seconds, lent.permissions, lent.spki) == (3600, 0x0007, spki)
        assert len(lent.sealed) == 32 + 2 * 48
        number = max(pairs.private_numbers(pair.folder / "keys1/keys/example.com.key"), key=len)
        assert number not in answer and number[::-1] not in answer
        for payload, code in ((keyproto.lend(bytes(32), bytes(32), 1), 0x40),  # not this edge's lend key
                              (keyproto.lend(recipient, bytes(32), 1), 0x01),  # no X25519 public key
                              (keyproto.lend(recipient, recipient, 1)[:-1], 0x07),
                              (keyproto.lend(recipient, recipient, 1) + b"x", 0x07)):
            with pytest.raises(keyproto.Refused) as refusal:
                channel.call(keyproto.LEND, payload, ski=ski)
            assert refusal.value.code == code
        assert [key["permissions"] for key in channel.keys()[0]] == [0x0407]


def test_an_edge_asks_for_itself_alone(build, daemons):
    """Two edges may borrow the key; one of them has it sealed to its own lend key, not to the other's."""
    pair = build()
    give_lend_key(pair.folder, edge="edge2")
    conf = pair.folder / "keys1/keyd.conf"
    conf.write_text(conf.read_text() + 'edge "edge2" { keys = {"*"} allow = {sign, lend} lend_key = "edge2.lend.pub" }\n')
    pair.start_keyd(daemons)
    edge = pair.folder / "edge1"
    ski = keyproto.ski_of(keyproto.spki_of(ssl.PEM_cert_to_DER_cert((edge / "example.com.crt").read_text())))
    own, other = (raw_public(pair.folder / f"keys1/{name}.lend.pub") for name in ("edge1", "edge2"))
    with keyproto.Channel(("127.0.0.1", pair.keyd_port), edge / "channel.crt", edge / "channel.key",
                          edge / "ca.crt") as channel:
        with pytest.raises(keyproto.Refused) as refusal:
            channel.call(keyproto.LEND, keyproto.lend(other, own, 60), ski=ski)
        assert refusal.value.code == 0x40
        assert keyproto.Lent(channel.call(keyproto.LEND, keyproto.lend(own, own, 60), ski=ski)).seconds == 60


def test_split_keys_are_not_lent(folder, authority, site_authority, origin, daemons):
    give_lend_key(folder)
    pair = pairs.Pair(folder, authority, site_authority, origin.port, policy=POLICY,
                      edge_allow="sign, lend", edge_policy='lend_key = "edge1.lend.pub"')
    harness.run(harness.FARKEY, "key", "split", "example.com", "--shares", "2-of-2", "--dir", "keys1/keys",
                "--out", "edge1", "--remove-original", cwd=folder)
    done = harness.run(harness.FARKEY, "check", "-c", folder / "keys1/keyd.conf", check=False)
    assert done.returncode == 1 and "the key is split, so it is lent to nobody" in done.stdout + done.stderr
    assert pair.keyd is None


# --- mistakes ---

@pytest.mark.parametrize("old,new,said", [
    ('lend_key = "lend.key"', "", "mode = lend needs a key of this edge's"),
    ('"lend.key"', '"lend.pub"', "lend.pub: open to other users; chmod 600 it"),
    ('"lend.key"', '"channel.key"', "not a private X25519 key in PEM; make one with farkey ca lend-key"),
    ('"lend.key"', '"missing.key"', "not found"),
    ("lend_time = 1m", "lend_time = 1500ms", "lend_time is not in whole seconds"),
    ("lend_time = 1m", "lend_time = 2h", "lend_time"),
    ("lend_time = 1m", 'share = {"x"}', "split keys are not lent"),
    ("mode = lend", 'mode = lend key = {"channel.key"}', "remove key"),
])
def test_mistakes_at_the_edge(build, old, new, said):
    pair = build()
    replace(pair.folder / "edge1/edge.conf", old, new)
    done = harness.run(harness.FARKEY, "check", "-c", pair.folder / "edge1/edge.conf", check=False)
    assert done.returncode == 1 and said in done.stdout + done.stderr, done.stdout + done.stderr


@pytest.mark.parametrize("old,new,said", [
    ('lend_key = "edge1.lend.pub"', "", "allow has lend, but there is no lend_key"),
    ("edge1.lend.pub", "channel.crt", "not a public X25519 key in PEM"),
    ("edge1.lend.pub", "missing.pub", "No such file"),
])
def test_mistakes_at_the_key_server(build, old, new, said):
    pair = build()
    replace(pair.folder / "keys1/keyd.conf", old, new)
    done = harness.run(harness.FARKEY, "check", "-c", pair.folder / "keys1/keyd.conf", check=False)
    assert done.returncode == 1 and said in done.stdout + done.stderr, done.stdout + done.stderr


def test_a_lend_key_is_not_overwritten(folder):
    give_lend_key(folder)
    before = (folder / "edge1/lend.key").read_bytes()
    done = harness.run(harness.FARKEY, "ca", "lend-key", "-o", folder / "edge1", check=False)
    assert done.returncode == 1 and "lend.key is there already; nothing was changed" in done.stderr
    assert (folder / "edge1/lend.key").read_bytes() == before


def test_a_new_lend_key_by_reload(build, daemons):
    """Both ends get it; what was lent before goes with the signers of before."""
    pair = build(time="0").start(daemons)
    for name in ("lend.key", "lend.pub"):
        (pair.folder / "edge1" / name).unlink()
    harness.run(harness.FARKEY, "ca", "lend-key", "-o", pair.folder / "edge1")
    shutil.copy(pair.folder / "edge1/lend.pub", pair.folder / "keys1/edge1.lend.pub")
    for part in ("keys1/keyd.conf", "edge1/edge.conf"):
        harness.run(harness.FARKEY, "control", "-c", pair.folder / part, "reload")
    assert "hello from the origin" in pair.s_client("-tls1_3")
