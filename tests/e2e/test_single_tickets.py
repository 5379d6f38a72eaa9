"""Tickets whose keys are the key server's: each its own, and none is opened without asking (tickets = keyserver)."""
import re
import shutil
import ssl

import pytest

import edgelib
import fleet as fleets
import harness
import keyproto
import pair as pairs

VERSIONS = ("tls1_2", "tls1_3")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


@pytest.fixture
def make_fleet(folder, authority, site_authority, origin):
    def make(**options):
        return fleets.Fleet(folder, authority, site_authority, origin.port, tickets="keyserver", **options)
    return make


@pytest.fixture
def fleet(make_fleet, daemons):
    return ready(make_fleet().start(daemons))


def ready(fleet):
    """Both edges have their channels: full handshakes can be made, and tickets sealed."""
    for log in (fleet.edge.wait_log, fleet.edges[0].daemon.wait_log):
        log("key server is up", since=0)
    return fleet


def operations(fleet, name):
    return len(re.findall(rf"\b{name}\b", (fleet.folder / "keys1/audit.log").read_text()))


def channel_of(fleet, name):
    own = fleet.folder / name
    return keyproto.Channel(("127.0.0.1", fleet.keyd_port), own / "channel.crt", own / "channel.key", own / "ca.crt",
                            identity="farkey:keyserver:keys1", timeout=harness.PATIENCE)


def ski_of(fleet, name="example.com"):
    pem = (fleet.folder / f"keys1/keys/{name}.crt").read_text()
    return keyproto.ski_of(keyproto.spki_of(ssl.PEM_cert_to_DER_cert(pem)))


def test_each_edge_resumes_with_one_question(fleet):
    for version in VERSIONS:
        for maker in fleet.ports():
            session = fleet.session(maker, version)
            for port in fleet.ports():
                before = operations(fleet, "ticket-unseal")
                assert fleet.resumes(port, session, version)
                harness.wait_until(lambda before=before: operations(fleet, "ticket-unseal") == before + 1,
                                   "one question")
    assert fleet.audit_verify().returncode == 0


def test_sealing_is_asked_for_in_advance(fleet):
    """Keys of sixteen tickets at a time: not a question for each handshake."""
    for _ in range(12):
        assert fleet.session(fleet.port, "tls1_2").exists()
    harness.wait_until(lambda: operations(fleet, "sign-1.2") == 12, "the audit log has all handshakes")
    assert 1 <= operations(fleet, "ticket-seal") <= 3
    assert fleet.ticket_keys()[0] > 0


def test_with_signed_requests(make_fleet, daemons):
    fleet = make_fleet(edge_channel_options='request_key = "request.key"',
                       keyd_options="fronts = 1 signers = 1 signed_requests = on")
    for name in ("edge1", "edge2"):
        private = fleet.folder / name / "request.key"
        harness.run("openssl", "genpkey", "-algorithm", "ED25519", "-out", private)
        private.chmod(0o600)
        harness.run("openssl", "pkey", "-in", private, "-pubout", "-out", fleet.folder / "keys1" / f"{name}.pub")
        fleet.edges_allowed[name] += f' request_key = "{name}.pub"'
    fleet.write_keyd()
    ready(fleet.start(daemons))
    assert fleet.resumes(fleet.ports()[1], fleet.session(fleet.port))


def test_tickets_outlive_a_restart_of_the_edge(fleet, daemons):
    session = fleet.session(fleet.port)
    fleet.edge.stop()
    before = len(fleet.edge.log())
    fleet.start_edge(daemons, ready=False)
    fleet.edge.wait_log("key server is up", since=before)
    assert fleet.resumes(fleet.port, session)


