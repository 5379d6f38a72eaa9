"""Every mode with every client: mode x TLS version x key type x key exchange x {full, id, ticket} x storage of the key
x client.

A cell is carried out, and what the edge says of its connections is what must have been; or it is refused, and whose
log or check says so with the reason that docs/modes.md gives is looked at. All cells are the long test; some of them,
which touch every value once with every mode, are in the short one.
"""
import itertools
import re
import subprocess

import pytest

import harness
import pair as pairs
import splitlib
import tokens
from test_lend import give_lend_key

KINDS = {"rsa2048": "RSA", "p256": "ECDSA", "ed25519": "ECDSA"}  # and how TLS 1.2's suites call them
EXCHANGES = ("ecdhe", "dhe", "rsa")
CLIENTS = ("curl", "openssl", "gnutls")
OPAQUE = ("agree", "master", "keys")
EXPOSED = "keys expose = master"  # a mode, and an option behind it
HANDED = "agree agree_private = on"
MODES = ("sign", "decrypt", "local", "lend", "handshake", "handshake expose = master", "agree", HANDED, "master", "keys",
         EXPOSED)
ALLOWED = "sign, decrypt, agree, master, keys, expose"
REQUEST = "GET / HTTP/1.0\r\n\r\n"

# Where the private key is, and whether its halves are added up.
FILE, SHARE, TWO, HSM = "file", "edge share", "two servers", "HSM"
ADDED_SHARE, ADDED_TWO = "edge share, additive", "two servers, additive"
STORAGES = (FILE, SHARE, TWO, HSM, ADDED_SHARE, ADDED_TWO)
SPLIT = {SHARE: False, TWO: False, ADDED_SHARE: True, ADDED_TWO: True}


class Refused(Exception):
    """Why a cell cannot be; `said`: by the key server's log, if the client's hello comes so far."""

    def __init__(self, why, said=None):
        super().__init__(why)
        self.said = said


def suite(kind, exchange):
    """OpenSSL's name of a TLS 1.2 suite."""
    if exchange == "rsa":
        return "AES128-GCM-SHA256"
    return f"{exchange.upper()}-{KINDS[kind]}-AES128-GCM-SHA256"


def check_cell(mode, version, kind, exchange, storage=FILE):
    """Refused: TLS, the mode, or the key, does not have it."""
    if version == "1.3" and exchange != "ecdhe":
        raise Refused("TLS 1.3 has ephemeral key exchange only")
    if exchange != "ecdhe" and kind != "rsa2048":
        raise Refused("this exchange is for RSA keys")
    if mode == "decrypt" and (version, exchange) != ("1.2", "rsa"):
        raise Refused("decrypt is RSA key exchange, which TLS 1.2 has")
    if mode.split()[0] in OPAQUE and mode != "keys" and version != "1.2":
        raise Refused("the secrets that stay at the key server are TLS 1.2's")
    if storage == HSM and mode in ("agree", "master", "keys", EXPOSED) and exchange != "rsa":
        raise Refused("with keys in tokens nothing is kept under handles", "UNSUPPORTED")
    if storage == HSM and mode == "keys":
        raise Refused("with keys in tokens nothing is kept under handles", "UNSUPPORTED")
    if SPLIT.get(storage) and (mode.startswith("handshake") or mode.split()[0] in OPAQUE):
        if mode.split()[0] != "agree" or exchange != "rsa":  # that is a decryption
            raise Refused("a power is for what both sides know", "UNSUPPORTED")


def check_row(mode, kind, storage):
    """Refused: the configuration is, and `said` is what the check of it says; by whom, edge or keyd."""
    if mode == "decrypt" and kind != "rsa2048" or SPLIT.get(storage) and kind != "rsa2048":
        raise Refused("RSA only")
    if mode == "local" and storage != FILE:
        if storage in (SHARE, ADDED_SHARE):
            raise Refused("the key is a file", ("edge", "mode = local has whole keys; remove share"))
        raise Refused("the key is a file", ("edge", "malformed message"))
    if mode == "lend" and storage in (SHARE, ADDED_SHARE):
        raise Refused("split keys are not lent", ("edge", "split keys are not lent; remove share"))
    if mode == "lend" and storage in (TWO, ADDED_TWO):
        raise Refused("split keys are not lent", ("keyd", "the key is split, so it is lent to nobody"))
    if storage == HSM and mode.split()[0] in ("lend", "handshake"):
        raise Refused("what keys in a token cannot do",
                      ("keyd", "its policy allows what keys in such a token cannot do: handshake, lend and tickets"))


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


