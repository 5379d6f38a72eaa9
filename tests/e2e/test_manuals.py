"""farkey(1), the page of each command and its --help name the same commands and options.

The pages of commands and --help are printed from the tables that parse the command line; farkey.1 is written by hand.
"""
import pathlib
import re

import pytest

from harness import FARKEY, TOP, run

BUILD = pathlib.Path(FARKEY).parent


def listed(*command):
    """The commands that a usage text lists."""
    text = run(FARKEY, *command, "--help").stdout
    return re.findall(r"^  ([a-z-]+) +\S", text, re.M) if "COMMAND [options]" in text else []


def every_command():
    """Each command as it is typed: ("key", "csr")."""
    return [(top, *below) for top in listed() for below in ([(name,) for name in listed(top)] or [()])]


COMMANDS = every_command()
# What a command does with a word behind it, with options of its own.
FORMS = [("demo", "inline"), ("inline", "tables")]


def options_of_help(command):
    """The long options that --help tells of, and how many letters stand beside them."""
    text = run(FARKEY, *command, "--help").stdout
    assert text.startswith("usage: farkey " + " ".join(command))
    return set(re.findall(r"^  (?:-\w, |    )--([a-z0-9-]+)", text, re.M))


def by_hand():
    """What farkey.1 tells of each command: its options, long ones only, and those with letters that it writes so."""
    text = (TOP / "docs/man/farkey.1").read_text()
    listing = text[text.index(".Sh DESCRIPTION"):text.index(".Sh FILES")]
    found = {}
    for item in re.split(r"^\.It Nm Cm ", listing, flags=re.M)[1:]:
        line = item.splitlines()[0]
        words = re.match(r"[a-z -]+?(?= (?:[A-Z]|\|)|$)", line)[0].split()
        name = next((tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in COMMANDS + FORMS), tuple(words))
        found[name] = (set(re.findall(r"\bFl -([a-z0-9-]+)", line)), set(re.findall(r"\bFl ([a-z])\b", line)))
    return found


BY_HAND = by_hand()


def test_every_command_is_in_the_manual():
    assert sorted(BY_HAND) == sorted(COMMANDS + FORMS)


@pytest.mark.parametrize("command", COMMANDS + FORMS, ids=" ".join)
def test_options_are_in_the_manual(command):
    """An option may stand in farkey.1 by its letter: -c for --conf."""
    text = run(FARKEY, *command, "--help").stdout
    letters = dict(re.findall(r"^  -(\w), --([a-z0-9-]+)", text, re.M))
    long_names, short_names = BY_HAND[command]
    assert short_names <= set(letters), "a letter that the command does not know"
    assert long_names | {letters[letter] for letter in short_names} == options_of_help(command)


@pytest.mark.parametrize("top", listed())
def test_pages_of_commands(top):
    """Made with the program, clean, and with every option of --help."""
    page = BUILD / f"farkey-{top}.1"
    assert page.read_text() == run(FARKEY, "manual", f"{top}.1").stdout
    done = run("mandoc", "-T", "lint", "-W", "warning", page, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    sections = re.split(r"^\.Ss farkey ", page.read_text(), flags=re.M)[1:]
    commands = [command for command in COMMANDS if command[0] == top]
    assert len(sections) == len(commands)
    for command, section in zip(commands, sections):
        assert section.startswith(" ".join(command))
        assert set(re.findall(r"^\.It .*?Fl -([a-z0-9-]+)", section, re.M)) == options_of_help(command)
        assert f".Xr farkey-{top} 1" in (TOP / "docs/man/farkey.1").read_text()


def test_no_page_for_what_is_no_command():
    for name in ["child.1", "nothing.1", ".1", "1", "nothing"]:
        assert run(FARKEY, "manual", name, check=False).returncode == 2
