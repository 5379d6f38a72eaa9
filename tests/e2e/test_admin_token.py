"""The operator's HTTP listener beyond this host: refused without a token, and answered to who brings it."""
import socket

import pytest

from edgelib import Origin, http
from harness import FARKEY, PATIENCE, Daemon, control, free_port, run, wait_until
from test_service import initialised

TOKEN = "0123456789abcdefghijklmnop"
ROLES = {"edge": "edge1", "keyd": "keys1"}


@pytest.fixture
def confs(folder, site_authority):
    """What init makes, for both roles; admin blocks to be given a token."""
    origin = Origin(http(b"hello"))
    initialised(folder, site_authority, origin)
    yield {role: folder / name / f"{role}.conf" for role, name in ROLES.items()}
    origin.close()


def with_admin(conf, listen, token=None):
    """The configuration with this admin block in place of its own."""
    text = conf.read_text()
    start = text.index("\nadmin {")
    end = text.index("\n}", start) + 2
    token_line = f'    token = "{token}"\n' if token else ""
    conf.write_text(f'{text[:start]}\nadmin {{\n    listen = "{listen}"\n{token_line}}}{text[end:]}')


def make_token(folder, text=TOKEN + "\n", mode=0o600):
    path = folder / "admin.token"
    path.write_text(text)
    path.chmod(mode)
    return path


def checked(conf):
    done = run(FARKEY, "check", "-c", conf, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("role", ROLES)
def test_beyond_loopback_a_token_is_needed(confs, role):
    conf = confs[role]
    port = free_port()
    for listen in [f"127.0.0.1:{port}", f"127.8.8.8:{port}", f"[::1]:{port}", f"unix:{conf.parent}/admin.sock"]:
        with_admin(conf, listen)
        assert checked(conf)[0] == 0, listen
    for listen in [f"0.0.0.0:{port}", f"192.0.2.1:{port}", f"[::]:{port}", f"*:{port}", f"[2001:db8::1]:{port}"]:
        with_admin(conf, listen)
        status, text = checked(conf)
        assert status == 1
        assert f"others than this host can connect to {listen}: write token" in text
        with_admin(conf, listen, make_token(conf.parent).name)
        assert checked(conf)[0] == 0, listen


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("text,mode,error", [
    (TOKEN, 0o600, None),
    (TOKEN + "\n", 0o640, None),
    (TOKEN + "\n", 0o644, "open to other users"),
    (TOKEN[:15] + "\n", 0o600, "not one line of 16 to 256"),
    ("t" * 257 + "\n", 0o600, "not one line of 16 to 256"),
    ("t" * 256 + "\n", 0o600, None),
    (TOKEN + " \n", 0o600, "not one line of 16 to 256"),
    (TOKEN + "\n" + TOKEN + "\n", 0o600, "not one line of 16 to 256"),
    (TOKEN + "\n\n", 0o600, "not one line of 16 to 256"),
    ("", 0o600, "not one line of 16 to 256"),
])
def test_files_with_tokens(confs, role, text, mode, error):
    conf = confs[role]
    with_admin(conf, f"0.0.0.0:{free_port()}", make_token(conf.parent, text, mode).name)
    status, said = checked(conf)
    assert status == (1 if error else 0), said
    if error:
        assert error in said and "admin.token" in said


@pytest.mark.parametrize("role", ROLES)
def test_token_that_is_not_there(confs, role):
    conf = confs[role]
    with_admin(conf, f"0.0.0.0:{free_port()}", "admin.token")
    status, said = checked(conf)
    assert status == 1 and "admin.token" in said


def status_of(port, path, token=None):
    """The status of an answer, asked for with this token."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.settimeout(PATIENCE)
        field = f"Authorization: Bearer {token}\r\n" if token else ""
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{field}\r\n".encode())
        return int(sock.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("role,told", [("keyd", "front serves"), ("edge", "edge is ready")])
def test_requests_bring_it(daemons, confs, role, told):
    """Also after a reload with another, and in an admin process that was started again."""
    conf = confs[role]
    port = free_port()
    token = make_token(conf.parent)
    with_admin(conf, f"0.0.0.0:{port}", token.name)
    daemon = Daemon(FARKEY, role, "-c", conf, log=conf.parent / "log.txt")
    daemons.append(daemon)
    daemon.wait_log(told)
    wait_until(lambda: daemon.children("admin"), "the admin process")
    for path in ["/metrics", "/status", "/healthz", "/readyz"]:
        assert status_of(port, path) == 401
        assert status_of(port, path, TOKEN[:-1] + "q") == 401
    assert status_of(port, "/metrics", TOKEN) == 200
    assert status_of(port, "/status", TOKEN) == 200
    daemon.wait_log(r"operator's request without the right token.*peer=\S*127\.0\.0\.1")
    make_token(conf.parent, "another-token-of-some-length\n")
    assert control(conf.parent / f"run/{role}.sock", "reload")["ok"]
    wait_until(lambda: status_of(port, "/metrics", TOKEN) == 401, "the old token is refused")
    assert status_of(port, "/metrics", "another-token-of-some-length") == 200
    # Neither a reload nor a new process forgets it.
    [admin] = daemon.children("admin")
    run("kill", "-KILL", admin)
    wait_until(lambda: daemon.children("admin") not in ([], [admin]), "another admin process")
    assert status_of(port, "/metrics") == 401
    assert status_of(port, "/metrics", "another-token-of-some-length") == 200
    assert "another-token" not in daemon.log() and TOKEN not in daemon.log()
    assert daemon.stop() == 0


@pytest.mark.parametrize("role", ROLES)
def test_a_strangers_name_is_not_answered(daemons, confs, role):
    """Which he could have lead to the loopback address (DNS rebinding), for an operator's browser to read what is there."""
    conf, port = confs[role], free_port()
    with_admin(conf, f"127.0.0.1:{port}")
    daemon = Daemon(FARKEY, role, "-c", conf, log=conf.parent / f"{role}.log")
    daemons.append(daemon)
    wait_until(lambda: status(port, f"localhost:{port}") == "200", "the listener answers")
    assert status(port, f"127.0.0.1:{port}") == status(port, "[::1]") == "200"
    assert status(port, "rebound.example") == status(port, f"rebound.example:{port}", "/metrics") == "421"


def status(port, host, path="/healthz"):
    return run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {host}", f"http://127.0.0.1:{port}{path}",
               check=False).stdout
