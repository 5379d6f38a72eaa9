"""farkey demo: what it shows, the JSON object, and that it leaves nothing behind."""
import base64
import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import urllib.parse

import pytest

from harness import FARKEY, free_port, run, wait_until

PATIENCE = 120


def demo(*words, **options):
    return run(FARKEY, "demo", *words, timeout=PATIENCE, **options)


def parent_of(pid):
    """The parent of a process; None when there is no such process."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def descendants(pid):
    """All processes below `pid` that are alive."""
    parents = {int(entry): parent_of(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    found, frontier = set(), {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


class Pair:
    """A demonstration that stays."""

    def __init__(self, *words):
        self.process = subprocess.Popen([FARKEY, "demo", "--stay", "--json", *words], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.line = self.process.stdout.readline()
        if not self.line:
            raise AssertionError(self.process.stderr.read())
        self.facts = json.loads(self.line)

    def curl(self, *words):
        """The answer to the command that the object gives, with more options."""
        return run("sh", "-c", " ".join([self.facts["command"], "-sS", *words])).stdout

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def pairs():
    started = []

    def start(*words):
        started.append(Pair(*words))
        return started[-1]

    yield start
    for pair in started:
        if pair.process.poll() is None:
            pair.end(signal.SIGTERM)
        pair.process.stdout.close()
        pair.process.stderr.close()


@pytest.mark.parametrize("kind", ["p256", "rsa2048", "ed25519"])
def test_shows_both_versions(kind):
    shown = demo("--key", kind).stdout
    for version in ["TLSv1.2", "TLSv1.3"]:
        assert f"protocol     {version}\n" in shown
    assert shown.count("verified     ok") == 2 and shown.count("HTTP status  200") == 2
    assert shown.count("certificate  CN=example.com") == 2
    assert shown.count("Hello from the origin.") == 2
    assert "holds the key" in shown
    folder = re.search(r"^While it runs, everything is in (\S+)$", shown, re.M)[1]
    assert not os.path.exists(folder) and "curl --" not in shown
    assert "\nNothing is left: " in shown and "farkey demo --stay" in shown


def memory_of(pid):
    """All that a process can read of its own memory."""
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/mem", "rb") as memory:
            memory.seek(start)
            yield memory.read(end - start)


def channel_key_of(folder):
    """A part of its PEM text, and the private number as in DER and as OpenSSL computes with it."""
    text = run("openssl", "pkey", "-in", folder / "channel.key", "-noout", "-text").stdout
    number = bytes.fromhex(re.sub(r"[^0-9a-f]", "", re.search(r"priv:\n((?:\s+[0-9a-f:]+\n)+)", text)[1]))[-32:]
    pem = (folder / "channel.key").read_text().splitlines()[1][20:60].encode()
    return pem, number, number[::-1]


@pytest.mark.unsanitized
def test_channel_keys_are_not_in_the_memory_of_masters(pairs):
    if os.geteuid() != 0:
        pytest.skip("only root may look into a process that is not dumpable")
    facts = pairs().facts
    for part, folder in [("edge", "edge1"), ("keyd", "hq")]:
        conf = next((pathlib.Path(facts["dir"]) / folder).glob("*.conf"))
        run(FARKEY, "control", "-c", conf, "reload")
        key = channel_key_of(conf.parent)
        master = facts[part]["pid"]

        def holders():
            return {pid for pid in {master} | descendants(master)
                    if any(form in piece for piece in memory_of(pid) for form in key)}
        holding = holders()
        names = [pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")[2] for pid in holding - {master}]
        assert master not in holding and names == [{"edge": "edge-worker", "keyd": "keyd-front"}[part]]


def test_signer_has_no_network_socket():
    if os.geteuid() != 0:
        pytest.skip("only root may look into a process that is not dumpable")
    shown = demo().stdout
    row = next(line for line in shown.splitlines() if "holds the key" in line)
    assert row.split()[:3] == ["key", "server", "signer-0"] and row.split()[5] == "0"


def test_mode_decrypt():
    shown = demo("--mode", "decrypt").stdout
    assert "protocol     TLSv1.2\n" in shown and "TLSv1.3" not in shown
    assert "cipher       AES" in shown


def test_mode_local():
    shown = demo("--mode", "local").stdout
    assert "protocol     TLSv1.2\n" in shown and "protocol     TLSv1.3\n" in shown
    assert next(line for line in shown.splitlines() if "holds the key" in line).split()[0] == "edge"


def test_mode_handshake():
    shown = demo("--mode", "handshake", "--key", "rsa2048").stdout
    assert "protocol     TLSv1.2\n" in shown and "protocol     TLSv1.3\n" in shown
    row = next(line for line in shown.splitlines() if " keyd-handshaker" in line)
    assert "holds the key" not in row and row.split()[5] == "0"


def test_mode_lend():
    shown = demo("--mode", "lend").stdout
    assert "protocol     TLSv1.2\n" in shown and "protocol     TLSv1.3\n" in shown
    rows = [line for line in shown.splitlines() if " signer-0 " in line]
    assert [row.split()[0] for row in rows] == ["edge", "key"]
    assert "was lent the key" in rows[0] and "holds the key" in rows[1]


def test_mode_keys():
    shown = demo("--mode", "keys").stdout
    assert "  mode        keys: " in shown and "protocol     TLSv1.2\n" in shown and "protocol     TLSv1.3\n" in shown


@pytest.mark.parametrize("mode", ["agree", "master"])
def test_modes_of_tls12(mode):
    shown = demo("--mode", mode).stdout
    assert f"  mode        {mode}: " in shown and "protocol     TLSv1.2\n" in shown
    assert "protocol     TLSv1.3" not in shown and "TLS 1.3 is not offered" in shown
    assert "cipher       ECDHE-ECDSA-" in shown


@pytest.mark.parametrize("mode", ["sign", "local", "handshake", "lend", "agree", "master", "keys"])
@pytest.mark.parametrize("exchange,suite", [("ecdhe", "ECDHE-ECDSA-AES"), ("dhe", "DHE-RSA-AES"), ("rsa", "AES")])
def test_key_exchange(mode, exchange, suite):
    shown = demo("--mode", mode, "--kx", exchange).stdout
    assert f"cipher       {suite}" in shown and "protocol     TLSv1.2\n" in shown
    assert "protocol     TLSv1.3" not in shown and "TLS 1.3 is not offered" in shown


def test_key_exchange_of_mode_decrypt():
    assert "cipher       AES" in demo("--mode", "decrypt", "--kx", "rsa").stdout


def test_key_exchange_with_each_client(pairs):
    """The command that is shown, and a client of our own."""
    pair = pairs("--kx", "dhe")
    assert "--ciphers DHE+AESGCM" in pair.facts["command"]
    assert "Hello from the origin" in pair.curl()
    assert "cipher       DHE-RSA-AES" in demo("--kx", "dhe", env={"PATH": "/nonexistent"}).stdout


def test_key_server_that_dials():
    shown = demo("--dial").stdout
    assert re.search(r"key server  127\.0\.0\.1:\d+ +pid \d+, which dials", shown)
    assert shown.count("verified     ok") == 2


def test_key_server_that_dials_through_the_relay(pairs):
    pair = pairs("--dial", "--rtt", "20ms")
    folder = pathlib.Path(pair.facts["dir"])
    assert list(pair.facts["keyd"]) == ["dials", "pid"]
    assert f'accept = "{pair.facts["keyd"]["dials"]}"' in (folder / "edge1/edge.conf").read_text()
    dialled = re.search(r'^dial "([^"]+)"', (folder / "hq/keyd.conf").read_text(), re.M)[1]
    assert dialled != pair.facts["keyd"]["dials"]  # the relay's
    assert "listen " not in (folder / "hq/keyd.conf").read_text()
    assert "Hello from the origin" in pair.curl()


def fields(answer):
    return dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)


def der_of(file):
    return ssl.PEM_cert_to_DER_cert(pathlib.Path(file).read_text())


def test_relay_shows_the_clients_certificate():
    shown = demo("--relay", "rfc9440,cookie").stdout
    assert shown.count("HTTP status  200") == 2
    assert len(re.findall(r"^  \| Client-Cert: :MI", shown, re.M)) == 2
    assert len(re.findall(r"^  \| Cookie: CERT=MI", shown, re.M)) == 2


def test_relay_by_every_format(pairs):
    pair = pairs("--relay", "rfc9440,cookie,xfcc,nginx,traefik,alb")
    client = pair.facts["client"]
    der = der_of(client["certificate"])
    seen = fields(pair.curl("-H", "'Cookie: a=b; CERT=forged'", "-H", "'Client-Cert: :Zm9yZ2Vk:'"))
    assert seen["Client-Cert"] == f":{base64.b64encode(der).decode()}:"
    assert seen["Cookie"] == f"a=b; CERT={base64.urlsafe_b64encode(der).decode().rstrip('=')}"
    assert f"Hash={hashlib.sha256(der).hexdigest()}" in seen["X-Forwarded-Client-Cert"]
    assert seen["X-SSL-Client-Verify"] == "SUCCESS"
    assert urllib.parse.unquote(seen["X-Forwarded-Tls-Client-Cert"]) and "X-Amzn-Mtls-Clientcert-Leaf" in seen
    plain = pair.facts["command"].replace(f"--cert {client['certificate']} --key {client['key']} ", "")
    assert plain != pair.facts["command"]
    without = fields(run("sh", "-c", f"{plain} -sS").stdout)
    assert "Client-Cert" not in without and "Cookie" not in without


def test_client_certificate_required(pairs):
    pair = pairs("--http", "--client-certificate", "required")
    assert "Hello from the origin." in pair.curl()
    client = pair.facts["client"]
    plain = pair.facts["command"].replace(f"--cert {client['certificate']} --key {client['key']} ", "")
    refused = run("sh", "-c", f"{plain} -sS", check=False)
    assert refused.returncode != 0 and "certificate required" in refused.stderr


def test_clients_of_another_authority(pairs, tmp_path):
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
        "-subj", "/CN=alice", "-keyout", tmp_path / "alice.key", "-out", tmp_path / "alice.crt")
    pair = pairs("--client-ca", str(tmp_path / "alice.crt"), "--relay", "rfc9440")
    client = pair.facts["client"]
    command = pair.facts["command"].replace(client["certificate"], str(tmp_path / "alice.crt"))
    command = command.replace(client["key"], str(tmp_path / "alice.key"))
    seen = fields(run("sh", "-c", f"{command} -sS").stdout)
    assert seen["Client-Cert"] == f":{base64.b64encode(der_of(tmp_path / 'alice.crt')).decode()}:"


def test_without_curl():
    shown = demo(env={"PATH": "/nonexistent"}).stdout
    assert "curl is not installed" in shown
    assert "protocol     TLSv1.2\n" in shown and "protocol     TLSv1.3\n" in shown


def test_without_root():
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root to become nobody; other cases run without root then")
    done = run("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", FARKEY, "demo", timeout=PATIENCE,
               check=False, cwd="/")
    if "Permission denied" in done.stderr and not done.stdout:
        pytest.skip("nobody may not enter the build directory")
    assert done.returncode == 0, done.stderr
    assert "protocol     TLSv1.3\n" in done.stdout


def test_object(pairs):
    pair = pairs()
    facts = pair.facts
    assert pair.line.endswith("}\n")
    assert list(facts) == ["edge", "keyd", "origin", "name", "dir", "ca", "command"]
    assert facts["name"] == "example.com"
    for part in ["edge", "keyd", "origin"]:
        assert list(facts[part]) == ["address", "pid"]
        host, port = facts[part]["address"].split(":")
        socket.create_connection((host, int(port)), timeout=10).close()
        assert alive(facts[part]["pid"])
    for part in ["edge", "keyd"]:
        words = pathlib.Path(f"/proc/{facts[part]['pid']}/cmdline").read_bytes().split(b"\0")
        assert words[1] == part.encode()
    assert facts["command"].startswith("curl ")
    assert "Hello from the origin" in pair.curl()
    assert os.stat(facts["dir"]).st_mode & 0o777 == 0o700


def test_serves_openssl(pairs):
    pair = pairs()
    for option, name in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")]:
        shown = run("openssl", "s_client", option, "-connect", pair.facts["edge"]["address"], "-servername",
                    "example.com", "-CAfile", pair.facts["ca"], "-verify_hostname", "example.com",
                    "-verify_return_error", "-brief", check=False).stderr
        assert f"Protocol version: {name}" in shown and "Verification: OK" in shown


def test_key_is_a_plain_file_of_the_key_server_only(pairs):
    facts = pairs("--key", "rsa2048").facts
    public = run("openssl", "x509", "-noout", "-pubkey", "-in",
                 next(pathlib.Path(facts["dir"]).rglob("example.com.crt"))).stdout
    holders, channels = [], []
    for path in pathlib.Path(facts["dir"]).rglob("*"):
        if not path.is_file() or "PRIVATE KEY" not in path.read_text(errors="replace"):
            continue
        assert path.stat().st_mode & 0o777 == 0o600
        if run("openssl", "pkey", "-in", path, "-pubout").stdout == public:
            holders.append(path)
        elif path.name == "channel.key":
            channels.append(path)
    assert len(holders) == 1 and "/keys/" in str(holders[0])
    assert len(channels) == 2
    for path in channels:
        assert "EC" in run("openssl", "pkey", "-in", path, "-noout", "-text_pub").stdout.replace("NIST CURVE", "EC")


def test_one_of_each(pairs):
    facts = pairs().facts
    roles = []
    for part in ["edge", "keyd"]:
        for pid in descendants(facts[part]["pid"]):
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            roles.append(words[2].decode())
    assert sorted(roles) == ["admin", "admin", "edge-worker", "keyd-audit", "keyd-front", "signer"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_with_all_its_processes(pairs, number):
    pair = pairs("--rtt", "1ms")
    everything = descendants(pair.process.pid)
    assert len(everything) >= 9
    assert pair.end(number) == 0
    assert [pid for pid in everything if alive(pid)] == []
    assert not os.path.exists(pair.facts["dir"])


def test_dies_with_all_its_processes(pairs):
    pair = pairs()
    everything = descendants(pair.process.pid)
    assert pair.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not [pid for pid in everything if alive(pid)], "all processes have ended")
    shutil.rmtree(pair.facts["dir"])


@pytest.fixture
def own_tmp(monkeypatch):
    """A TMPDIR of the test's own, with a name that leaves room for a socket's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        monkeypatch.setenv("TMPDIR", name)
        yield pathlib.Path(name)


