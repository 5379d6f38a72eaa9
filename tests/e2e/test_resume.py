"""Resumption (K6): who makes the keys of tickets, how sessions are named, at which edge they are resumed, and what ends it.

A fleet (fleet.py) is one key server with two edges that serve the same sites. Clients that resume with the address they
came from reach both by way of a relay, which gives one connection to one edge and the next to the other.
"""
import itertools
import os
import re
import shutil
import signal
import ssl
import time

import pytest

import edgelib
import fleet as fleets
import harness
import keyproto
import pair as pairs
import test_modes
from test_lend import give_lend_key


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


@pytest.fixture
def make_fleet(folder, authority, site_authority, origin):
    def make(**options):
        return fleets.Fleet(folder, authority, site_authority, origin.port, **options)
    return make


@pytest.fixture
def fleet(make_fleet, daemons):
    made = make_fleet().start(daemons)
    made.wait_for_keys()
    return made


# --- the matrix ---

#          keys of    named by  at the same edge, at another
EXPECTED = {("edge", "id"): ("yes", "no"),
            ("edge", "ticket"): ("yes", "no"),
            ("edge", "psk"): ("yes", "no"),
            ("shared", "id"): ("yes", "no"),  # the cache is the host's
            ("redis", "id"): ("yes", "yes"),  # shared keys, and sessions = redis
            ("shared", "ticket"): ("yes", "yes"),
            ("shared", "psk"): ("yes", "yes"),
            ("keyserver", "id"): ("yes", "no"),  # ids are no tickets
            ("keyserver", "ticket"): ("yes", "yes"),
            ("keyserver", "psk"): ("yes", "yes"),
            # mode handshake: all is with the key server, which binds sessions to the edge
            ("handshake", "id"): ("yes", "no"),
            ("handshake", "ticket"): ("yes", "no"),
            ("handshake", "psk"): ("yes", "no")}


# curl offers no ticket in TLS 1.2: it resumes by id.
def expected_of(client, tickets, naming):
    return EXPECTED[tickets, "id" if (client, naming) == ("curl", "ticket") else naming]


def resumed_by(fleet, since):
    """What both edges say of their connections since then."""
    logs = [fleet.edge.log()[since[0]:]] + [edge.log()[mark:] for edge, mark in zip(fleet.edges, since[1:])]
    return [how for log in logs for how in re.findall(r'sni="example.com".*resumed="(\w+)"', log)]


# What is TLS 1.2's alone has no PSKs, which are TLS 1.3's.
CELLS = ([("sign", "p256", *cell) for cell in EXPECTED if cell[0] != "handshake"]
         + [("decrypt", "rsa2048", *cell) for cell in EXPECTED if cell[0] != "handshake" and cell[1] != "psk"]
         + [(mode, "p256", *cell) for mode in (*test_modes.OPAQUE, test_modes.EXPOSED) for cell in EXPECTED
            if cell[0] != "handshake" and cell[1] != "psk"]
         + [("local", "p256", *cell) for cell in EXPECTED if cell[0] == "edge"]
         + [("lend", "p256", *cell) for cell in EXPECTED if cell[0] != "handshake"]
         + [("handshake", "p256", *cell) for cell in EXPECTED if cell[0] == "handshake"])


def is_short(cell):
    """Each way of keeping sessions in one mode, and each mode once."""
    return (cell[0] in ("sign", "handshake") or cell[0] == "local" and cell[3] == "id"
            or cell[2:] == (("shared", "ticket") if cell[0] in ("decrypt", "lend", "keys") else ("keyserver", "ticket")))


@pytest.mark.parametrize("mode,kind,tickets,naming",
                         [cell if is_short(cell) else pytest.param(*cell, marks=pytest.mark.long) for cell in CELLS])