def options_of(mode, naming):
    mode, _, more = mode.partition(" ")
    allowed = {"handshake": "handshake, expose", "lend": "sign, decrypt, lend"}.get(mode, ALLOWED)
    return {"policy": f"allow = {{{allowed}}}\n", "edge_allow": allowed,
            "site_options": f"mode = {mode} {more} rsa_key_exchange = on dhe = on",
            "edge_options": f"workers = 1 tickets {{ enabled = {'off' if naming == 'id' else 'on'} }}",
            "fetch_certificates": mode == "handshake"}


@pytest.fixture
def make(folder, authority, site_authority, origin, monkeypatch):
    """A pair in that mode, not started; `naming`: how sessions are named."""
    def make_pair(mode, kind, naming, storage=FILE):
        options = options_of(mode, naming)
        place = (folder, authority, site_authority, origin.port)
        if mode == "lend":
            give_lend_key(folder)
            options["edge_options"] += ' lend_key = "lend.key"'
            options["edge_policy"] = 'lend_key = "edge1.lend.pub"'
        if storage in (TWO, ADDED_TWO):
            return splitlib.Two(*place, kind=kind, additive=SPLIT[storage], **options,
                                holder_allow=options["edge_allow"].replace(", lend", ""))
        if storage in (SHARE, ADDED_SHARE):
            options["site_options"] += ' share = {"example.com.share.2"}'
            return splitlib.make_split(*place[:3], origin, kind, **options,
                                       split_options=["--additive"] if SPLIT[storage] else [])
        hsm = tokens.SoftHsm(folder / "hsm", monkeypatch) if storage == HSM else None
        if hsm:
            options["keyd_options"] = f"fronts = 1 signers = 1\n{hsm.block()}\n"
        pair = pairs.Pair(*place, keys={"example.com": [kind]}, **options)
        if hsm:
            tokens.move_keys(pair, hsm)
        return pair
    return make_pair


def give_key_to_edge(pair, storage):
    """Mode local."""
    store = pair.folder / "keys1/keys"
    key = store / f"example.com.{({HSM: 'token', FILE: 'key'}).get(storage, 'share')}"
    key.chmod(0o600)
    conf = pair.folder / "edge1/edge.conf"
    conf.write_text(re.sub(r"keyservers = {[^}]*}", f'key = {{"{key}"}}', conf.read_text()))


@pytest.fixture
def start(make, daemons):
    """The same, running."""
    def start_pair(mode, kind, naming, storage=FILE):
        pair = make(mode, kind, naming, storage)
        if mode == "local":
            give_key_to_edge(pair, storage)
        if storage in (TWO, ADDED_TWO):
            return pair.start(daemons)
        pair.start_keyd(daemons)
        if storage == HSM:
            harness.wait_until(lambda: tokens.state_of(pair.status("keyd")).get("state") == "open", "the token is open",
                               timeout=60)
        pair.start_edge(daemons, ready=False)
        pair.edge.wait_log("key server is up" if mode != "local" else "edge is ready")
        return pair
    return start_pair


def connections(pair, since):
    """What the edge's log says of the connections of a cell."""
    pattern = r'sni="example.com" site="example.com" version="TLSv([\d.]+)" cipher="(\S+)" resumed="(\w+)"'
    return re.findall(pattern, pair.edge.log()[since:])


def is_resumed(mode, version):
    """Of a TLS 1.3 session of mode keys nobody has the resumption secret: the client gets no ticket."""
    return (mode, version) != ("keys", "1.3")


def run_cell(pair, mode, client, version, kind, exchange, naming):
    again = naming != "full" and is_resumed(mode, version)
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


def run_refused(pair, client, version, kind, exchange, why):
    """The client is told, and others are served; the key server says why if it was asked."""
    audit = pair.folder / "keys1/audit.log"
    audited = len(audit.read_text())
    assert RUN[client](pair, version, kind, exchange, False) is None
    if why.said:  # of what a handshaker asks signers for, the log, which does not repeat itself
        harness.wait_until(lambda: f"result={why.said}" in audit.read_text()[audited:]
                           or why.said in pair.keyd.log(), f"{why.said} is said: {why}")


def cells(mode, naming):
    """(client, version, exchange, kinds) by (mode, naming), refused ones included."""
    for client, version, exchange in itertools.product(CLIENTS, ("1.2", "1.3"), EXCHANGES):
        if naming == "id" and version == "1.3":
            continue  # PSKs are all that TLS 1.3 has
        if version == "1.3" and exchange != "ecdhe":
            continue
        yield client, version, exchange


