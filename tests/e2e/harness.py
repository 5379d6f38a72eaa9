"""What every end-to-end test stands on: certificates, configurations, daemons, conditions.

Real programs only: certificates come from the openssl command, daemons are build/farkey, clients
are curl, openssl and others. Nothing here sleeps for a guessed time: wait_until() watches for a
condition and fails with its name when it does not come.
"""
import base64
import contextlib
import json
import os
import pathlib
import random
import re
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
FARKEY = os.environ.get("FARKEY", str(TOP / "build" / "farkey"))
SANITIZED = bool(os.environ.get("FARKEY_SANITIZED"))
# Sanitized daemons on two shared cores are several times slower.
PATIENCE = 60 if SANITIZED else 20

_tick = threading.Event()


def wait_until(condition, what, timeout=PATIENCE):
    """The condition's first true value; AssertionError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        _tick.wait(0.02)  # the poll interval


# Below the ports that Linux gives to outgoing connections: those come and go.
PORTS = range(10000, 32768)
_reserved = []


def free_port(count=1):
    """
    A TCP port that nobody uses on any address, or the first of `count` in a row. It stays ours until
    the end: whoever else asks here, in this process or another, finds the UDP port of the same number
    taken.
    """
    while True:
        port = random.choice(PORTS)
        if all([reserve(port + i) for i in range(count)]):
            return port


def reserve(port):
    """Whether a port is ours now."""
    reservation = socket.socket(type=socket.SOCK_DGRAM)
    try:
        reservation.bind(("127.0.0.1", port))
        with socket.socket() as probe:
            probe.bind(("0.0.0.0", port))
    except OSError:
        reservation.close()
        return False
    _reserved.append(reservation)
    return True


def run(*command, check=True, timeout=PATIENCE, **options):
    """A finished command with its text output; its errors are shown when it fails."""
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=timeout, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{command[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


KEY_ARGUMENTS = {
    "rsa2048": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "rsa4096": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"],
    "rsa3072": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
    "p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "p521": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "ed25519": ["-algorithm", "Ed25519"],
}


def make_key(kind, path):
    """A private key made by the openssl command, as a PEM file of mode 0600."""
    run("openssl", "genpkey", *KEY_ARGUMENTS[kind], "-out", path)
    os.chmod(path, 0o600)


class Authority:
    """A certificate authority made with the openssl command, in a folder of its own."""

    def __init__(self, folder, name="Test CA"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate = self.folder / "ca.crt"
        self.key = self.folder / "ca.key"
        make_key("p256", self.key)
        run("openssl", "req", "-x509", "-new", "-key", self.key, "-subj", f"/CN={name}", "-days", "30",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", self.certificate)

    def issue(self, stem, subject, san, kind="p256", days=30):
        """stem.key and stem.crt for a subject alternative name such as "DNS:example.com"."""
        stem = pathlib.Path(stem)
        stem.parent.mkdir(parents=True, exist_ok=True)
        key, certificate = stem.with_name(stem.name + ".key"), stem.with_name(stem.name + ".crt")
        make_key(kind, key)
        self.certify(key, certificate, subject, san, days)
        return key, certificate

    def certify(self, key, certificate, subject, san, days=30):
        """A certificate for an existing key."""
        config = certificate.with_name(certificate.name + ".ext")
        config.write_text(f"subjectAltName={san}\nbasicConstraints=CA:FALSE\n"
                          "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        request = run("openssl", "req", "-new", "-key", key, "-subj", f"/CN={subject}").stdout
        run("openssl", "x509", "-req", "-CA", self.certificate, "-CAkey", self.key, "-days", days,
            "-set_serial", str(int.from_bytes(os.urandom(8), "big") | 1), "-extfile", config,
            "-out", certificate, input=request)
        config.unlink()


def channel_identity(authority, folder, role, name, kind="p256"):
    """channel.key, channel.crt and ca.crt in `folder`, for role "edge" or "keyserver"."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    authority.issue(folder / "channel", name, f"URI:farkey:{role}:{name}", kind)
    (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())


SANITIZER_REPORT = re.compile(r"ERROR: (Address|Leak)Sanitizer|AddressSanitizer:DEADLYSIGNAL|: runtime error: ")


def sanitizer_report(log):
    """From the first report of ASan, LSan or UBSan in a log on; None without one."""
    found = SANITIZER_REPORT.search(log)
    return log[found.start():][:6000] if found else None