def test_matrix(make_fleet, folder, daemons, mode, kind, tickets, naming):
    """Each client, and each edge: the cells of docs/modes.md."""
    handshake, lend = mode == "handshake", mode == "lend"
    allowed = "" if mode in ("sign", "decrypt", "local") else f", {mode.split()[0]}" + (", expose" if " " in mode else "")
    redis = fleets.Redis(folder).start(daemons) if tickets == "redis" else None
    fleet = make_fleet(tickets={"handshake": "edge", "redis": "shared"}.get(tickets, tickets),
                       keys={"example.com": [kind]}, fetch_certificates=handshake,
                       site_options=f"mode = {mode}{' sessions = redis' if redis else ''}",
                       policy=f"allow = {{sign, decrypt, tickets{allowed}}}\n",
                       edge_options=f"workers = 2 tickets {{ enabled = {'off' if naming == 'id' else 'on'} }}" +
                       (f' redis {{ address = "127.0.0.1:{redis.port}" timeout = 1s }}' if redis else "") +
                       (' lend_key = "lend.key"' if lend else ""))
    if lend:
        for name in fleet.edges_allowed:
            give_lend_key(folder, name)
            fleet.edges_allowed[name] = f'keys = {{"*"}} allow = {{lend, sign, tickets}} lend_key = "{name}.lend.pub"'
        fleet.write_keyd()
    if handshake:
        for name in fleet.edges_allowed:
            fleet.edges_allowed[name] = 'keys = {"*"} allow = {handshake}'
        fleet.write_keyd()
    if mode.split()[0] in test_modes.OPAQUE:
        for name in fleet.edges_allowed:
            fleet.edges_allowed[name] = f'keys = {{"*"}} allow = {{tickets{allowed}}}'
        fleet.write_keyd()
    if mode == "local":
        for edge in ("edge1", "edge2"):
            conf = fleet.folder / edge / "edge.conf"
            key = fleet.folder / "keys1/keys/example.com.key"
            conf.write_text(re.sub(r"keyservers = {[^}]*}", f'key = {{"{key}"}}', conf.read_text()))
    fleet.start(daemons)
    if tickets != "keyserver":  # there, when clients come
        fleet.wait_for_keys()
    if redis:
        harness.wait_until(fleet.reach_the_store, "the store is up")
    version, exchange = ("1.3" if naming == "psk" else "1.2"), ("rsa" if mode == "decrypt" else "ecdhe")
    for client, place in itertools.product(test_modes.CLIENTS, (0, 1)):
        expected = expected_of(client, tickets, naming)[place]
        relay = fleets.Relay([fleet.port] if place == 0 else fleet.ports())

        def resumed():
            since = [len(fleet.edge.log())] + [len(edge.log()) for edge in fleet.edges]
            assert test_modes.RUN[client](fleets.At(fleet, relay.port), version, kind, exchange, True), (client, place)
            harness.wait_until(lambda: len(resumed_by(fleet, since)) == 2, "both connections are told of")
            return sorted(resumed_by(fleet, since))
        try:
            found = resumed()
            # Keys for tickets are asked for, and sessions kept, while nobody waits for them. gnutls-cli comes back
            # when it has the Finished, maybe to another worker before the first has kept the session.
            at_once = tickets in ("keyserver", "redis") or (client, naming) == ("gnutls", "id")
            if at_once and found != sorted(["no", expected]):
                found = resumed()
            assert found == sorted(["no", expected]), (client, place)
        finally:
            relay.close()


# --- shared keys ---

def test_all_edges_open_what_one_has_sealed(fleet):
    for version in ("tls1_2", "tls1_3"):
        for maker, other in itertools.permutations(fleet.ports(), 2):
            assert fleet.resumes(other, fleet.session(maker, version), version)
    audit = (fleet.folder / "keys1/audit.log").read_text()
    assert len(re.findall("ticket-keys", audit)) >= 2 and fleet.audit_verify().returncode == 0


def test_no_site_opens_anothers(make_fleet, daemons, site_authority):
    """Both with the same private key, so with the same ticket keys; CVE-2025-23419."""
    fleet = make_fleet()
    store = fleet.folder / "keys1/keys"
    _, certificate = site_authority.issue(store / "example.com", "example.com", "DNS:example.com,DNS:b.example.com")
    for edge in ("edge1", "edge2"):
        shutil.copy(certificate, fleet.folder / edge)
        conf = fleet.folder / edge / "edge.conf"
        text = conf.read_text()
        block = text[text.index('site "example.com"'):]
        conf.write_text(text + block.replace('site "example.com"', 'site "b.example.com"'))
    fleet.start(daemons)
    fleet.wait_for_keys()
    harness.wait_until(lambda: all(fleet.ticket_keys("b.example.com")), "the other site has ticket keys")
    for version in ("tls1_2", "tls1_3"):
        session = fleet.session(fleet.port, version)
        for port in fleet.ports():
            assert not fleet.resumes(port, session, version, "b.example.com")
            assert fleet.resumes(port, session, version)


