#!/usr/bin/python3
"""Seeds of a fuzz target that are kept in a form to be read: tests/vectors/http.

usage: tests/fuzz/seeds.py TARGET FOLDER: writes them as files; nothing for a target without such.
"""
import pathlib
import re
import sys

VECTORS = pathlib.Path(__file__).resolve().parents[1] / "vectors/http"
LETTERS = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "s": b" ", "\\": b"\\"}


def closing(text, at):
    depth = 0
    for end in range(at, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return end
    raise ValueError(f"a brace that is not closed: {text}")


def unescape(text):
    out, at = b"", 0
    while at < len(text):
        if text[at] != "\\":
            out += text[at].encode()
            at += 1
        elif text[at + 1] == "{":
            end = closing(text, at + 1)
            times, inner = text[at + 2:end].split(":", 1)
            out += int(times) * unescape(inner)
            at = end + 1
        elif text[at + 1] == "x":
            out += bytes.fromhex(text[at + 2:at + 4])
            at += 4
        else:
            out += LETTERS[text[at + 1]]
            at += 2
    return out


def cases(path):
    """(options, bytes) of each case of a corpus (tests/unit/corpus.h)."""
    options, message = None, b""
    for line in path.read_text().splitlines():
        if line.startswith("== "):
            if options is not None:
                yield options, message
            options, message = line.split()[2:], b""
        elif re.match(r"[|\\]( |$)", line):
            message += unescape(line[2:]) + (b"\r\n" if line[0] == "|" else b"")
    yield options, message


def write(target, folder):
    path = VECTORS / {"http_request": "requests.txt", "http_response": "responses.txt"}.get(target, "-")
    if not path.exists():
        return
    for number, (options, message) in enumerate(cases(path)):
        if target == "http_response":
            message = bytes([("head" in options) + 2 * ("upgrade" in options)]) + message
        (folder / f"{number:04}").write_bytes(message)


if __name__ == "__main__":
    write(sys.argv[1], pathlib.Path(sys.argv[2]))
