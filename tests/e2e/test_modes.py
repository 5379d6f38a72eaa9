"""Every mode with every client: mode x TLS version x key type x key exchange x {full, id, ticket} x client.

Mode `sign` also with a key that is split between two key servers.

A cell is carried out, and what the edge says of its connections is what must have been; or it is refused, with the
reason that docs/modes.md gives. All cells are the long test; some of them, which touch every value once with every
mode, are in the short one.
"""
import itertools
import re
import subprocess

import pytest

import harness
import pair as pairs
import splitlib
from test_lend import give_lend_key

KINDS = {"rsa2048": "RSA", "p256": "ECDSA", "ed25519": "ECDSA"}  # and how TLS 1.2's suites call them
EXCHANGES = ("ecdhe", "dhe", "rsa")
CLIENTS = ("curl", "openssl", "gnutls")
OPAQUE = ("agree", "master", "keys")
EXPOSED = "keys expose = master"  # a mode, and an option behind it
ALLOWED = "sign, decrypt, agree, master, keys, expose"
SPLIT = {"two servers": False, "two servers, additive": True}  # mode sign with a split key; whether it is additive
REQUEST = "GET / HTTP/1.0\r\n\r\n"


class Refused(Exception):
    """Why a cell cannot be."""


def suite(kind, exchange):
    """OpenSSL's name of a TLS 1.2 suite."""
    if exchange == "rsa":
        return "AES128-GCM-SHA256"
    return f"{exchange.upper()}-{KINDS[kind]}-AES128-GCM-SHA256"


def check_cell(mode, version, kind, exchange):
    """Refused: TLS, or the mode, does not have it."""
    if version == "1.3" and exchange != "ecdhe":
        raise Refused("TLS 1.3 has ephemeral key exchange only")
    if exchange != "ecdhe" and kind != "rsa2048":
        raise Refused("this exchange is for RSA keys")
    if mode == "decrypt" and (version, exchange) != ("1.2", "rsa"):
        raise Refused("decrypt is RSA key exchange, which TLS 1.2 has")
    if mode.split()[0] in OPAQUE and version != "1.2":
        raise Refused("the secrets that stay at the key server are TLS 1.2's")


# --- clients: each connects, and once more to resume if that is wanted; with the options of a cell ---

def curl(pair, version, kind, exchange, again):
    options = ["--tlsv1.3"] if version == "1.3" else ["--tls-max", "1.2", "--ciphers", suite(kind, exchange)]
    url = f"https://example.com:{pair.port}/"
    # One process keeps sessions, and a second connection needs the first to be closed.
    status, body, _ = harness.curl(url, "-0", "-H", "Connection: close", *options, *([url] if again else []),
                                   ca=pair.site_authority.certificate, resolve=f"example.com:{pair.port}:127.0.0.1",
                                   check=False)
    return body if status == 0 else None


def openssl(pair, version, kind, exchange, again):
    options = ["-tls1_3"] if version == "1.3" else ["-tls1_2", "-cipher", suite(kind, exchange)]
    session = pair.folder / "session.pem"
    session.unlink(missing_ok=True)
    for way in ("-sess_out", "-sess_in")[:1 + again]:
        # A session that has neither id nor ticket is not written.
        extra = [way, session] if way == "-sess_out" or session.exists() else []
        text = pair.s_client(*options, *extra, data=REQUEST, check=False)
        if "hello from the origin" not in text:
            return None
    return text


def gnutls(pair, version, kind, exchange, again):
    """It comes back at once: with TLS 1.3 when the ticket is here."""
    priority = f"NORMAL:-VERS-ALL:+VERS-TLS{version}"
    if version == "1.2":
        names = {"rsa": "+RSA", "dhe": "+DHE-RSA", "ecdhe": "+ECDHE-RSA:+ECDHE-ECDSA"}
        priority += f":-KX-ALL:{names[exchange]}"
    done = subprocess.run(["gnutls-cli", "--port", str(pair.port), "--x509cafile", pair.site_authority.certificate,
                           "--sni-hostname", "example.com", "--verify-hostname", "example.com", "--priority", priority,
                           *(["--resume"] if again else []),
                           *(["--waitresumption"] if again and version == "1.3" else []), "127.0.0.1"],
                          input=REQUEST, capture_output=True, text=True, timeout=harness.PATIENCE, check=False)
    return done.stdout if "hello from the origin" in done.stdout else None


RUN = {"curl": curl, "openssl": openssl, "gnutls": gnutls}


# --- pairs ---

@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


