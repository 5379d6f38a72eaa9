"""Starting what is measured: our pair, and the rivals from Debian, each with one worker."""
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile

import measure

TOP = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("FARKEY_BUILD", TOP / "build"))

CIPHERS12 = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"


def free_port():
    """Below the ports that Linux gives to outgoing connections: those come and go."""
    while True:
        port = random.randrange(10000, 32768)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("0.0.0.0", port))
            return port


def listening(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def version(*command):
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    return "not installed"


class Server:
    """A started server: where it listens, which processes are measured, how to end it."""

    def __init__(self, name, port, process, pids, folder=None, facts=None):
        self.name, self.port, self.process, self.folder = name, port, process, folder
        self.pids = pids
        self.facts = facts or {}

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def start_origin():
    process = subprocess.Popen([BUILD / "bench/origin"], stdout=subprocess.PIPE, text=True)
    port = int(process.stdout.readline())
    measure.pin([process.pid], measure.OTHER_CORE)
    return Server("origin", port, process, [process.pid])


def workers(pid, marks):
    """Descendants of a master whose command line has one of the marks."""
    found = []
    for child in measure.tree(pid)[1:]:
        with contextlib.suppress(OSError):
            line = pathlib.Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if any(mark in line for mark in marks):
                found.append(child)
    return found


def start_farkey(origin_port, key="rsa2048", rtt=None, mode=None, options=()):
    """Edge and key server by `farkey demo --stay --json`: the edge's worker is what is measured."""
    command = [BUILD / "farkey", "demo", "--stay", "--json", "--key", key, "--origin", f"127.0.0.1:{origin_port}", *options]
    if rtt:
        command += ["--rtt", rtt]
    if mode:
        command += ["--mode", mode]
    log = tempfile.TemporaryFile()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    line = process.stdout.readline()
    if not line:
        log.seek(0)
        raise RuntimeError("farkey demo failed:\n" + log.read().decode()[-3000:])
    facts = json.loads(line)
    measure.pin(measure.tree(process.pid), measure.OTHER_CORE)
    edge = workers(facts["edge"]["pid"], ["child edge-worker"])
    measure.pin(edge, measure.SERVER_CORE)
    return Server("farkey", int(facts["edge"]["address"].rsplit(":", 1)[1]), process, edge, facts=facts)


def start_hitch(origin_port, certificate):
    folder = tempfile.mkdtemp(prefix="bench-hitch-")
    os.chmod(folder, 0o755)
    port = free_port()
    config = pathlib.Path(folder, "hitch.conf")
    config.write_text(f'''frontend = "[127.0.0.1]:{port}"
backend = "[127.0.0.1]:{origin_port}"
pem-file = "{certificate}"
workers = 1
backlog = 4096
tls-protos = TLSv1.2 TLSv1.3
ciphers = "{CIPHERS12}"
quiet = on
user = "nobody"
''')
    process = subprocess.Popen(["hitch", f"--config={config}"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    measure.wait_until(lambda: listening(port), "hitch")
    pids = measure.tree(process.pid)[1:]
    measure.pin(pids, measure.SERVER_CORE)
    return Server("hitch", port, process, pids, folder)


def start_nginx(origin_port, certificate):
    folder = tempfile.mkdtemp(prefix="bench-nginx-")
    os.chmod(folder, 0o755)
    port = free_port()
    config = pathlib.Path(folder, "nginx.conf")
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    load = f"load_module {module};" if os.path.exists(module) else ""
    config.write_text(f'''{load}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 8000; }}
stream {{
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers {CIPHERS12};
    ssl_session_tickets on;
    server {{ listen 127.0.0.1:{port} ssl backlog=4096; proxy_pass 127.0.0.1:{origin_port}; }}
}}
''')
    process = subprocess.Popen(["nginx", "-c", config, "-p", folder], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    measure.wait_until(lambda: listening(port), "nginx")
    pids = measure.tree(process.pid)[1:]
    measure.pin(pids, measure.SERVER_CORE)
    return Server("nginx", port, process, pids, folder)


def start_haproxy(origin_port, certificate):
    folder = tempfile.mkdtemp(prefix="bench-haproxy-")
    os.chmod(folder, 0o755)
    port = free_port()
    config = pathlib.Path(folder, "haproxy.cfg")
    config.write_text(f'''global
    nbthread 1
    maxconn 8000
    ssl-default-bind-ciphers {CIPHERS12}
    ssl-default-bind-options ssl-min-ver TLSv1.2
    tune.ssl.default-dh-param 2048
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend in
    bind 127.0.0.1:{port} ssl crt {certificate} backlog 4096
    default_backend out
backend out
    server one 127.0.0.1:{origin_port}
''')
    process = subprocess.Popen(["haproxy", "-db", "-f", config], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    measure.wait_until(lambda: listening(port), "haproxy")
    pids = measure.tree(process.pid)
    measure.pin(pids, measure.SERVER_CORE)
    return Server("haproxy", port, process, pids, folder)


RIVALS = {"hitch": start_hitch, "nginx": start_nginx, "haproxy": start_haproxy}


def make_certificate(folder, key):
    """A self-signed certificate and its key in one PEM file, for the rivals."""
    arguments = {"rsa2048": ["-newkey", "rsa:2048"],
                 "p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
                 "ed25519": ["-newkey", "ed25519"]}[key]
    folder = pathlib.Path(folder)
    private, public, both = (folder / f"{key}.{end}" for end in ("key", "crt", "pem"))
    subprocess.run(["openssl", "req", "-x509", *arguments, "-nodes", "-keyout", private, "-out", public,
                    "-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:example.com", "-days", "30"],
                   check=True, capture_output=True)
    both.write_bytes(private.read_bytes() + public.read_bytes())
    both.chmod(0o644)
    folder.chmod(0o755)
    return both


def load(port, total, concurrency=32, *options):
    """One run of the load generator on the other core; its figures."""
    done = subprocess.run(["taskset", "-c", str(measure.OTHER_CORE), BUILD / "bench/tlsload", "-n", str(total),
                           "-c", str(concurrency), *options, f"127.0.0.1:{port}"],
                          capture_output=True, text=True, check=False)
    if not done.stdout:
        raise RuntimeError(f"tlsload failed: {done.stderr}")
    return json.loads(done.stdout)
