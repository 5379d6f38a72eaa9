"""OCSP stapling from files: responses by openssl's responder, clients by openssl, GnuTLS and curl."""
import os
import re

import pytest

import harness
import netlib
import pair as pairs
from edgelib import Edge, Origin, http, site
from harness import FARKEY, control, curl, run, wait_until
from ocsplib import EXPIRED, SENT, asked, chain, ends, old, produced, respond, stapled, status_time

VERSIONS = ["-tls1_2", "-tls1_3"]
HANDSHAKES = [(kind, version) for kind in ("p256", "rsa2048") for version in VERSIONS]
SIGALGS = {"p256": "ECDSA+SHA256", "rsa2048": "RSA-PSS+SHA256"}


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    """Certificates with their issuer behind them, their responses, and some that are of no use."""
    folder = tmp_path_factory.mktemp("ocsp")
    for stem in "p256", "rsa2048":
        _, certificate = site_authority.issue(folder / stem, "example.com", "DNS:example.com", stem)
        chain(certificate, site_authority)
        respond(site_authority, certificate, folder / f"{stem}.ocsp", "-ndays", "3" if stem == "p256" else "5")
    site_authority.issue(folder / "stranger", "stranger", "DNS:stranger.example")
    certificate = folder / "p256.crt"
    respond(site_authority, certificate, folder / "revoked", state="R")
    respond(site_authority, certificate, folder / "unknown", state=None)
    respond(site_authority, certificate, folder / "by-stranger",
            signer=(folder / "stranger.key", folder / "stranger.crt"))
    respond(site_authority, folder / "stranger.crt", folder / "foreign")
    old(site_authority, certificate, folder / "old")
    respond(site_authority, certificate, folder / "spoiled", "-ndays", "3", "-badsig")
    respond(site_authority, certificate, folder / "endless", "-resp_no_certs")
    (folder / "late").write_bytes(bytes([0x30, 3, 10, 1, 3]))  # tryLater
    (folder / "text").write_text("no response\n")
    text = run("openssl", "base64", "-in", folder / "p256.ocsp").stdout
    (folder / "p256.pem").write_text(f"-----BEGIN OCSP RESPONSE-----\n{text}-----END OCSP RESPONSE-----\n")
    return folder


@pytest.fixture
def origin():
    made = Origin(http(b"hello from the origin"))
    yield made
    made.close()


def quoted(paths):
    return "{" + ", ".join(f'"{path}"' for path in paths) + "}"


def stapling_site(pki, origin, ocsp=("rsa2048.ocsp", "p256.ocsp"), stems=("p256", "rsa2048"), suffix="chain", **options):
    return site("example.com", [pki / f"{stem}.{suffix}" for stem in stems], [pki / f"{stem}.key" for stem in stems],
                [origin.address], ocsp=quoted(pki / name for name in ocsp), **options)


def ocsp_status(edge):
    """Of the one worker's one site."""
    return edge.status()["workers"][0]["sites"][0]["ocsp"]


def test_each_certificate_has_its_own(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [stapling_site(pki, origin)])
    for kind, version in HANDSHAKES:
        text = asked(edge.port, ca, version, "-sigalgs", SIGALGS[kind])
        assert "Cert Status: good" in text
        serial = run("openssl", "x509", "-in", pki / f"{kind}.crt", "-noout", "-serial").stdout.split("=")[1].strip()
        assert re.search(r"Serial Number: 0*(\w+)", text)[1] == serial.lstrip("0"), text
    assert edge.counter(SENT) == len(HANDSHAKES) and edge.counter(EXPIRED) == 0
    rows = {row["key"]: row for row in ocsp_status(edge)}
    assert {key: (row["until"], row["in_force"]) for key, row in rows.items()} == {
        "id-ecPublicKey": (ends(pki / "p256.ocsp"), True), "rsaEncryption": (ends(pki / "rsa2048.ocsp"), True)}
    assert 2 <= rows["id-ecPublicKey"]["days_left"] <= 3 and 4 <= rows["rsaEncryption"]["days_left"] <= 5
    # Who does not ask gets none.
    assert curl(f"https://example.com:{edge.port}/", ca=ca, resolve=f"example.com:{edge.port}:127.0.0.1")[0] == 0
    assert edge.counter(SENT) == len(HANDSHAKES)