def kill(pair):
    """The directory that a killed demonstration leaves when its processes have ended."""
    everything = descendants(pair.process.pid)
    pair.end(signal.SIGKILL)
    wait_until(lambda: not any(map(alive, everything)), "all processes are gone", PATIENCE)
    return pathlib.Path(pair.facts["dir"])


def test_what_a_killed_one_leaves_is_removed_by_the_next(pairs, own_tmp):
    living, left = pairs(), kill(pairs())
    foreign = own_tmp / "farkey-demo-unlock"
    foreign.mkdir(mode=0o700)  # as one that is being made: without its lock yet
    opened, linked = own_tmp / "farkey-demo-opened", own_tmp / "farkey-demo-linked"
    opened.mkdir()
    (opened / "demo.lock").touch(mode=0o600)
    opened.chmod(0o750)
    linked.symlink_to(left)
    assert left.exists()
    told = demo().stderr
    assert told == f"farkey demo: removed {left}, which a killed demonstration left\n"
    assert sorted(own_tmp.iterdir()) == sorted([pathlib.Path(living.facts["dir"]), foreign, opened, linked])
    assert "Hello" in living.curl()


def test_nothing_is_removed_where_others_could_swap_it(pairs, own_tmp):
    left = kill(pairs())
    own_tmp.chmod(0o777)
    assert demo().stderr == ""
    assert list(own_tmp.iterdir()) == [left]
    own_tmp.chmod(0o1777)
    assert "removed" in demo().stderr