def run_all(pair, mode, kind, naming, storage=FILE, wanted=lambda *cell: True):
    ran = 0
    for client, version, exchange in cells(mode, naming):
        if not wanted(client, version, exchange):
            continue
        try:
            check_cell(mode, version, kind, exchange, storage)
        except Refused as why:
            run_refused(pair, client, version, kind, exchange, why)
        else:
            run_cell(pair, mode, client, version, kind, exchange, naming)
            ran += 1
    return ran


def is_configured(mode, kind, storage):
    try:
        check_row(mode, kind, storage)
    except Refused:
        return False
    return True


def has_cells(mode, kind, storage):
    """Whether any of its cells is carried out."""
    for version, exchange in itertools.product(("1.2", "1.3"), EXCHANGES):
        try:
            check_cell(mode, version, kind, exchange, storage)
        except Refused:
            continue
        return True
    return False


ROWS = [(mode, kind, naming, storage)
        for mode, kind, storage in itertools.product(MODES, KINDS, STORAGES) if is_configured(mode, kind, storage)
        for naming in (("full", "id", "ticket") if has_cells(mode, kind, storage) else ("full",))]
SAID = [(mode, kind, storage) for mode, kind, storage in itertools.product(MODES, KINDS, STORAGES)
        if kind == "rsa2048" and not is_configured(mode, kind, storage)]


@pytest.mark.long
@pytest.mark.parametrize("mode,kind,naming,storage", ROWS)
def test_every_cell(start, mode, kind, naming, storage):
    ran = run_all(start(mode, kind, naming, storage), mode, kind, naming, storage)
    assert (ran >= 1) == has_cells(mode, kind, storage)


@pytest.mark.parametrize("mode,kind,storage", SAID)
def test_what_cannot_be_is_said(make, mode, kind, storage):
    """Before anything is served, by the check of whose configuration it is."""
    pair = make(mode, kind, "full", storage)
    if mode == "local":
        give_key_to_edge(pair, storage)
    with pytest.raises(Refused) as refused:
        check_row(mode, kind, storage)
    role, text = refused.value.said
    done = harness.run(harness.FARKEY, "check", pair.folder / {"edge": "edge1/edge.conf", "keyd": "keys1/keyd.conf"}[role],
                       check=False)
    assert done.returncode == 1 and text in done.stderr, done.stderr


SPANNING = [("sign", "rsa2048", "full", FILE), ("sign", "p256", "ticket", FILE), ("sign", "p256", "full", HSM),
            ("local", "ed25519", "id", FILE), ("decrypt", "rsa2048", "ticket", FILE),
            ("decrypt", "rsa2048", "id", ADDED_SHARE), ("lend", "rsa2048", "ticket", FILE), ("lend", "p256", "id", FILE),
            ("handshake", "rsa2048", "id", FILE), ("handshake", "ed25519", "full", SHARE),
            ("handshake", "p256", "ticket", TWO), ("handshake expose = master", "rsa2048", "id", FILE),
            ("handshake expose = master", "p256", "ticket", FILE),
            ("agree", "rsa2048", "ticket", SHARE), ("agree", "ed25519", "full", FILE), (HANDED, "rsa2048", "full", HSM),
            ("master", "rsa2048", "id", HSM), ("master", "p256", "ticket", TWO),
            ("keys", "rsa2048", "full", SHARE), ("keys", "p256", "ticket", FILE), ("keys", "rsa2048", "id", TWO),
            (EXPOSED, "rsa2048", "id", FILE), (EXPOSED, "ed25519", "ticket", FILE), (EXPOSED, "rsa2048", "full", TWO),
            ("sign", "p256", "ticket", TWO), ("sign", "rsa2048", "full", ADDED_TWO), ("keys", "rsa2048", "full", ADDED_TWO)]


@pytest.mark.parametrize("mode,kind,naming,storage", SPANNING)
def test_spanning_cells(start, mode, kind, naming, storage):
    """Each version and exchange with one client, another for the next one."""
    chosen = dict(zip(((version, exchange) for client, version, exchange in cells(mode, naming) if client == "curl"),
                      itertools.cycle(CLIENTS)))
    ran = run_all(start(mode, kind, naming, storage), mode, kind, naming, storage,
                  lambda client, version, exchange: client == chosen[version, exchange])
    assert (ran >= 1) == has_cells(mode, kind, storage)
