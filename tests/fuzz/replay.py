#!/usr/bin/python3
"""Run a fuzz target that is built with replay.c over all its seeds.

usage: tests/fuzz/replay.py BINARY TARGET
"""
import pathlib
import subprocess
import sys
import tempfile

import seeds


def main():
    binary, target = sys.argv[1:]
    corpus = pathlib.Path(__file__).resolve().parent / "corpus" / target
    with tempfile.TemporaryDirectory() as folder:
        seeds.write(target, pathlib.Path(folder))
        inputs = [folder] + ([str(corpus)] if corpus.is_dir() else [])
        sys.exit(subprocess.run([binary, *inputs], check=False).returncode)


if __name__ == "__main__":
    main()
