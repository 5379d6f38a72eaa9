"""What the documents tell a new user to type is typed here, as it stands: README's walk, the manual's examples."""
import os
import pathlib
import re
import signal
import subprocess

import pytest

import harness

BUILD = pathlib.Path(harness.FARKEY).parent
# Every command of the walk that ends by itself, and what its output must have.
WALK_SHOWS = {
    "farkey init": "", "farkey key generate": "", "farkey key csr": "", "openssl req": "", "openssl x509": "",
    "farkey key install": "", "farkey check": "", "for url in": "", "curl": "Directory listing", "farkey status -c edge1": "edge",
    "farkey status -c keys1": "keyd", "farkey audit verify": "", "kill": "",
}
BACKGROUND = ["farkey keyd", "python3 -m http.server", "farkey edge"]


def walk():
    """The commands of README's walk after the two that build and enter a fresh directory."""
    text = (harness.TOP / "README.md").read_text()
    section = text[text.index("## A walk by hand"):]
    block = re.search(r"```\n(.*?)```", section, re.S)[1]
    assert block.startswith('make build && export PATH="$PWD/build:$PATH"\nmkdir walk && cd walk\n')
    return [line for line in block.splitlines()[2:] if line and not line.startswith("#")]


def with_free_ports(commands, folder):
    """The same commands, and the configurations of `init`, with ports that nobody has taken."""
    ports = {port: str(harness.free_port()) for port in ("8443", "8080", "2407", "9464", "9465")}
    pattern = re.compile(r"(?<![\w.])(" + "|".join(ports) + r")(?!\w)")

    def substitute(text):
        return pattern.sub(lambda match: ports[match[1]], text)
    for conf in (folder / "edge1/edge.conf", folder / "keys1/keyd.conf"):
        conf.write_text(substitute(conf.read_text()))
    return [substitute(command) for command in commands]


class Shell:
    """One interactive-like bash that is given a command after the other, as a user types them."""

    def __init__(self, folder):
        environment = {**os.environ, "PATH": f"{BUILD}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(["bash", "--norc", "-m"], cwd=folder, env=environment, text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        start_new_session=True)

    def type(self, command):
        """The status and the output of a command; of one in the background, of its start."""
        self.process.stdin.write(f"{command}\necho \"<status $?>\"\n")
        output = ""
        while not (match := re.search(r"<status (\d+)>\n", output)):
            line = self.process.stdout.readline()
            assert line, f"the shell has ended after {command}: {output}"
            output += line
        return int(match[1]), output[:match.start()]

    def end(self):
        """Wait for the jobs that were told to end, then leave."""
        self.process.stdin.write("wait\n")
        self.process.stdin.close()
        rest = self.process.stdout.read()
        self.process.wait(harness.PATIENCE)
        return rest


def pids_of(session):
    """The processes of a session that are left."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.fixture
def shell(folder):
    made = Shell(folder)
    yield made
    for pid in pids_of(made.process.pid):
        os.kill(pid, signal.SIGKILL)
    made.process.wait()


def shown_by(command):
    if any(command.startswith(start) for start in BACKGROUND):
        assert command.endswith("&"), command
        return ""
    found = [text for start, text in WALK_SHOWS.items() if command.startswith(start)]
    assert found, f"say here what this command of the walk must show: {command}"
    return found[0]


def test_walk_by_hand(folder, shell):
    commands = walk()
    assert commands[0].startswith("farkey init") and commands[-1].startswith("kill ")
    status, output = shell.type(commands[0])
    assert status == 0, output
    output = ""
    for command in with_free_ports(commands[1:], folder):
        status, shown = shell.type(command)
        output += shown
        assert status == 0, f"{command}\n{output}"
        assert shown_by(command) in shown, f"{command}\n{output}"
    output += shell.end()
    assert harness.sanitizer_report(output) is None, output
    assert pids_of(shell.process.pid) == []


def examples():
    """The literal blocks of the manual's EXAMPLES."""
    text = (harness.TOP / "docs/man/farkey.1").read_text()
    section = text[text.index(".Sh EXAMPLES"):text.index(".Sh SEE ALSO")]
    return [block.strip().splitlines() for block in re.findall(r"^\.Bd.*?\n(.*?)^\.Ed", section, re.S | re.M)]


def test_examples_of_the_manual(folder, shell, site_authority):
    blocks = examples()
    assert [len(block) for block in blocks] == [4, 2]
    for command in blocks[0][:3]:
        status, output = shell.type(command)
        assert status == 0, f"{command}\n{output}"
    # "whose certificate comes from elsewhere"
    harness.run("openssl", "x509", "-req", "-in", folder / "example.com.csr", "-CA", site_authority.certificate,
                "-CAkey", site_authority.key, "-days", "30", "-copy_extensions", "copy",
                "-out", folder / "example.com.crt")
    for command in [blocks[0][3], *blocks[1]]:
        status, output = shell.type(command)
        assert status == 0, f"{command}\n{output}"
    assert (folder / "hq/keys/example.com.crt").exists()
    harness.run("openssl", "verify", "-CAfile", folder / "ca/ca.crt", folder / "new/channel.crt")
    assert not (folder / "new/channel.key").exists()


@pytest.mark.parametrize("role", ["keyd", "edge"])
def test_manuals_that_readme_names_are_there(role):
    page = f"build/farkey-{role}.conf.5"
    assert f"`man {page}`" in (harness.TOP / "README.md").read_text()
    made = BUILD / pathlib.Path(page).name
    assert made.read_text() == harness.run(harness.FARKEY, "manual", role).stdout
    assert f"FARKEY-{role.upper()}.CONF(5)" in harness.run("mandoc", "-T", "utf8", made).stdout


@pytest.mark.parametrize("page", ["farkey.1", "keyd", "edge"])
def test_manual_pages_are_clean(folder, page):
    """No warning or error of mandoc's; its opinions on style (long lines) are not asked for."""
    source = harness.TOP / "docs/man" / page
    if not page.endswith(".1"):
        source = folder / f"farkey-{page}.conf.5"
        source.write_text(harness.run(harness.FARKEY, "manual", page).stdout)
    done = harness.run("mandoc", "-T", "lint", "-W", "warning", source, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(harness.run("mandoc", "-T", "utf8", source).stdout) > 2000


def configurations():
    """The edge's configurations in the documents: blocks that say which file they are."""
    for document in sorted((harness.TOP / "docs").glob("*.md")):
        for number, match in enumerate(re.finditer(r"^```edge\.conf\n(.*?)^```", document.read_text(), re.S | re.M), 1):
            yield pytest.param(match[1], id=f"{document.stem}-{number}")


@pytest.mark.parametrize("text", configurations())
def test_configurations_are_good(folder, site_authority, text):
    key, certificate = site_authority.issue(folder / "www", "www.example.com", "DNS:www.example.com")
    (folder / "clients-ca.pem").write_bytes(site_authority.certificate.read_bytes())
    assert (key.name, certificate.name) == ("www.key", "www.crt")
    (folder / "edge.conf").write_text(text)
    harness.run(harness.FARKEY, "check", "-c", folder / "edge.conf")


def anchors(document):
    """What a heading is linked to by."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [*sorted((harness.TOP / "docs").glob("*.md")), *sorted(harness.TOP.glob("*.md"))],
                         ids=lambda path: path.stem)
def test_links_lead_somewhere(document):
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", document.read_text()):
        path = document.parent / target if target else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"