@pytest.mark.parametrize("records", ["engine", "openssl"])
@pytest.mark.parametrize("version", VERSIONS)
def test_clients_believe_it(daemons, folder, pki, ca, origin, records, version):
    """curl and GnuTLS verify it by their own code, and the session goes on."""
    edge = Edge(daemons, folder, [stapling_site(pki, origin, records=records)])
    options = ["--tlsv1.2", "--tls-max", "1.2"] if version == "-tls1_2" else ["--tlsv1.3"]
    status, body, _ = curl(f"https://example.com:{edge.port}/", "--cert-status", *options, ca=ca,
                           resolve=f"example.com:{edge.port}:127.0.0.1")
    assert status == 0 and body == "hello from the origin"
    saved = folder / "saved"
    name = "VERS-TLS1.2" if version == "-tls1_2" else "VERS-TLS1.3"
    done = run("gnutls-cli", f"--port={edge.port}", "--sni-hostname=example.com", "--verify-hostname=example.com",
               f"--x509cafile={ca}", f"--priority=NORMAL:-VERS-ALL:+{name}", f"--save-ocsp={saved}", "127.0.0.1",
               input="GET / HTTP/1.0\r\n\r\n")
    assert "Status: The certificate is trusted" in done.stdout and "hello from the origin" in done.stdout
    assert saved.read_bytes() in [(pki / f"{stem}.ocsp").read_bytes() for stem in ("p256", "rsa2048")]
    assert edge.counter(SENT) == 2


def test_a_client_that_insists_is_refused_nothing_else(daemons, folder, pki, ca, origin):
    """curl --cert-status fails without a response: so that the test above says something."""
    edge = Edge(daemons, folder, [stapling_site(pki, origin, ocsp=["rsa2048.ocsp"], stems=["rsa2048"])])
    (folder / "other").mkdir()
    other = Edge(daemons, folder / "other", [site("example.com", [pki / "p256.chain"], [pki / "p256.key"], [origin.address])])
    for port, wanted in (edge.port, 0), (other.port, 91):
        assert curl(f"https://example.com:{port}/", "--cert-status", ca=ca, resolve=f"example.com:{port}:127.0.0.1",
                    check=False)[0] == wanted


def test_text_and_a_charged_responder(daemons, folder, pki, ca, origin, site_authority):
    key, certificate = folder / "responder.key", folder / "responder.crt"
    harness.make_key("p256", key)
    (folder / "ext").write_text("extendedKeyUsage=OCSPSigning\nauthorityKeyIdentifier=keyid\n")
    request = run("openssl", "req", "-new", "-key", key, "-subj", "/CN=responder").stdout
    run("openssl", "x509", "-req", "-CA", ca, "-CAkey", site_authority.key, "-days", "1", "-set_serial", "77", "-extfile",
        folder / "ext", "-out", certificate, input=request)
    charged = respond(site_authority, pki / "p256.crt", folder / "charged", signer=(key, certificate))
    edge = Edge(daemons, folder, [stapling_site(pki, origin, ocsp=["p256.pem"], stems=["p256"])])
    assert stapled(edge.port, ca) == produced(pki / "p256.ocsp")
    edge.reload([stapling_site(pki, origin, ocsp=[charged], stems=["p256"])])
    assert stapled(edge.port, ca) == produced(charged)
    # The responder's certificate ends before its word does.
    last = run("openssl", "x509", "-in", certificate, "-noout", "-enddate").stdout.split("=")[1]
    assert ocsp_status(edge)[0]["until"] == status_time(last) < ends(charged)


def test_an_expired_one_is_loaded_and_not_sent(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [stapling_site(pki, origin, ocsp=["old", "rsa2048.ocsp"])])
    edge.daemon.wait_log(r'warn.*an OCSP response has expired and is not sent site="example.com" file=".*/old"')
    for version in VERSIONS:
        assert stapled(edge.port, ca, version, "-sigalgs", SIGALGS["p256"]) is None
        assert stapled(edge.port, ca, version, "-sigalgs", SIGALGS["rsa2048"]) is not None
    assert edge.counter(EXPIRED) == 2 and edge.counter(SENT) == 2
    rows = {row["key"]: row for row in ocsp_status(edge)}
    assert rows["id-ecPublicKey"]["days_left"] == 0 and not rows["id-ecPublicKey"]["in_force"]
    assert rows["rsaEncryption"]["in_force"]


