"""A whole installation in a folder: key server, edge, site certificates, a stock nginx as origin."""
import contextlib
import http.client
import os
import pathlib
import re
import shutil
import ssl
import subprocess

import harness

CURVES = {"p256": "P-256", "p384": "P-384", "p521": "P-521"}


class Nginx:
    """A stock nginx that serves one small page and one large file, in the foreground."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        root = self.folder / "www"
        root.mkdir(parents=True)
        (root / "index.html").write_text("hello from the origin\n")
        self.large = os.urandom(1024) * 4096
        (root / "large").write_bytes(self.large)
        for path in [self.folder, root]:
            path.chmod(0o755)
        self.port = harness.free_port()
        config = self.folder / "nginx.conf"
        config.write_text(f"""
daemon off; master_process off; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy;
    fastcgi_temp_path {self.folder}/f; uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
    server {{ listen 127.0.0.1:{self.port}; root {root}; }}
}}
""")
        self.daemon = harness.Daemon("nginx", "-c", config, "-p", self.folder, log=self.folder / "log")
        harness.wait_until(lambda: harness.port_open(self.port), "nginx listens")

    def stop(self):
        self.daemon.stop()


class Pair:
    """keyd.conf and edge.conf in a folder, and the two daemons; parts can be started one by one.

    `keys`: {site name: [kinds]}. Site certificates are signed by `site_authority`; each kind is a key
    of its own at the key server. `edge_options`, `site_options`, `server_options`,
    `edge_channel_options` and `keyd_options` are added to the root, the sites, the keyserver blocks, the
    edge's channel and the key server's root.
    """

    def __init__(self, folder, authority, site_authority, origin_port, keys=None, **options):
        self.folder = pathlib.Path(folder)
        self.authority, self.site_authority = authority, site_authority
        self.keys = keys or {"example.com": ["p256"]}
        self.origin_port = origin_port
        self.options = options
        self.port, self.keyd_port = harness.free_port(), harness.free_port()
        self.keyd = self.edge = None
        self.servers = {"keys1": self.keyd_port}
        self.make_identities()
        self.make_sites()
        self.write_keyd()
        self.write_edge()

    def make_identities(self):
        harness.channel_identity(self.authority, self.folder / "edge1", "edge", "edge1")
        harness.channel_identity(self.authority, self.folder / "keys1", "keyserver", "keys1")
        for part in ("edge1", "keys1"):
            (self.folder / part / "run").mkdir(exist_ok=True)
        audit = self.folder / "keys1" / "audit.key"
        audit.write_bytes(os.urandom(32).hex().encode() + b"\n")
        audit.chmod(0o600)

    def make_sites(self):
        store = self.folder / "keys1" / "keys"
        store.mkdir(exist_ok=True)
        for name, kinds in self.keys.items():
            for kind in kinds:
                stem = store / (name if len(kinds) == 1 else f"{name}-{kind}")
                _, certificate = self.site_authority.issue(stem, name, f"DNS:{name}", kind)
                policy = self.options.get("policy")
                if policy:
                    stem.with_name(stem.name + ".policy").write_text(policy)
                (self.folder / "edge1" / certificate.name).write_bytes(certificate.read_bytes())

    def certificates(self, name):
        kinds = self.keys[name]
        return [f"{name}.crt"] if len(kinds) == 1 else [f"{name}-{kind}.crt" for kind in kinds]

    def write_keyd(self):
        text = f"""{self.options.get("keyd_options", "fronts = 1 signers = 1")}
control = "run/keyd.sock"
listen "127.0.0.1:{self.keyd_port}" {{ {self.options.get("listen_options", "")} }}
channel {{ certificate = "channel.crt" key = "channel.key" ca = "ca.crt" {self.options.get("channel_options", "")} }}
keys "keys" {{}}
edge "edge1" {{ keys = {{"*"}} allow = {{{self.options.get("edge_allow", "sign, decrypt")}}} {self.options.get("edge_policy", "")} }}
audit {{ file = "{self.options.get("audit_file", "audit.log")}" key = "audit.key" }}
"""
        (self.folder / "keys1" / "keyd.conf").write_text(text)

    def write_edge(self):
        servers = "\n".join(f"""keyserver "{name}" {{ address = "127.0.0.1:{port}" identity = "farkey:keyserver:keys1"
    {self.options.get("server_options", "")} }}""" for name, port in self.servers.items())
        listed = ", ".join(f'"{name}"' for name in self.servers)
        sites = ""
        for name in self.keys:
            certificates = ", ".join(f'"{path}"' for path in self.certificates(name))
            fetched = self.options.get("fetch_certificates")
            sites += f"""site "{name}" {{ keyservers = {{{listed}}} origin = {{"127.0.0.1:{self.origin_port}"}}
    {"" if fetched else f"certificate = {{{certificates}}}"} {self.options.get("site_options", "")} }}