def test_signed_requests_and_sealed_answers(make_fleet, daemons):
    fleet = make_fleet(edge_channel_options='request_key = "request.key"', keyd_options="fronts = 1 signers = 1 "
                       "signed_requests = on")
    for name in ("edge1", "edge2"):
        private = fleet.folder / name / "request.key"
        harness.run("openssl", "genpkey", "-algorithm", "ED25519", "-out", private)
        private.chmod(0o600)
        harness.run("openssl", "pkey", "-in", private, "-pubout", "-out", fleet.folder / "keys1" / f"{name}.pub")
        fleet.edges_allowed[name] += f' request_key = "{name}.pub"'
    fleet.write_keyd()
    fleet.start(daemons)
    fleet.wait_for_keys()
    assert fleet.resumes(fleet.ports()[1], fleet.session(fleet.port))


def test_at_no_moment_do_edges_differ(make_fleet, daemons):
    """Keys change every two seconds; each edge opens what the other has sealed just now, all the time."""
    fleet = make_fleet(limits="ticket_life = 8s").start(daemons)
    fleet.wait_for_keys()
    first = fleet.session(fleet.port, path="first")
    begin, made = time.monotonic(), 0
    while time.monotonic() - begin < 4.5:
        for maker, other in itertools.permutations(fleet.ports(), 2):
            assert fleet.resumes(other, fleet.session(maker))
            made += 1
    assert made >= 4
    if time.monotonic() - begin < 5.5:  # its key has sealed for two seconds at most, and opens for eight
        assert all(fleet.resumes(port, first) for port in fleet.ports())
    for port in fleet.ports():
        harness.wait_until(lambda port=port: not fleet.resumes(port, first), "its key has ended")


# --- as the key server has it, seen by an independent client ---

def channel_of(fleet, name):
    own = fleet.folder / name
    return keyproto.Channel(("127.0.0.1", fleet.keyd_port), own / "channel.crt", own / "channel.key", own / "ca.crt",
                            identity="farkey:keyserver:keys1", timeout=harness.PATIENCE)


def ski_of(fleet, name):
    pem = (fleet.folder / f"keys1/keys/{name}.crt").read_text()
    return keyproto.ski_of(keyproto.spki_of(ssl.PEM_cert_to_DER_cert(pem)))


def test_all_who_may_get_the_same_keys(make_fleet, daemons):
    fleet = make_fleet(keys={"a.example": ["p256"], "b.example": ["rsa2048"], "c.example": ["ed25519"]},
                       keyd_options="fronts = 2 signers = 2")
    (fleet.folder / "keys1/keys/c.example.policy").write_text("allow = {sign, decrypt}\n")
    fleet.edges_allowed["edge3"] = 'keys = {"a.example"} allow = {sign}'
    fleet.edges_allowed["edge2"] = 'keys = {"a.example"} allow = {tickets}'
    harness.channel_identity(fleet.authority, fleet.folder / "edge3", "edge", "edge3")
    fleet.write_keyd()
    fleet.start_keyd(daemons)
    a, b, c = (ski_of(fleet, f"{name}.example") for name in "abc")

    def get(name, ski, payload=b""):
        with channel_of(fleet, name) as channel:
            return keyproto.TicketKeys(channel.call(keyproto.TICKET_KEYS, payload, ski=ski))

    def refused(*args):
        with pytest.raises(keyproto.Refused) as caught:
            get(*args)
        return caught.value.code
    first = get("edge1", a)
    assert [key[2] == 0 for key in first.keys] == [False, True] and first.refresh == 12 * 3600 * 1000 // 16
    for _ in range(4):  # by any front, of any signer
        assert [key[:2] for key in get("edge2", a).keys] == [key[:2] for key in first.keys]
    others = get("edge1", b).keys
    assert not {part for key in others for part in key[:2]} & {part for key in first.keys for part in key[:2]}
    assert refused("edge2", b) == 0x40 and refused("edge3", a) == 0x40 and refused("edge1", c) == 0x40
    assert refused("edge1", bytes(20)) == 0x02 and refused("edge1", a, b"x") == 0x07
    fleet.reload_keyd()  # nobody has lost anything
    assert [key[:2] for key in get("edge2", a).keys] == [key[:2] for key in first.keys]
    del fleet.edges_allowed["edge2"]
    fleet.reload_keyd()
    again = [key[1] for key in get("edge1", a).keys]
    assert not set(again) & {key[1] for key in first.keys}
    assert fleet.audit_verify().returncode == 0
    assert (fleet.folder / "keys1/audit.log").read_text().count("ticket-keys") >= 8


# --- how long ---