def test_stays_when_a_daemon_is_killed_or_stopped(pairs):
    pair = pairs()
    everything = descendants(pair.process.pid)
    os.kill(pair.facts["edge"]["pid"], signal.SIGKILL)
    os.kill(pair.facts["keyd"]["pid"], signal.SIGSTOP)
    assert "was ended by signal 9" in pair.process.stderr.readline()
    assert pair.process.poll() is None
    assert pair.end(signal.SIGTERM) == 0
    assert [pid for pid in everything if alive(pid)] == []


def test_delay(pairs):
    pair = pairs("--rtt", "300ms")
    times = pair.curl("-o", "/dev/null", "-w", "'%{time_connect} %{time_appconnect}'").split()
    assert 0.3 <= float(times[1]) - float(times[0]) < 0.6


class Here(http.server.BaseHTTPRequestHandler):
    """An origin of this test."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"mine\n")

    def log_message(self, *_):
        pass


def test_other_origin(pairs):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Here)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"127.0.0.1:{server.server_address[1]}"
        pair = pairs("--origin", address)
        assert pair.facts["origin"] == {"address": address, "pid": None}
        assert pair.curl() == "mine\n"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_origin_that_is_not_there(pairs, host):
    """The pair is there all the same, and the origin may come; that it is not is said in one line."""
    address = f"{host}:{free_port()}"
    pair = pairs("--origin", address)
    assert pair.facts["origin"]["address"] == address
    assert pair.end(signal.SIGTERM) == 0
    said = f"farkey demo: nothing answers at the origin {address} (Connection refused): requests will fail\n"
    assert pair.process.stderr.read() == said


def test_origin_that_is_not_http(pairs):
    """One that says nothing at all: a handshake is enough for the object."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pair = pairs("--origin", f"127.0.0.1:{silent.getsockname()[1]}")
        assert alive(pair.facts["edge"]["pid"])