def test_a_resumed_session_has_none(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [stapling_site(pki, origin)])
    for count, version in enumerate(VERSIONS, 1):
        saved = folder / f"session{version}"
        first = run("openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}", "-servername", "example.com", "-CAfile", ca,
                    "-status", "-sess_out", saved, version, "-ign_eof", input="GET / HTTP/1.0\r\n\r\n").stdout
        assert "Cert Status: good" in first
        again = run("openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}", "-servername", "example.com", "-CAfile", ca,
                    "-status", "-sess_in", saved, version, "-ign_eof", input="GET / HTTP/1.0\r\n\r\n").stdout
        assert "Reused, TLSv1" in again and "hello from the origin" in again
        assert edge.counter(SENT) == count


REFUSED = [
    ("none", "not found"),
    ("text", "not an OCSP response; give one in DER or PEM"),
    ("late", "the responder answered with an error, not with a response"),
    ("foreign", "is about none of the certificates"),
    ("spoiled", "is signed neither by the certificate's issuer nor by a responder"),
    ("by-stranger", "is signed neither by the certificate's issuer nor by a responder"),
    ("revoked", "says that the certificate is revoked"),
    ("unknown", "says that the responder does not know the certificate"),
    ("endless", "does not say until when it counts (nextUpdate)"),
]


def assert_refused(edge, said, line):
    number = edge.conf.read_text().splitlines().index(line) + 1
    done = run(FARKEY, "check", "-c", edge.conf, check=False)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"{edge.conf}:{number}: ") and said in done.stderr, done.stderr
    assert control(edge.folder / "run" / "edge.sock", "reload") == {"error": done.stderr.strip()}


@pytest.mark.parametrize("name,said", REFUSED)
def test_files_of_no_use_are_refused(daemons, folder, pki, ca, origin, name, said):
    edge = Edge(daemons, folder, [stapling_site(pki, origin)])
    edge.write([stapling_site(pki, origin, ocsp=[name])])
    assert_refused(edge, said, f'ocsp = {quoted([pki / name])}')
    assert stapled(edge.port, ca, "-sigalgs", SIGALGS["p256"]) == produced(pki / "p256.ocsp")


def test_what_does_not_go_together_is_refused(daemons, folder, pki, origin):
    edge = Edge(daemons, folder, [stapling_site(pki, origin)])
    edge.write([stapling_site(pki, origin, ocsp=["p256.ocsp"], stems=["p256"], suffix="crt")])
    assert_refused(edge, "the certificate's chain lacks its issuer", f'ocsp = {quoted([pki / "p256.ocsp"])}')
    two = ["p256.ocsp", "p256.pem"]
    edge.write([stapling_site(pki, origin, ocsp=two)])
    assert_refused(edge, "the certificate has another one; give one for each",
                   f"ocsp = {quoted(pki / name for name in two)}")


# --- certificates and keys of a key server ---

@pytest.fixture
def make(folder, authority, site_authority, origin, daemons):
    """A running pair whose site has a response for each of its certificates."""
    def start(kinds=("p256",), **options):
        paths = [folder / "edge1" / f"{kind}.ocsp" for kind in kinds]
        options["site_options"] = f"ocsp = {quoted(paths)} {options.get('site_options', '')}"
        pair = pairs.Pair(folder, authority, site_authority, origin.port, keys={"example.com": list(kinds)}, **options)
        store = folder / "keys1" / "keys"
        for kind, name in zip(kinds, pair.certificates("example.com")):
            respond(site_authority, store / name, folder / "edge1" / f"{kind}.ocsp")
            whole = (store / name).read_bytes() + site_authority.certificate.read_bytes()
            for file in store / name, folder / "edge1" / name:
                file.write_bytes(whole)
        pair.start(daemons)
        return pair
    return start


def sent(pair):
    return pair.status("edge")["counters"][SENT]


