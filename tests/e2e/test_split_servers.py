"""Split keys between two key servers (K14): one combines, the other holds a share and gives it sealed, or its power."""
import base64
import os
import re
import threading

import pytest

import harness
import pair as pairs
from splitlib import Two, farkey, holders, processes, share_bytes, split


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


def named(daemons):
    """As processes(), with the key servers told apart."""
    for number, daemon in enumerate(daemons, 1):
        for name, pid in processes(daemon):
            yield f"{name} {number}", pid


# --- it serves ---

@pytest.mark.parametrize("kind,additive", [("rsa2048", False), ("p256", False), ("p384", False), ("ed25519", False),
                                           ("rsa2048", True)])
def test_two_key_servers_in_both_versions(folder, authority, site_authority, origin, daemons, kind, additive):
    two = Two(folder, authority, site_authority, origin.port, kind=kind, additive=additive).start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        assert "hello from the origin" in two.s_client(version)
    assert "hello from the origin" in two.get()[1]
    for part in ("keys1", "keys2"):
        harness.run(harness.FARKEY, "audit", "verify", "--key", folder / part / "audit.key", folder / part / "audit.log")
    told = (folder / "keys2/audit.log").read_text()
    lines = re.findall(f"edge=keys1 key=example.com op={'partial-power' if additive else 'share'} sni=example.com "
                       "client=127.0.0.1 hash=[0-9a-f]+ result=OK", told)  # the client that it was for
    assert len(lines) == 3, told
    keys, = two.status("keyd")["keys"]
    assert keys["split"] == {"scheme": "additive" if additive else "shamir", "combined_here": True}
    harness.wait_until(lambda: two.sharer()["requests"] == 3, "status has what was asked")
    assert two.sharer()["failures"] == 0


@pytest.mark.parametrize("additive", [False, True])
def test_rsa_key_exchange(folder, authority, site_authority, origin, daemons, additive):
    two = Two(folder, authority, site_authority, origin.port, kind="rsa2048", additive=additive,
              site_options="mode = decrypt rsa_key_exchange = on").start(daemons)
    text = two.s_client("-tls1_2", "-cipher", "AES128-GCM-SHA256")
    assert "AES128-GCM-SHA256" in text and "hello from the origin" in text


STEPS = {"agree": "agree", "master": "master", "keys": "keys", "keys expose = master": "keys, expose",
         "handshake": "handshake"}


@pytest.mark.parametrize("mode", STEPS)
@pytest.mark.parametrize("allowed", [True, False])
def test_the_holders_policy_has_the_last_word(folder, authority, site_authority, origin, daemons, mode, allowed):
    """keys2 is asked once a handshake, and gives its share for what its own policy allows."""
    two = Two(folder, authority, site_authority, origin.port, kind="rsa2048",
              holder_allow=STEPS[mode] if allowed else "sign, decrypt", edge_allow=STEPS[mode],
              policy=f"allow = {{{STEPS[mode]}}}\n", fetch_certificates=mode == "handshake",
              site_options=f"mode = {mode} rsa_key_exchange = on").start(daemons)
    for cipher in ("ECDHE-RSA-AES128-GCM-SHA256", "AES128-GCM-SHA256"):
        text = two.s_client("-tls1_2", "-cipher", cipher, check=False)
        asked = cipher.startswith("ECDHE") or mode != "agree"  # whose RSA is a decryption, which it may not have
        if allowed and asked:
            assert "hello from the origin" in text, text
        else:
            assert "alert" in text and "hello" not in text, text
    expected = ["OK" if allowed else "DENIED"] * (1 if mode == "agree" else 2)

    def told():
        return re.findall(r"op=share .*result=(\w+)", (folder / "keys2/audit.log").read_text())
    harness.wait_until(lambda: len(told()) >= len(expected), "the holder's audit log has it")
    assert told() == expected
    assert ("SHARE_MISSING" in two.keyd.log()) is not allowed


@pytest.mark.parametrize("additive", [False, True])
def test_signed_requests_on_both_ways(folder, authority, site_authority, origin, daemons, additive):
    """The edge signs what it asks keys1 for, keys1 what it asks keys2 for; neither front is believed."""
    for part in ("edge1", "keys1"):
        (folder / part).mkdir(exist_ok=True)
        harness.run("openssl", "genpkey", "-algorithm", "ed25519", "-out", folder / part / "request.key")
        (folder / part / "request.key").chmod(0o600)
    two = Two(folder, authority, site_authority, origin.port, kind="rsa2048", additive=additive,
              keyd_options="fronts = 1 signers = 1 signed_requests = on", edge_policy='request_key = "edge1.pub"',
              edge_channel_options='request_key = "request.key"', channel_options='request_key = "request.key"',
              holder_options="signed_requests = on", sharer_options='request_key = "keys1.pub"')
    for part, place in (("edge1", "keys1"), ("keys1", "keys2")):
        harness.run("openssl", "pkey", "-in", folder / part / "request.key", "-pubout", "-out", folder / place / f"{part}.pub")
    two.start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        assert "hello from the origin" in two.s_client(version)


