"""Split keys: shares in files, at edges and key servers; faults of shares; what is left in memory."""
import base64
import os
import re

import pytest

import harness
import pair as pairs


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


def farkey(folder, *args, check=True):
    return harness.run(harness.FARKEY, *args, cwd=folder, check=check)


def split(folder, name="site", shares="2-of-3", *options):
    return farkey(folder, "key", "split", name, "--shares", shares, *options)


# --- the command ---

@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "p521", "ed25519"])
def test_any_two_of_three_shares_make_the_key(folder, kind):
    (folder / "keys").mkdir()
    farkey(folder, "key", "generate", "-t", kind, "site")
    ski = farkey(folder, "key", "list").stdout.split()[2]
    split(folder)
    files = ["keys/site.share", "site.share.2", "site.share.3"]
    for one in files:
        assert (folder / one).stat().st_mode & 0o777 == 0o600
        for other in set(files) - {one}:
            assert f"key {ski}" in farkey(folder, "key", "combine-check", one, other).stdout
    done = farkey(folder, "key", "combine-check", *files)
    assert "3 shares (2 needed, 3 there are)" in done.stdout


def test_wrong_missing_repeated_and_foreign_shares_are_named(folder):
    (folder / "keys").mkdir()
    farkey(folder, "key", "generate", "site")
    (folder / "one").mkdir()
    split(folder, "site", "3-of-3", "--out", "one")
    (folder / "keys/site.share").rename(folder / "one/site.share.1")
    (folder / "two").mkdir()
    split(folder, "site", "3-of-3", "--out", "two")

    def refused(*files):
        done = farkey(folder, "key", "combine-check", *files, check=False)
        assert done.returncode == 1 and done.stdout == ""
        return done.stderr

    one = [f"one/site.share.{i}" for i in (1, 2, 3)]
    assert "3 shares" in farkey(folder, "key", "combine-check", *one).stdout
    assert "a share of the split key is missing" in refused(*one[:2])
    assert f"{one[1]}: the same share of the split key twice" in refused(one[0], one[1], one[1])
    assert "two/site.share.3: a share of another key, or of another splitting" in refused(*one[:2], "two/site.share.3")
    text = (folder / one[2]).read_text()
    lines = text.splitlines()
    raw = bytearray(base64.b64decode("".join(lines[1:-1])))
    raw[-1] ^= 1
    (folder / one[2]).write_text("\n".join([lines[0], base64.encodebytes(raw).decode().strip(), lines[-1], ""]))
    assert f"{one[2]}: a share of the split key is wrong" in refused(*one)
    assert "malformed" in refused(one[0], "keys/site.key")


def test_splitting_overwrites_nothing_and_removes_when_told(folder):
    (folder / "keys").mkdir()
    farkey(folder, "key", "generate", "site")
    original = (folder / "keys/site.key").read_bytes()
    split(folder)
    assert (folder / "keys/site.key").read_bytes() == original
    done = farkey(folder, "key", "split", "site", "--shares", "2-of-2", check=False)
    assert done.returncode == 1 and "keys/site.share: duplicate" in done.stderr
    for path in ["keys/site.share", "site.share.2", "site.share.3"]:
        (folder / path).unlink()
    split(folder, "site", "2-of-2", "--remove-original")
    assert sorted(path.name for path in (folder / "keys").iterdir()) == ["site.share"]
    assert "2 shares" in farkey(folder, "key", "combine-check", "keys/site.share", "site.share.2").stdout


@pytest.mark.parametrize("shares", [None, "1-of-2", "3-of-2", "2-of-17", "2", "2-of-3x"])
def test_numbers_of_shares_that_cannot_be(folder, shares):
    (folder / "keys").mkdir()
    farkey(folder, "key", "generate", "site")
    done = farkey(folder, "key", "split", "site", *([] if shares is None else ["--shares", shares]), check=False)
    assert done.returncode == 2 and "--shares K-of-N" in done.stderr
    assert not (folder / "keys/site.share").exists()