def test_port(pairs):
    port = free_port()
    pair = pairs("--port", str(port))
    assert pair.facts["edge"]["address"] == f"127.0.0.1:{port}"
    assert "Hello" in pair.curl()


def test_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = demo("--port", str(other.getsockname()[1]), check=False)
    assert done.returncode == 1 and "Address already in use" in done.stderr


def test_requests_share_a_connection_and_have_bodies(pairs):
    pair = pairs()
    url = pair.facts["command"].split()[-1]
    shown = pair.curl(url)
    assert "request 1 on it" in shown and "request 2 on it" in shown
    assert "body: 100000 bytes" in pair.curl("-X", "POST", "--data-binary", "@-", "<<EOF\n" + "x" * 99999 + "\nEOF\n")
    assert "request: HEAD" not in pair.curl("-I")


def serial_served(facts):
    """The serial number of the certificate that the edge serves now."""
    shown = run("openssl", "s_client", "-connect", facts["edge"]["address"], "-servername", "example.com", "-CAfile",
                facts["ca"], "-verify_return_error", check=False).stdout
    return run("openssl", "x509", "-noout", "-serial", input=shown, check=False).stdout


def test_key_and_certificate_are_renewed_without_a_restart(pairs, tmp_path):
    facts = pairs().facts
    top = pathlib.Path(facts["dir"])
    keys = top / "hq/keys"
    before, key = serial_served(facts), (keys / "example.com.key").read_text()
    everything = descendants(facts["edge"]["pid"])
    run(FARKEY, "key", "generate", "--dir", keys, "--type", "rsa2048", "example.com")
    run(FARKEY, "key", "csr", "--dir", keys, "--out", tmp_path / "csr", "example.com")
    run(FARKEY, "ca", "issue", "--ca", top / "site-ca", "--csr", tmp_path / "csr", "--out", tmp_path, "site",
        "example.com")
    assert serial_served(facts) == before
    done = run(FARKEY, "key", "install", "--dir", keys, "example.com", tmp_path / "example.com.crt")
    assert "the key server has reloaded" in done.stdout
    assert (keys / "example.com.key").read_text() != key
    new = run("openssl", "x509", "-noout", "-serial", "-in", tmp_path / "example.com.crt").stdout
    wait_until(lambda: serial_served(facts) == new, "the edge serves the new certificate")
    assert descendants(facts["edge"]["pid"]) == everything