@pytest.fixture
def start(folder, authority, site_authority, origin, daemons):
    """A running pair in that mode; `naming`: how sessions are named."""
    def start_pair(name, kind, naming):
        mode, _, exposed = name.partition(" ") if name not in SPLIT else ("sign", "", "")
        options = {"policy": f"allow = {{{ALLOWED}}}\n", "edge_allow": ALLOWED,
                   "site_options": f"mode = {mode} {exposed} rsa_key_exchange = on dhe = on",
                   "edge_options": f"workers = 1 tickets {{ enabled = {'off' if naming == 'id' else 'on'} }}"}
        place = (folder, authority, site_authority, origin.port)
        if name in SPLIT:
            return splitlib.Two(*place, kind=kind, additive=SPLIT[name], **options).start(daemons)
        if mode == "lend":
            give_lend_key(folder)
            options |= {"edge_options": options["edge_options"] + ' lend_key = "lend.key"',
                        "policy": "allow = {sign, decrypt, lend}\n", "edge_allow": "sign, decrypt, lend",
                        "edge_policy": 'lend_key = "edge1.lend.pub"'}
        if mode == "handshake":
            options |= {"policy": "allow = {handshake, expose}\n", "edge_allow": "handshake, expose",
                        "fetch_certificates": True}
        pair = pairs.Pair(*place, keys={"example.com": [kind]}, **options)
        if mode == "local":
            conf = pair.folder / "edge1/edge.conf"
            key = pair.folder / "keys1/keys/example.com.key"
            conf.write_text(re.sub(r"keyservers = {[^}]*}", f'key = {{"{key}"}}', conf.read_text()))
        pair.start_keyd(daemons)
        pair.start_edge(daemons, ready=False)
        pair.edge.wait_log("key server is up" if mode != "local" else "edge is ready")
        return pair
    return start_pair


def connections(pair, since):
    """What the edge's log says of the connections of a cell."""
    pattern = r'sni="example.com" site="example.com" version="TLSv([\d.]+)" cipher="(\S+)" resumed="(\w+)"'
    return re.findall(pattern, pair.edge.log()[since:])


def run_cell(pair, client, version, kind, exchange, naming):
    again = naming != "full"
    since = len(pair.edge.log())
    assert RUN[client](pair, version, kind, exchange, again), pair.edge.log()[since:]
    expected = ["no", "yes"] if again else ["no"]
    harness.wait_until(lambda: len(connections(pair, since)) >= len(expected), "the edge tells of its connections")
    got = connections(pair, since)
    assert [resumed for _, _, resumed in got] == expected, got
    assert {found for found, _, _ in got} == {version}
    if version == "1.2":  # gnutls may choose a stronger cipher
        name = suite(kind, exchange)[:-len("AES128-GCM-SHA256")]
        assert all(cipher.startswith(name) and cipher.count("-") == name.count("-") + 2 for _, cipher, _ in got), got


def run_refused(pair, client, version, kind, exchange):
    """The mode has no such exchange: the client is told, and others are served."""
    assert RUN[client](pair, version, kind, exchange, False) is None


def cells(mode, naming):
    """(client, version, exchange, kinds) by (mode, naming), refused ones included."""
    for client, version, exchange in itertools.product(CLIENTS, ("1.2", "1.3"), EXCHANGES):
        if naming == "id" and version == "1.3":
            continue  # PSKs are all that TLS 1.3 has
        if version == "1.3" and exchange != "ecdhe":
            continue
        yield client, version, exchange


def run_all(pair, mode, kind, naming, wanted=lambda *cell: True):
    ran = 0
    for client, version, exchange in cells(mode, naming):
        if not wanted(client, version, exchange):
            continue
        try:
            check_cell(mode, version, kind, exchange)
        except Refused:
            run_refused(pair, client, version, kind, exchange)
        else:
            run_cell(pair, client, version, kind, exchange, naming)
            ran += 1
    return ran


MODES = {"sign": list(KINDS), "local": list(KINDS), "lend": list(KINDS), "decrypt": ["rsa2048"],
         "handshake": list(KINDS), "handshake expose = master": list(KINDS),
         **{mode: list(KINDS) for mode in (*OPAQUE, EXPOSED)},
         "two servers": list(KINDS), "two servers, additive": ["rsa2048"]}
ROWS = [(mode, kind, naming) for mode, kinds in MODES.items() for kind in kinds for naming in ("full", "id", "ticket")]


@pytest.mark.long
@pytest.mark.parametrize("mode,kind,naming", ROWS)
def test_every_cell(start, mode, kind, naming):
    assert run_all(start(mode, kind, naming), mode, kind, naming) >= 3


@pytest.mark.parametrize("mode,kind,naming", [("sign", "rsa2048", "full"), ("sign", "p256", "ticket"),
                                              ("local", "ed25519", "id"), ("decrypt", "rsa2048", "ticket"),
                                              ("lend", "rsa2048", "ticket"), ("lend", "p256", "id"),
                                              ("handshake", "rsa2048", "id"), ("handshake", "ed25519", "full"),
                                              ("handshake", "p256", "ticket"),
                                              ("handshake expose = master", "rsa2048", "id"),
                                              ("handshake expose = master", "p256", "ticket"),
                                              ("agree", "rsa2048", "ticket"), ("agree", "ed25519", "full"),
                                              ("master", "rsa2048", "id"), ("master", "p256", "ticket"),
                                              ("keys", "rsa2048", "full"), ("keys", "p256", "ticket"),
                                              (EXPOSED, "rsa2048", "id"), (EXPOSED, "ed25519", "ticket"),
                                              ("two servers", "p256", "ticket"),
                                              ("two servers, additive", "rsa2048", "full")])
def test_spanning_cells(start, mode, kind, naming):
    """Each version and exchange with one client, another for the next one."""
    chosen = dict(zip(((version, exchange) for client, version, exchange in cells(mode, naming) if client == "curl"),
                      itertools.cycle(CLIENTS)))
    assert run_all(start(mode, kind, naming), mode, kind, naming,
                   lambda client, version, exchange: client == chosen[version, exchange]) >= 1