@pytest.mark.parametrize("fetched", [False, True], ids=["files", "listed"])
def test_certificates_of_the_key_server(make, ca, folder, fetched):
    pair = make(("p256", "rsa2048"), fetch_certificates=fetched)
    for number, (kind, version) in enumerate(HANDSHAKES, 1):
        assert stapled(pair.port, ca, version, "-sigalgs", SIGALGS[kind]) == produced(folder / "edge1" / f"{kind}.ocsp")
        assert sent(pair) == number


def test_one_that_fits_no_listed_certificate(make, ca, folder, site_authority):
    """The edge serves on without it, and says why; when the key server has what it is about, it is sent."""
    pair = make(fetch_certificates=True)
    store = folder / "keys1" / "keys"
    assert stapled(pair.port, ca) is not None
    since = len(pair.edge.log())
    site_authority.certify(store / "example.com.key", store / "example.com.crt", "example.com", "DNS:example.com")
    pair.edge.wait_log('an OCSP response is not used site="example.com" file=".*" why="is about none', since=since)
    assert stapled(pair.port, ca) is None
    assert pair.status("edge")["workers"][0]["sites"][0]["ocsp"] == []


@pytest.mark.parametrize("mode,version", [("keys", "-tls1_2"), ("keys", "-tls1_3"), ("agree", "-tls1_2"),
                                          ("master", "-tls1_2")])
def test_modes_that_leave_secrets_at_the_key_server(make, ca, folder, mode, version):
    """The response is part of the transcript; in TLS 1.3 the key server signs it and derives from it."""
    pair = make(policy=f"allow = {{{mode}}}\n", edge_allow=mode, site_options=f"mode = {mode}")
    assert stapled(pair.port, ca, version) == produced(folder / "edge1" / "p256.ocsp")
    assert "hello from the origin" in pair.s_client(version, "-status")
    assert sent(pair) == 2


def test_mode_keys_has_room_for_so_much(make, ca, folder, site_authority):
    """The key server takes a transcript of some length: what does not fit is refused before."""
    pair = make(policy="allow = {keys}\n", edge_allow="keys", site_options="mode = keys")
    conf = pair.folder / "edge1" / "edge.conf"
    certificate = folder / "edge1" / "example.com.crt"
    certificate.write_bytes(certificate.read_bytes() + 8 * site_authority.certificate.read_bytes())
    done = run(FARKEY, "check", "-c", conf, check=False)
    assert done.returncode == 1
    assert "and the chain are too long for mode = keys with TLS 1.3" in done.stderr
    conf.write_text(conf.read_text().replace("mode = keys", 'mode = keys tls = {"1.2"}'))
    assert run(FARKEY, "check", "-c", conf).returncode == 0


def test_mode_handshake_refuses_it(make, folder, authority, site_authority, origin):
    pair = pairs.Pair(folder, authority, site_authority, origin.port, fetch_certificates=True,
                      site_options='mode = handshake\nocsp = {"x"}')
    conf = pair.folder / "edge1" / "edge.conf"
    line = conf.read_text().splitlines().index('ocsp = {"x"} }') + 1
    done = run(FARKEY, "check", "-c", conf, check=False)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"{conf}:{line}: " in done.stderr
    assert "with mode = handshake the key server shows its certificates, and no OCSP responses" in done.stderr


# --- the inline box ---

@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_the_inline_box(tmp_path):
    wire, authority = netlib.Wire(tmp_path), harness.Authority(tmp_path / "ca")
    try:
        _, certificate = authority.issue(tmp_path / "site", "example.com", "DNS:example.com")
        chain(certificate, authority)
        response = respond(authority, certificate, tmp_path / "site.ocsp")
        box = netlib.Box(wire, authority,
                         site_options='mode = local certificate = {"site.chain"} key = {"site.key"} ocsp = {"site.ocsp"}')
        wire.serve()
        for count, version in enumerate(VERSIONS, 1):
            text = wire.run(wire.client, "openssl", "s_client", "-connect", f"{netlib.SERVER[0]}:8443", "-servername",
                            "example.com", "-CAfile", box.ca, "-verify_return_error", "-status", version, check=False).stdout
            assert "Cert Status: good" in text and f"Produced At: {produced(response)}" in text, text
            assert box.control()["counters"][SENT] == count
        assert run(FARKEY, "check", "-c", box.conf).returncode == 0
    finally:
        wire.end()
