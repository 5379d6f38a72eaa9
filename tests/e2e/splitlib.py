"""What tests of split keys have in common: pairs whose key is split, and where to look for it."""
import base64
import contextlib

import harness
import pair as pairs


def farkey(folder, *args, check=True):
    return harness.run(harness.FARKEY, *args, cwd=folder, check=check)


def split(folder, name="site", shares="2-of-3", *options):
    return farkey(folder, "key", "split", name, "--shares", shares, *options)


def make_split(folder, authority, site_authority, origin, kind="p256", shares="2-of-2", split_options=(), **options):
    """A pair that is not started: the key of example.com is split, the edge has share 2."""
    options.setdefault("site_options", 'share = {"example.com.share.2"}')
    pair = pairs.Pair(folder, authority, site_authority, origin.port, keys={"example.com": [kind]}, **options)
    keep_original(pair)
    split(folder, "example.com", shares, "--dir", "keys1/keys", "--out", "edge1", "--remove-original",
          *split_options)
    assert not (folder / "keys1/keys/example.com.key").exists()
    return pair


def keep_original(pair):
    """A copy for the tests to look for in memory, and to split again."""
    original = pair.folder / "original.key"
    original.write_bytes((pair.folder / "keys1/keys/example.com.key").read_bytes())
    original.chmod(0o600)
    return original


def split_again(pair, name, key=None):
    """Shares of another splitting, of the same key or of another, in a folder of their own."""
    folder = pair.folder / name
    (folder / "keys").mkdir(parents=True)
    if key is None:
        farkey(folder, "key", "generate", "example.com")
    else:
        (folder / "keys/example.com.key").write_bytes(key.read_bytes())
        (folder / "keys/example.com.key").chmod(0o600)
    split(folder, "example.com", "2-of-3")
    return folder


def share_bytes(path):
    """Bytes out of the midst of a share."""
    raw = base64.b64decode("".join(path.read_text().splitlines()[1:-1]))
    return raw[-30:-4]


def processes(daemon):
    role = "keyd" if "keyd" in " ".join(map(str, daemon.process.args)) else "edge"
    yield f"master of {role}", daemon.pid
    signers = daemon.children("signer")
    for pid in daemon.children():
        yield f"{'signer' if pid in signers else 'process'} of {role}", pid


def holders(daemons, secrets):
    """Which processes have any of the byte strings in their memory."""
    found = set()
    for daemon in daemons:
        for name, pid in processes(daemon):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one of the keys before has ended
                found |= {name} if pairs.holds_any(pid, secrets) else set()
    return found


class Two(pairs.Pair):
    """A pair whose key is split between its key server, keys1, which combines, and another, keys2 (with `more`: and
    keys3, each with a share of its own)."""

    def __init__(self, *args, kind="p256", additive=False, more=(), holder_options="", sharer_options="",
                 share_with="keys1", holder_allow="sign, decrypt", **options):
        self.ports = {name: harness.free_port() for name in ("keys2", *more)}
        self.holders = {}
        self.holder_options, self.sharer_options = holder_options, sharer_options
        options.setdefault("policy", "allow = {sign, decrypt}\n")
        options.setdefault("edge_options", "workers = 1 tickets { enabled = off }")
        super().__init__(*args, keys={"example.com": [kind]}, **options)
        keep_original(self)
        split(self.folder, "example.com", f"2-of-{1 + len(self.ports)}", "--dir", "keys1/keys", "--remove-original",
              *(["--additive"] if additive else []))
        for number, name in enumerate(self.ports, 2):
            self.make_holder(name, self.folder / f"example.com.share.{number}",
                             f'allow = {{{holder_allow}}}\nshare_with = {{"{share_with}"}}\n')
        self.ask_holders()

    def make_holder(self, name, share, policy):
        part = self.folder / name
        harness.channel_identity(self.authority, part, "keyserver", name)
        (part / "run").mkdir(exist_ok=True)
        (part / "keys").mkdir()
        audit = part / "audit.key"
        audit.write_bytes((self.folder / "keys1/audit.key").read_bytes())
        audit.chmod(0o600)
        share.rename(part / "keys/example.com.share")
        (part / "keys/example.com.policy").write_text(policy)
        (part / "keyd.conf").write_text(f"""fronts = 1 signers = 1 {self.holder_options}
control = "run/keyd.sock"
listen "127.0.0.1:{self.ports[name]}" {{}}
channel {{ certificate = "channel.crt" key = "channel.key" ca = "ca.crt" }}
keys "keys" {{}}
edge "keys1" {{ identity = "farkey:keyserver:keys1" allow = {{share}} keys = {{"*"}} {self.sharer_options} }}
audit {{ file = "audit.log" key = "audit.key" }}
""")

    def ask_holders(self):
        conf = self.folder / "keys1/keyd.conf"
        blocks = (f'keyserver "{name}" {{ address = "127.0.0.1:{port}" ping_interval = 200ms ping_timeout = 200ms }}\n'
                  for name, port in self.ports.items())
        conf.write_text(conf.read_text() + "".join(blocks))

    def start_holder(self, daemons, name="keys2"):
        holder = harness.Daemon(harness.FARKEY, "keyd", "-c", self.folder / name / "keyd.conf",
                                log=self.folder / f"{name}.log")
        self.holders[name] = holder
        daemons.append(holder)
        harness.wait_until(lambda: self.serving(holder, self.ports[name]), "the other key server listens")

    @property
    def holder(self):
        return self.holders["keys2"]

    def start(self, daemons):
        for name in self.ports:
            self.start_holder(daemons, name)
        self.start_keyd(daemons)
        for name in self.ports:
            self.wait_up(True, name)
        self.start_edge(daemons, ready=False)
        self.edge.wait_log("key server is up")
        return self

    def wait_up(self, up, name="keys2"):
        harness.wait_until(lambda: self.sharer(name)["up"] is up, f"status says of {name}: up {up}")

    def sharer(self, name="keys2"):
        sharer, = (server for server in self.status("keyd")["keyservers"] if server["name"] == name)
        return sharer

    def failed(self, *options):
        """A handshake that fails; what the combining key server says of it."""
        since = len(self.keyd.log())
        text = self.s_client("-tls1_3", *options, check=False)
        assert "alert" in text and "hello" not in text, text
        return self.keyd.log()[since:]

    @property
    def all(self):
        return [self.keyd, *self.holders.values(), self.edge]