def test_many_at_once(folder, authority, site_authority, origin, daemons):
    two = Two(folder, authority, site_authority, origin.port).start(daemons)
    answers = []
    clients = [threading.Thread(target=lambda: answers.append(two.get(check=False))) for _ in range(24)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [answer[0] for answer in answers] == [0] * 24


# --- faults ---

def test_the_other_key_server_goes_and_comes_back(folder, authority, site_authority, origin, daemons):
    two = Two(folder, authority, site_authority, origin.port).start(daemons)
    assert "hello from the origin" in two.s_client("-tls1_3")
    two.holder.stop()
    two.wait_up(False)
    told = two.failed()
    assert "SHARE_MISSING" in told and "no share of a split key to be had" in told and "UNAVAILABLE" in told
    assert two.status("keyd")["ready"] is True  # other keys are served
    two.start_holder(daemons)
    two.wait_up(True)
    assert "hello from the origin" in two.s_client("-tls1_3")


def test_a_third_key_server_is_asked_in_the_second_ones_place(folder, authority, site_authority, origin, daemons):
    two = Two(folder, authority, site_authority, origin.port, more=["keys3"]).start(daemons)
    for name in ("keys2", "keys3"):
        two.holders[name].stop()
        two.wait_up(False, name)
        assert "hello from the origin" in two.s_client("-tls1_3")
        two.start_holder(daemons, name)
        two.wait_up(True, name)
    for name in ("keys2", "keys3"):
        assert " op=share " in (folder / name / "audit.log").read_text()


def test_a_key_server_that_hangs_has_its_time(folder, authority, site_authority, origin, daemons):
    two = Two(folder, authority, site_authority, origin.port).start(daemons)
    front, = two.holder.children("keyd-front")
    os.kill(front, 19)
    try:
        told = two.failed()
        assert "SHARE_MISSING" in told
    finally:
        os.kill(front, 18)
    two.wait_up(True)
    harness.wait_until(lambda: "hello from the origin" in two.s_client("-tls1_3", check=False), "it serves again")


def test_the_asker_is_started_again(folder, authority, site_authority, origin, daemons):
    two = Two(folder, authority, site_authority, origin.port).start(daemons)
    asker, = two.keyd.children("keyd-asker")
    os.kill(asker, 9)
    harness.wait_until(lambda: two.keyd.children("keyd-asker") not in ([], [asker]), "its successor")
    two.wait_up(True)
    assert "hello from the origin" in two.s_client("-tls1_3")


def test_a_reload_drops_nothing(folder, authority, site_authority, origin, daemons):
    two = Two(folder, authority, site_authority, origin.port).start(daemons)
    for _ in range(3):
        farkey(folder, "control", "-c", "keys1/keyd.conf", "reload")
        farkey(folder, "control", "-c", "keys2/keyd.conf", "reload")
        assert "hello from the origin" in two.s_client("-tls1_3")
    harness.wait_until(lambda: two.sharer()["requests"] == 3, "the channel is the same, and so are its figures")
    assert "SHARE" not in two.keyd.log()


def test_key_servers_come_and_go_with_a_reload(folder, authority, site_authority, origin, daemons):
    two = Two(folder, authority, site_authority, origin.port)
    conf = folder / "keys1/keyd.conf"
    text = conf.read_text()
    without = text[:text.index("keyserver ")]
    conf.write_text(without)
    two.start_holder(daemons)
    two.start_keyd(daemons)
    two.start_edge(daemons, ready=False)
    two.edge.wait_log("key server is up")
    assert "SHARE_MISSING" in two.failed()
    assert two.keyd.children("keyd-asker") == []
    conf.write_text(text)
    farkey(folder, "control", "-c", "keys1/keyd.conf", "reload")
    two.wait_up(True)
    assert "hello from the origin" in two.s_client("-tls1_3")
    conf.write_text(without)
    farkey(folder, "control", "-c", "keys1/keyd.conf", "reload")
    harness.wait_until(lambda: two.keyd.children("keyd-asker") == [], "the asker ends")
    assert "SHARE_MISSING" in two.failed()
    assert "keyservers" not in two.status("keyd")


# --- whom it is given to ---

def test_a_key_server_that_may_not_have_it_gets_nothing(folder, authority, site_authority, origin, daemons):
    two = Two(folder, authority, site_authority, origin.port, share_with="keys9").start(daemons)
    told = two.failed()
    assert "SHARE_MISSING" in told and "DENIED" in told
    assert "operation refused" in two.holder.log()
    (folder / "keys2/keys/example.com.policy").write_text('share_with = {"keys9", "keys1"}\n')
    farkey(folder, "control", "-c", "keys2/keyd.conf", "reload")
    assert "hello from the origin" in two.s_client("-tls1_3")


def test_a_share_is_given_for_what_its_policy_allows(folder, authority, site_authority, origin, daemons):
    two = Two(folder, authority, site_authority, origin.port, kind="rsa2048", holder_allow="sign",
              site_options="rsa_key_exchange = on").start(daemons)
    assert "hello from the origin" in two.s_client("-tls1_2")
    text = two.s_client("-tls1_2", "-cipher", "AES128-GCM-SHA256", check=False)
    assert "alert" in text and "hello" not in text
    assert "DENIED" in two.holder.log() and "SHARE_MISSING" in two.keyd.log()


def test_edges_learn_nothing_of_a_share_that_is_held(folder, authority, site_authority, origin, daemons):
    """An edge of the holder may use all its keys: this is none of them."""
    two = Two(folder, authority, site_authority, origin.port)
    conf = folder / "keys2/keyd.conf"
    conf.write_text(conf.read_text() + 'edge "edge1" { keys = {"*"} }\n')
    two.servers = {"keys2": two.ports["keys2"]}
    two.write_edge()
    edge_conf = folder / "edge1/edge.conf"
    edge_conf.write_text(edge_conf.read_text().replace("keyserver:keys1", "keyserver:keys2"))
    two.start_holder(daemons)
    two.start_edge(daemons, ready=False)
    two.edge.wait_log("key server is up")
    text = two.s_client("-tls1_3", check=False)
    assert "alert" in text and "hello" not in text
    assert "SHARE_MISSING" in two.holder.log()


# --- shares that do not fit ---

def replace_share(two, make):
    """Another splitting of the original, whose parts `make` puts in place; both are loaded anew."""
    folder = two.folder / "again"
    (folder / "keys").mkdir(parents=True)
    (folder / "keys/example.com.key").write_bytes((two.folder / "original.key").read_bytes())
    (folder / "keys/example.com.key").chmod(0o600)
    split(folder, "example.com", "2-of-3")
    make(folder)
    farkey(two.folder, "control", "-c", "keys2/keyd.conf", "reload")


@pytest.mark.parametrize("share", [2, 3])
def test_a_share_of_another_splitting_is_foreign(folder, authority, site_authority, origin, daemons, share):
    two = Two(folder, authority, site_authority, origin.port).start(daemons)
    place = folder / "keys2/keys/example.com.share"
    replace_share(two, lambda again: place.write_bytes((again / f"example.com.share.{share}").read_bytes()))
    assert "SHARE_FOREIGN" in two.failed()


def test_shares_that_cannot_be_held_are_refused_by_check(folder, authority, site_authority, origin):
    two = Two(folder, authority, site_authority, origin.port)
    own, held = folder / "keys1/keys/example.com.share", folder / "keys2/keys/example.com.share"
    policy = held.with_suffix(".policy")

    def said(part="keys2/keyd.conf"):
        done = harness.run(harness.FARKEY, "check", "-c", folder / part, check=False)
        assert done.returncode == 1, done.stdout
        return done.stdout + done.stderr

    for part in ("keys1/keyd.conf", "keys2/keyd.conf"):
        assert harness.run(harness.FARKEY, "check", "-c", folder / part).returncode == 0
    text = policy.read_text()
    policy.write_text("allow = {sign}\n")
    assert 'write share_with = {"NAME"} there' in said()
    policy.write_text("allow = {sign, share}\n")
    assert "share is for edge blocks" in said()
    policy.write_text(text)
    raw = held.read_bytes()
    held.write_bytes(own.read_bytes())
    assert "no other key server combines with this" in said()
    first, *middle, last = raw.decode().splitlines()
    data = bytearray(base64.b64decode("".join(middle)))
    data[-10] ^= 1
    held.write_text(f"{first}\n{base64.b64encode(data).decode()}\n{last}\n")
    assert "the share is damaged" in said()
    held.write_bytes(raw)
    conf = folder / "keys2/keyd.conf"
    good = conf.read_text()
    conf.write_text(good.replace("allow = {share}", "allow = {sign}"))
    assert "allow = {share} is for key servers" in said()
    conf.write_text(good.replace('identity = "farkey:keyserver:keys1" ', ""))
    assert "allow = {share} is for key servers" in said()
    assert two.keyd is None


# --- what is in memory ---

@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
@pytest.mark.parametrize("kind,additive", [("rsa2048", False), ("p256", False), ("rsa2048", True)])
def test_no_process_of_either_key_server_has_the_key_after_an_operation(folder, authority, site_authority, origin, daemons,
                                                                        kind, additive):
    two = Two(folder, authority, site_authority, origin.port, kind=kind, additive=additive).start(daemons)
    for version in ("-tls1_2", "-tls1_3"):
        two.s_client(version)
    secrets = pairs.private_numbers(folder / "original.key")
    held = share_bytes(folder / "keys2/keys/example.com.share")
    own = share_bytes(folder / "keys1/keys/example.com.share")
    has = {name for name, pid in named(two.all) if pairs.holds_any(pid, [held])}
    assert has == {"signer of keyd 2"}, has  # never in the clear anywhere else
    has = {name for name, pid in named(two.all) if pairs.holds_any(pid, [own])}
    assert has == {"signer of keyd 1"}, has
    assert holders(two.all, secrets) == set()
    signers = [pid for name, pid in named(two.all) if name.startswith("signer")]
    if additive:  # nor at any moment
        for _ in range(12):
            two.s_client("-tls1_3")
            assert not any(pairs.holds_any(pid, secrets) for pid in signers)
