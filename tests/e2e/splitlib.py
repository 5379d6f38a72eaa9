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