class Daemon:
    """A running farkey daemon (or any other program) with its log in a file."""

    def __init__(self, *command, log, cwd=None, env=None):
        self.log_path = pathlib.Path(log)
        self.command = [str(word) for word in command]
        with open(self.log_path, "ab") as out:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            cwd=cwd, env=env)
        self.pid = self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def alive(self):
        return self.process.poll() is None

    def wait_log(self, pattern, timeout=PATIENCE, since=0):
        """The match of a regular expression in the log, from character `since` on."""
        def find():
            match = re.search(pattern, self.log()[since:])
            if not match and not self.alive():
                raise AssertionError(f"{self.command[:2]} ended with {self.process.returncode}")
            return match
        try:
            return wait_until(find, f"/{pattern}/ in the log", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-6000:]}") from None

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, timeout=PATIENCE):
        """End it in order; the exit status."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end on SIGTERM:\n{self.log()[-6000:]}") from None

    def end(self):
        """End it whatever state it is in. A sanitized one ends in order, or leaks would not be looked for."""
        if self.alive() and SANITIZED:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        if self.alive():
            self.process.kill()
        self.process.wait()

    def children(self, role=None):
        """pids of its `farkey child ROLE` processes."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if parent == self.pid and words[1:2] == [b"child"]:
                    if role is None or words[2] == role.encode():
                        found.append(int(entry.name))
        return sorted(found)


def ended(pid):
    """Also when nobody has asked for its status."""
    with contextlib.suppress(FileNotFoundError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    return True


class Successor(Daemon):
    """A master that another has started. It writes to the same log."""

    def __init__(self, before, pid):  # pylint: disable=super-init-not-called
        self.log_path, self.command, self.pid = before.log_path, before.command, pid

    def alive(self):
        return not ended(self.pid)

    def signal(self, number):
        os.kill(self.pid, number)

    def end(self):
        if self.alive():
            os.kill(self.pid, signal.SIGTERM)
            wait_until(lambda: not self.alive(), "the successor ends")


@contextlib.contextmanager
def limited_memory(pid):
    """For a while no more address space than it has: whatever it maps then fails. Asked as the user that it is."""
    process = pathlib.Path("/proc") / str(pid)
    size = int((process / "statm").read_text().split()[0]) * resource.getpagesize()
    status = (process / "status").read_text()
    user, group = (int(re.search(rf"^{name}:\t(\d+)", status, re.M)[1]) for name in ("Uid", "Gid"))
    who = {"user": user, "group": group, "extra_groups": []} if os.geteuid() == 0 else {}
    run("prlimit", "--pid", pid, f"--as={size}:", **who)
    try:
        yield
    finally:
        run("prlimit", "--pid", pid, "--as=unlimited:", **who)


def ssl_der(path):
    """The first certificate of a PEM file, in DER."""
    return ssl.PEM_cert_to_DER_cert(pathlib.Path(path).read_text())


def pem_der(text):
    """What stands between the lines of dashes of a PEM text."""
    return base64.b64decode("".join(line for line in text.splitlines() if "-----" not in line))


def port_open(port, host="127.0.0.1"):
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


def port_listens(port):
    """Whether somebody listens on a TCP port: asked of the kernel, without a connection."""
    return re.search(rf":{port}\b", run("ss", "-Hltn", f"sport = :{port}").stdout) is not None


def control(path, command="status", **fields):
    """One request on a daemon's control socket; its JSON answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(path))
        sock.sendall(json.dumps({"command": command, **fields}).encode() + b"\n")
        with sock.makefile("rb") as stream:
            return json.loads(stream.readline())


def takes_commands(daemon):
    """Whether a daemon of ours listens at the control socket that its configuration names."""
    conf = pathlib.Path(daemon.command[daemon.command.index("-c") + 1])
    named = re.search(r'^control = "(.+)"$', conf.read_text(), re.M)
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(conf.parent / named[1]))
        return True
    return False


def curl(url, *options, ca, resolve=None, check=True):
    """curl with a pinned CA: (exit status, body, verbose output)."""
    command = ["curl", "--silent", "--verbose", "--show-error", "--max-time", str(PATIENCE), "--noproxy", "*",
               "--cacert", ca, *options]
    if resolve:
        command += ["--resolve", resolve]
    done = run(*command, url, check=check, timeout=PATIENCE + 5)
    return done.returncode, done.stdout, done.stderr