def test_status_and_commands(pairs):
    facts = pairs().facts
    top = pathlib.Path(facts["dir"])
    for part, conf in [("edge", top / "edge1/edge.conf"), ("keyd", top / "hq/keyd.conf")]:
        assert "good configuration" in run(FARKEY, "check", "-c", conf).stdout
        status = json.loads(run(FARKEY, "status", "--json", "-c", conf).stdout)
        assert status["role"] == part and status["pid"] == facts[part]["pid"] and status["ready"] is True
        shown = run(FARKEY, "status", "-c", conf).stdout
        assert f"pid: {facts[part]['pid']}\n" in shown
        assert not re.search(r":$(?!\n +)", shown, re.M)
        assert ("\nsigners: none\n" in shown) == (part == "edge")
        run(FARKEY, "control", "-c", conf, "reload")
        after = json.loads(run(FARKEY, "status", "--json", "-c", conf).stdout)
        assert after["generation"] > status["generation"]
        assert run(FARKEY, "control", "-c", conf, "nonsense", check=False).returncode == 1
        good = conf.read_text()
        conf.write_text(good + "nonsense = 1\n")
        assert run(FARKEY, "control", "-c", conf, "reload", check=False).returncode == 1
        # Which socket to ask is known from a broken file, too.
        done = run(FARKEY, "status", "--json", "-c", conf)
        assert json.loads(done.stdout)["ready"] is True
        assert 'unknown option "nonsense"' in done.stderr and '"farkey check" tells all' in done.stderr
        conf.write_text(good)
        assert json.loads(run(FARKEY, "status", "--json", "-c", conf).stdout)["ready"] is True


