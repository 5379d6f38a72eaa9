"""Tokens of the end-to-end tests: softhsm2 (PKCS#11) and swtpm (TPM 2.0), with the tools of their makers."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess

import harness

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "3141592"


def give_to_token_process(path):
    """Files that a root master's token process, which is nobody here, has to read and write."""
    if os.geteuid() != 0:
        return
    for part in [path, *path.rglob("*")]:
        shutil.chown(part, "nobody", "nogroup")


class SoftHsm:
    """A softhsm2 token in a folder of its own. Its keys are used as `label`."""

    def __init__(self, folder, monkeypatch, label="farkey-test"):
        self.folder, self.label = pathlib.Path(folder), label
        self.tokens = self.folder / "tokens"
        self.tokens.mkdir(parents=True)
        self.folder.chmod(0o755)
        conf = self.folder / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
        self.pin_file = self.folder / "pin"
        self.write_pin(PIN)
        self.initialise()

    def write_pin(self, pin):
        self.pin_file.write_text(pin + "\n")
        self.pin_file.chmod(0o600)

    def initialise(self):
        harness.run("softhsm2-util", "--init-token", "--free", "--label", self.label, "--pin", PIN,
                    "--so-pin", "271828")
        give_to_token_process(self.tokens)

    def tool(self, *options, login=True):
        """pkcs11-tool on this token."""
        pin = ["--login", "--pin", PIN] if login else []
        done = harness.run("pkcs11-tool", "--module", MODULE, "--token-label", self.label, *pin, *options)
        give_to_token_process(self.tokens)
        return done.stdout

    def put(self, key_file, label, ident):
        """Move a private key from its file into the token."""
        harness.run("softhsm2-util", "--import", key_file, "--token", self.label, "--label", label, "--id", ident,
                    "--pin", PIN)
        give_to_token_process(self.tokens)
        pathlib.Path(key_file).unlink()

    @contextlib.contextmanager
    def away(self):
        """For a while the token is not there: an empty folder is in its place."""
        away = self.folder / "away"
        self.tokens.rename(away)
        self.tokens.mkdir()
        give_to_token_process(self.tokens)
        yield
        self.tokens.rmdir()
        away.rename(self.tokens)

    def serial(self):
        text = harness.run("softhsm2-util", "--show-slots").stdout
        part = text[:text.index(f"Label:            {self.label}")]
        return part[part.rindex("Serial number:"):].split()[2]

    def block(self, name="hsm", module=MODULE, **options):
        """The token block of keyd.conf."""
        values = {"label": f'"{self.label}"', "pin_file": f'"{self.pin_file}"', "paths": f'{{"{self.folder}"}}'}
        values.update(options)
        lines = [f"{key} = {value}" for key, value in values.items() if value is not None]
        return "\n".join([f'token "{name}" {{ type = pkcs11 module = "{module}"', *lines, "}"])


def move_keys(pair, hsm, name="hsm"):
    """The keys of a pair's sites into the token; their files then only say where they are."""
    store = pair.folder / "keys1/keys"
    for number, key in enumerate(sorted(store.glob("*.key")), 1):
        hsm.put(key, key.stem, f"{number:02x}")
        key.with_suffix(".token").write_text(f'token = "{name}" label = "{key.stem}" id = "{number:02x}"\n')


def state_of(status, name="hsm"):
    """What a key server's status says of a token."""
    return next((token for token in status.get("tokens", []) if token["name"] == name), {})


class Tpm:
    """A TPM 2.0 made of software, with its state in a folder; keys are made by OpenSSL's provider tpm2."""

    def __init__(self, folder, daemons):
        self.folder, self.daemons = pathlib.Path(folder), daemons
        (self.folder / "state").mkdir(parents=True)
        self.folder.chmod(0o755)
        self.port = harness.free_port(2)  # the TSS expects the control port behind it
        self.tcti = f"swtpm:host=127.0.0.1,port={self.port}"
        self.daemon = None
        self.start()

    def start(self):
        self.daemon = harness.Daemon("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}/state",
                                     "--server", f"type=tcp,port={self.port}", "--ctrl", f"type=tcp,port={self.port + 1}",
                                     "--flags", "not-need-init,startup-clear", log=self.folder / "swtpm.log")
        self.daemons.append(self.daemon)
        # The data port serves one connection: a probe there would be it.
        harness.wait_until(lambda: harness.port_listens(self.port), "swtpm listens")

    def stop(self):
        self.daemon.process.kill()
        self.daemon.process.wait()

    def run(self, *command):
        """A command of OpenSSL or tpm2-tools with this TPM, which serves one connection at a time."""
        env = {**os.environ, "TPM2OPENSSL_TCTI": self.tcti, "TPM2TOOLS_TCTI": self.tcti, "TSS2_LOG": "all+NONE"}
        return harness.run(*command, env=env).stdout

    def openssl(self, command, *options):
        return self.run("openssl", command, "-provider", "tpm2", "-provider", "default", *options)

    def make_key(self, kind, path, auth=None):
        options = {"rsa2048": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
                   "p256": ["-algorithm", "EC", "-pkeyopt", "group:P-256"]}[kind]
        options += ["-pkeyopt", f"user-auth:{auth}"] if auth else []
        self.openssl("genpkey", *options, "-out", path)
        path.chmod(0o600)

    def public(self, key_file, path, auth=None):
        self.openssl("pkey", "-in", key_file, "-pubout", "-out", path, *(["-passin", f"pass:{auth}"] if auth else []))

    def block(self, name="tpm", **options):
        lines = [f"{key} = {value}" for key, value in options.items()]
        return "\n".join([f'token "{name}" {{ type = tpm2 tcti = "{self.tcti}"', *lines, "}"])