def test_each_site_says_how_long(make_fleet, daemons):
    """session_lifetime (K18): the one site's sessions end soon, the other's do not; by ticket and by PSK."""
    fleet = make_fleet(tickets="edge", keys={"example.com": ["p256"], "brief.example.com": ["p256"]})
    conf = fleet.folder / "edge1/edge.conf"
    conf.write_text(conf.read_text().replace('site "brief.example.com" {', 'site "brief.example.com" { session_lifetime = 2s'))
    fleet.start(daemons)
    for version in ("tls1_2", "tls1_3"):
        lasting = fleet.session(fleet.port, version, path="lasting")
        begin = time.monotonic()
        brief = fleet.session(fleet.port, version, "brief.example.com", path="brief")
        resumed = fleet.resumes(fleet.port, brief, version, "brief.example.com")
        assert resumed or time.monotonic() - begin > 1  # whole seconds
        harness.wait_until(lambda: not fleet.resumes(fleet.port, brief, version, "brief.example.com"), "it has ended")
        assert fleet.resumes(fleet.port, lasting, version)


# --- when things fail ---

def test_without_the_key_server_sessions_go_on(fleet, daemons):
    session = fleet.session(fleet.port)
    fleet.keyd.stop()
    fleet.edge.wait_log("key server is lost")
    for port in fleet.ports():
        assert fleet.resumes(port, session)
    assert fleet.get(check=False)[0] != 0  # full handshakes need the key
    before = len(fleet.edge.log())
    fleet.start_keyd(daemons)
    fleet.edge.wait_log("key server is up", since=before)
    # It has other keys now, of which all edges hear at once.
    harness.wait_until(lambda: not fleet.resumes(fleet.port, session), "edge1 has the new keys")
    harness.wait_until(lambda: not fleet.resumes(fleet.ports()[1], session), "edge2 has the new keys")
    fleet.wait_for_keys()
    assert fleet.resumes(fleet.ports()[1], fleet.session(fleet.port))


def test_a_restart_of_the_edge_ends_no_session(fleet, daemons):
    session = fleet.session(fleet.port)
    fleet.edge.stop()
    fleet.start_edge(daemons, ready=False)
    harness.wait_until(lambda: all(fleet.ticket_keys()), "edge1 has the keys again")
    assert fleet.resumes(fleet.port, session)


def test_a_reload_ends_no_session(fleet):
    session = fleet.session(fleet.port)
    fleet.keyd.process.send_signal(signal.SIGSTOP)  # nor does it need the key server
    try:
        answer = harness.control(fleet.folder / "edge1/run/edge.sock", "reload")
        assert answer.get("ok"), answer
        assert fleet.resumes(fleet.port, session)
    finally:
        fleet.keyd.process.send_signal(signal.SIGCONT)


def test_a_worker_that_dies_gets_the_keys_again(fleet):
    session = fleet.session(fleet.port)
    for pid in fleet.edge.children("edge-worker"):
        os.kill(pid, signal.SIGKILL)
    harness.wait_until(lambda: fleet.status("edge")["ready"] and all(fleet.ticket_keys()), "the worker is back")
    assert fleet.resumes(fleet.port, session)


# --- what ends it ---

def revoke_block(fleet):
    del fleet.edges_allowed["edge2"]


def revoke_permission(fleet):
    fleet.edges_allowed["edge2"] = 'keys = {"*"} allow = {sign, decrypt}'


def revoke_key_of_edge(fleet):
    fleet.edges_allowed["edge2"] = 'keys = {"other.example"} allow = {sign, decrypt, tickets}'


@pytest.mark.parametrize("revoke", [revoke_block, revoke_permission, revoke_key_of_edge])
def test_an_edge_that_is_revoked_ends_the_sessions_that_it_could_open(fleet, revoke):
    first, second = fleet.ports()
    session, others = fleet.session(first), fleet.session(second, path="others")
    assert fleet.resumes(first, session) and fleet.resumes(first, others)
    revoke(fleet)
    fleet.reload_keyd()
    harness.wait_until(lambda: not fleet.resumes(first, session), "edge1 has other ticket keys")
    assert not fleet.resumes(first, others)
    harness.wait_until(lambda: all(fleet.ticket_keys()), "edge1 has ticket keys")
    again = fleet.session(first, path="again")
    assert fleet.resumes(first, again)
    if revoke is not revoke_block:  # it still has its channel, and is told that it gets none
        edge2 = fleet.edges[0]
        harness.wait_until(lambda: edge2.ticket_keys() == [0], "edge2 has no ticket keys")
        assert "key server gives no ticket keys" in edge2.log()