def test_no_site_opens_anothers(make_fleet, daemons, site_authority):
    """Both with the same private key; CVE-2025-23419."""
    fleet = make_fleet()
    store = fleet.folder / "keys1/keys"
    _, certificate = site_authority.issue(store / "example.com", "example.com", "DNS:example.com,DNS:b.example.com")
    for edge in ("edge1", "edge2"):
        shutil.copy(certificate, fleet.folder / edge)
        conf = fleet.folder / edge / "edge.conf"
        text = conf.read_text()
        block = text[text.index('site "example.com"'):]
        conf.write_text(text + block.replace('site "example.com"', 'site "b.example.com"'))
    ready(fleet.start(daemons))
    for version in VERSIONS:
        session = fleet.session(fleet.port, version)
        for port in fleet.ports():
            assert not fleet.resumes(port, session, version, "b.example.com")
            assert fleet.resumes(port, session, version)


# --- as the key server has it, seen by an independent client ---

def test_the_key_server_tells_the_keys_of_one_ticket(make_fleet, daemons):
    fleet = make_fleet(keys={"a.example": ["p256"], "b.example": ["rsa2048"]}, keyd_options="fronts = 2 signers = 2")
    fleet.edges_allowed["edge2"] = 'keys = {"*"} allow = {sign}'
    fleet.write_keyd()
    fleet.start_keyd(daemons)
    a, b, owner = ski_of(fleet, "a.example"), ski_of(fleet, "b.example"), bytes(range(32))

    def ask(opcode, payload, ski=a, name="edge1"):
        with channel_of(fleet, name) as channel:
            return channel.call(opcode, payload, ski=ski)

    def refused(*args, **options):
        with pytest.raises(keyproto.Refused) as caught:
            ask(*args, **options)
        return caught.value.code
    sealed = keyproto.SingleTickets(ask(keyproto.TICKET_SEAL, keyproto.ticket_seal(16, 1, owner)))
    assert len({part for ticket in sealed.tickets for part in ticket}) == 48
    assert 0 < sealed.life <= 3 * 3600 * 1000
    for name, aes, mac in sealed.tickets[:3]:  # by any front, of any signer
        opened = keyproto.UnsealedTicket(ask(keyproto.TICKET_UNSEAL, keyproto.ticket_unseal(name, 1, owner)))
        assert opened.keys == (aes, mac) and not opened.renew
        for mode, of in ((2, owner), (1, bytes(32))):
            other = keyproto.UnsealedTicket(ask(keyproto.TICKET_UNSEAL, keyproto.ticket_unseal(name, mode, of)))
            assert not set(other.keys) & {aes, mac}
    request = keyproto.ticket_unseal(sealed.tickets[0][0], 1, owner)
    assert refused(keyproto.TICKET_UNSEAL, request, ski=b) == 0x44
    assert refused(keyproto.TICKET_UNSEAL, request, name="edge2") == 0x40
    assert refused(keyproto.TICKET_SEAL, keyproto.ticket_seal(1, 1, owner), name="edge2") == 0x40
    assert refused(keyproto.TICKET_SEAL, keyproto.ticket_seal(17, 1, owner)) == 0x07
    assert refused(keyproto.TICKET_UNSEAL, request + b"x") == 0x07
    shared = keyproto.TicketKeys(ask(keyproto.TICKET_KEYS, b""))
    assert not {part for key in shared.keys for part in key[:2]} & {part for one in sealed.tickets for part in one}
    lines = [line for line in (fleet.folder / "keys1/audit.log").read_text().splitlines() if "ticket-unseal" in line]
    assert any(sealed.tickets[0][0].hex() in line for line in lines)
    assert fleet.audit_verify().returncode == 0


# --- what ends it ---

def revoke_block(fleet):
    del fleet.edges_allowed["edge2"]


def revoke_permission(fleet):
    fleet.edges_allowed["edge2"] = 'keys = {"*"} allow = {sign, decrypt}'


def revoke_key_of_edge(fleet):
    fleet.edges_allowed["edge2"] = 'keys = {"other.example"} allow = {sign, decrypt, tickets}'