def test_control_socket_is_for_its_owner(pairs):
    facts = pairs().facts
    for part in ["edge1/run/edge.sock", "hq/run/keyd.sock"]:
        assert os.stat(f"{facts['dir']}/{part}").st_mode & 0o777 == 0o600


def test_audit_log_verifies(pairs):
    pair = pairs()
    top = pathlib.Path(pair.facts["dir"]) / "hq"
    for _ in range(3):
        pair.curl()
    verify = [FARKEY, "audit", "verify", "--key", top / "audit.key", top / "audit.log"]
    wait_until(lambda: (top / "audit.log").read_text().count("example.com") >= 3, "lines of three operations")
    assert "good: " in run(*verify).stdout
    log = (top / "audit.log").read_text()
    (top / "changed.log").write_text(log.replace("example.com", "example.net", 1))
    done = run(*verify[:-1], top / "changed.log", check=False)
    assert done.returncode == 1 and "changed.log:" in done.stderr


def test_usage():
    for words in [("--key", "rsa512"), ("--origin", "nowhere"), ("--rtt", "20"), ("--port", "70000"),
                  ("--mode", "decrypt", "--key", "p256"), ("--mode", "decrypt", "--kx", "dhe"),
                  ("--mode", "decrypt", "--kx", "ecdhe"), ("--kx", "rsa", "--key", "ed25519"),
                  ("--kx", "dhe", "--key", "p256"), ("--kx", "psk"), ("extra",), ("--relay", "rfc9441"),
                  ("--relay", "custom"), ("--relay", ""), ("--relay", "cookie,cookie"), ("--relay", "nginx,haproxy"),
                  ("--relay", "cookie", "--client-certificate", "none"),
                  ("--client-ca", "x", "--client-certificate", "none"), ("--client-certificate", "maybe")]:
        done = demo(*words, check=False)
        assert done.returncode == 2 and done.stderr
    for option, value, text in [
            ("rtt", "20", "not a time; write a number with a unit, such as 20ms or 3s, at most 60s"),
            ("rtt", "2h", "out of range; write a number with a unit, such as 20ms or 3s, at most 60s"),
            ("port", "x", "not a whole number; write one, at least 1, at most 65535"),
            ("mode", "foo", "unknown; write one of sign|decrypt|local|handshake|lend|agree|master|keys")]:
        assert demo(f"--{option}", value, check=False).stderr == f'farkey demo: --{option} "{value}": {text}\n'