"""
        (self.folder / "edge1" / "edge.conf").write_text(f"""
{self.options.get("edge_options", "workers = 1")}
control = "run/edge.sock"
access_log = on
listen "127.0.0.1:{self.port}" {{}}
channel {{ certificate = "channel.crt" key = "channel.key" ca = "ca.crt" {self.options.get("edge_channel_options", "")} }}
{servers}
{sites}
""")

    def start(self, daemons):
        self.start_keyd(daemons)
        self.start_edge(daemons)
        return self

    def start_keyd(self, daemons):
        self.keyd = harness.Daemon(harness.FARKEY, "keyd", "-c", self.folder / "keys1" / "keyd.conf",
                                   log=self.folder / "keyd.log")
        daemons.append(self.keyd)
        harness.wait_until(lambda: self.serving(self.keyd, self.keyd_port), "the key server listens")

    def start_edge(self, daemons, ready=True, before=()):
        self.edge = harness.Daemon(*before, harness.FARKEY, "edge", "-c", self.folder / "edge1" / "edge.conf",
                                   log=self.folder / "edge.log")
        daemons.append(self.edge)
        harness.wait_until(lambda: self.serving(self.edge, self.port), "the edge listens")
        if ready:
            name = next(iter(self.keys))
            try:
                harness.wait_until(lambda: self.get(name, check=False)[0] == 0, "the first handshake")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.edge.log()[-4000:]}\n{self.keyd and self.keyd.log()[-4000:]}") from None

    @staticmethod
    def serving(daemon, port):
        """Whether it takes connections, and commands: the one socket may be there before the other."""
        if not daemon.alive():
            raise AssertionError(f"ended with {daemon.process.returncode}:\n{daemon.log()[-6000:]}")
        return harness.port_open(port) and harness.takes_commands(daemon)

    def get(self, name="example.com", *options, path="/", check=True):
        return harness.curl(f"https://{name}:{self.port}{path}", *options, ca=self.site_authority.certificate,
                            resolve=f"{name}:{self.port}:127.0.0.1", check=check)

    def s_client(self, *options, name="example.com", data="GET / HTTP/1.0\r\n\r\n", check=True):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", name,
                               "-CAfile", str(self.site_authority.certificate), "-verify_return_error",
                               "-ign_eof", *options],
                              input=data, capture_output=True, text=True, timeout=harness.PATIENCE, check=False)
        if check:
            assert "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
        return done.stdout + done.stderr

    def connect(self, name="example.com", **context_options):
        """A Python TLS connection, verified."""
        context = ssl.create_default_context(cafile=str(self.site_authority.certificate))
        for option, value in context_options.items():
            setattr(context, option, value)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=harness.PATIENCE)
        raw = __import__("socket").create_connection(("127.0.0.1", self.port), harness.PATIENCE)
        connection.sock = context.wrap_socket(raw, server_hostname=name)
        return connection

    def status(self, part):
        paths = {"edge": self.folder / "edge1" / "run/edge.sock", "keyd": self.folder / "keys1" / "run/keyd.sock"}
        return harness.control(paths[part])

    def audit_verify(self):
        return harness.run(harness.FARKEY, "audit", "verify", "--key", self.folder / "keys1" / "audit.key",
                           self.folder / "keys1" / "audit.log", check=False)


def request_key(folder):
    """The edge's request key, as its operator makes it and gives the public half to the key server; its options."""
    for part in ("edge1", "keys1"):
        (folder / part).mkdir(exist_ok=True)
    harness.run(harness.FARKEY, "ca", "request-key", "-o", folder / "edge1")
    shutil.copy(folder / "edge1/request.pub", folder / "keys1/edge1.request.pub")
    return {"edge_policy": 'request_key = "edge1.request.pub"', "edge_channel_options": 'request_key = "request.key"'}


def process_memory(pid):
    """The readable private memory of a process, mapping by mapping."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if not match or "[vvar]" in line or "[vsyscall]" in line:
                continue
            start, end = (int(group, 16) for group in match.groups())
            with contextlib.suppress(OSError, ValueError, OverflowError):
                memory.seek(start)
                yield memory.read(end - start)


def private_numbers(key_path):
    """The private numbers of a PEM key as the byte strings that memory could hold: both byte orders."""
    text = harness.run("openssl", "pkey", "-in", key_path, "-noout", "-text").stdout
    numbers = []
    for field in ("priv", "privateExponent", "prime1", "prime2", "exponent1", "exponent2", "coefficient"):
        match = re.search(rf"^{field}:\n((?:    [0-9a-f:]+\n)+)", text, re.M)
        if match:
            number = bytes.fromhex(re.sub(r"[^0-9a-f]", "", match[1])).lstrip(b"\0")
            numbers += [number, number[::-1]]
    body = [line for line in pathlib.Path(key_path).read_text().splitlines() if "-----" not in line]
    numbers.append("".join(body)[40:80].encode())
    assert len(numbers) >= 3, text
    return numbers


def holds_any(pid, needles):
    """Whether a process's memory has any of the byte strings (of their middle 24 bytes at least)."""
    cores = [needle[len(needle) // 2 - 12:len(needle) // 2 + 12] for needle in needles]
    return any(core in chunk for chunk in process_memory(pid) for core in cores)