@pytest.mark.parametrize("revoke", [revoke_block, revoke_permission, revoke_key_of_edge])
def test_an_edge_that_is_revoked(fleet, revoke):
    """At once, and everywhere: nobody opens what it sealed or could have had opened."""
    first, second = fleet.ports()
    session, others = fleet.session(first), fleet.session(second, path="others")
    assert fleet.resumes(first, session) and fleet.resumes(first, others)
    revoke(fleet)
    fleet.reload_keyd()
    assert not fleet.resumes(first, session) and not fleet.resumes(first, others)
    harness.wait_until(lambda: fleet.resumes(first, fleet.session(first, path="again")), "edge1 goes on")
    if revoke is revoke_permission:  # it serves, and its clients have tickets that nobody opens
        for version in VERSIONS:
            assert not fleet.resumes(second, fleet.session(second, version, path="mine"), version)
        fleet.edges[0].daemon.wait_log("no key server seals tickets", since=0)


def test_a_key_without_the_permission(fleet):
    session = fleet.session(fleet.port)
    assert fleet.resumes(fleet.port, session)
    (fleet.folder / "keys1/keys/example.com.policy").write_text("allow = {sign, decrypt}\n")
    fleet.reload_keyd()
    for port in fleet.ports():
        assert not fleet.resumes(port, session)
    for version in VERSIONS:  # and OpenSSL's clients do not mind
        assert not fleet.resumes(fleet.port, fleet.session(fleet.port, version), version)


def test_a_key_that_is_taken_away(make_fleet, daemons, site_authority):
    fleet = ready(make_fleet(keys={"example.com": ["p256"], "b.example.com": ["p256"]}).start(daemons))
    session = fleet.session(fleet.port)
    kept = fleet.session(fleet.port, name="b.example.com", path="kept")
    for path in (fleet.folder / "keys1/keys").glob("example.com.*"):
        path.unlink()
    fleet.reload_keyd()
    for port in fleet.ports():
        text = edgelib.s_client(port, "-sess_in", session, ca=site_authority.certificate)
        assert "Reused" not in text and "hello from the origin" not in text
        assert fleet.resumes(port, kept, name="b.example.com")


def test_a_site_that_is_taken_away(fleet):
    session = fleet.session(fleet.port)
    conf = fleet.folder / "edge1/edge.conf"
    conf.write_text(conf.read_text().replace('site "example.com" {', 'site "another" { names = {"example.com"}'))
    answer = harness.control(fleet.folder / "edge1/run/edge.sock", "reload")
    assert answer.get("ok"), answer
    assert not fleet.resumes(fleet.port, session)
    assert fleet.resumes(fleet.ports()[1], session)


def test_without_the_key_server_nothing_is_resumed(fleet, daemons):
    session = fleet.session(fleet.port)
    fleet.keyd.stop()
    fleet.edge.wait_log("key server is lost")
    text = edgelib.s_client(fleet.port, "-sess_in", session)
    assert "Reused" not in text and "hello from the origin" not in text
    before = len(fleet.edge.log())
    fleet.start_keyd(daemons)
    fleet.edge.wait_log("key server is up", since=before)
    assert not fleet.resumes(fleet.port, session)  # its secrets are other ones
    assert fleet.resumes(fleet.port, fleet.session(fleet.port))


@pytest.mark.parametrize("site,why", [("mode = local", "mode = local asks no key server for ticket keys"),
                                      ("mode = handshake", "the key server seals and opens tickets"),
                                      ("sessions = redis", "write tickets = shared")])
def test_sites_that_cannot(folder, authority, site_authority, origin, site, why):
    fleet = fleets.Fleet(folder, authority, site_authority, origin.port, tickets="keyserver", site_options=site,
                         edge_options="redis { }")
    done = harness.run(harness.FARKEY, "check", "-c", fleet.folder / "edge1/edge.conf", check=False)
    assert done.returncode != 0 and why in done.stdout + done.stderr