def revocation_list(authority, path, certificates):
    """The CA's list of these certificates, made by the openssl command."""
    work = path.parent / "crl"
    work.mkdir(exist_ok=True)
    serials = [harness.run("openssl", "x509", "-in", one, "-noout", "-serial").stdout.strip().split("=")[1]
               for one in certificates]
    (work / "index").write_text("".join(f"R\t491231235959Z\t200101000000Z\t{serial}\tunknown\t/CN=edge\n"
                                        for serial in serials))
    (work / "conf").write_text(f"[ca]\ndefault_ca = x\n[x]\ndatabase = {work}/index\ndefault_md = sha256\n"
                               "default_crl_days = 30\n")
    harness.run("openssl", "ca", "-gencrl", "-config", work / "conf", "-cert", authority.certificate, "-keyfile",
                authority.key, "-out", path)


def test_an_edge_whose_certificate_is_revoked(make_fleet, daemons):
    fleet = make_fleet(channel_options='crl = "ca.crl"')
    crl = fleet.folder / "keys1/ca.crl"
    revocation_list(fleet.authority, crl, [])
    fleet.start(daemons)
    fleet.wait_for_keys()
    session = fleet.session(fleet.port)
    revocation_list(fleet.authority, crl, [])  # the same list anew takes nothing from anybody
    fleet.reload_keyd()
    assert fleet.resumes(fleet.port, session)
    revocation_list(fleet.authority, crl, [fleet.folder / "edge2/channel.crt"])
    fleet.reload_keyd()
    harness.wait_until(lambda: not fleet.resumes(fleet.port, session), "edge1 has other ticket keys")
    assert "new ticket keys: an edge may have the old ones no more" in fleet.keyd.log()


def test_a_key_without_the_permission_has_no_tickets(make_fleet, daemons):
    fleet = make_fleet(policy="allow = {sign, decrypt}\n").start(daemons)
    fleet.edge.wait_log("key server gives no ticket keys")
    for version in ("tls1_2", "tls1_3"):
        assert not fleet.resumes(fleet.port, fleet.session(fleet.port, version), version)
    policy = fleet.folder / "keys1/keys/example.com.policy"
    policy.write_text("allow = {sign, decrypt, tickets}\n")
    fleet.reload_keyd()
    fleet.wait_for_keys()
    session = fleet.session(fleet.port)
    assert fleet.resumes(fleet.ports()[1], session)
    policy.write_text("allow = {sign, decrypt}\n")
    fleet.reload_keyd()
    for port in fleet.ports():
        harness.wait_until(lambda port=port: not fleet.resumes(port, session), "no edge opens it any more")


def test_a_key_that_is_taken_away_ends_its_sessions(make_fleet, daemons, site_authority):
    fleet = make_fleet(keys={"example.com": ["p256"], "b.example.com": ["p256"]}).start(daemons)
    fleet.wait_for_keys()
    session = fleet.session(fleet.port)
    kept = fleet.session(fleet.port, name="b.example.com", path="kept")
    for path in (fleet.folder / "keys1/keys").glob("example.com.*"):
        path.unlink()
    fleet.reload_keyd()

    def refused(port):
        text = edgelib.s_client(port, "-sess_in", session, ca=site_authority.certificate)
        return "Reused" not in text
    for port in fleet.ports():
        harness.wait_until(lambda port=port: refused(port), "the key's sessions have ended")
        assert fleet.resumes(port, kept, name="b.example.com")


def test_a_site_that_is_taken_away_ends_its_sessions(fleet):
    session = fleet.session(fleet.port)
    conf = fleet.folder / "edge1/edge.conf"
    text = conf.read_text()
    conf.write_text(text.replace('site "example.com" {', 'site "another" { names = {"example.com"}'))
    answer = harness.control(fleet.folder / "edge1/run/edge.sock", "reload")
    assert answer.get("ok"), answer
    harness.wait_until(lambda: all(fleet.ticket_keys("another")), "the new site has ticket keys")
    assert not fleet.resumes(fleet.port, session)
    conf.write_text(text)
    harness.control(fleet.folder / "edge1/run/edge.sock", "reload")
    harness.wait_until(lambda: all(fleet.ticket_keys()), "the site is back")
    assert fleet.resumes(fleet.port, session)


@pytest.mark.parametrize("mode,why", [("local", "mode = local asks no key server for ticket keys"),
                                      ("handshake", "the key server seals and opens tickets")])
def test_modes_that_cannot_share(folder, authority, site_authority, origin, mode, why):
    fleet = fleets.Fleet(folder, authority, site_authority, origin.port, site_options=f"mode = {mode}")
    done = harness.run(harness.FARKEY, "check", "-c", fleet.folder / "edge1/edge.conf", check=False)
    assert done.returncode != 0 and why in done.stdout + done.stderr
