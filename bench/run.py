#!/usr/bin/python3
"""make bench: Farkey and its rivals in one run, alternating; ratios, not absolute claims.

Usage: bench/run.py [NAME...]   (all when none is named; --list tells which; --quick: fewer rounds)
Prints a table and writes bench/results/latest.json and latest.md.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import bulk
import handshake
import hedge
import httpcost
import inline
import keyserver
import measure
import memory
import modes
import padding
import record
import roundtrip
import servers

BENCHES = {
    "handshake": handshake.full,
    "resumed": handshake.resumed,
    "keyserver": keyserver.run,
    "roundtrip": roundtrip.run,
    "modes": modes.run,
    "memory": memory.run,
    "padding": padding.run,
    "bulk": bulk.run,
    "hedge": hedge.run,
    "http": httpcost.run,
    "inline": inline.run,
    "record": record.run,
}


def machine():
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "openssl": servers.version("openssl", "version"), "hitch": servers.version("hitch", "--version"),
            "nginx": servers.version("nginx", "-v"), "haproxy": servers.version("haproxy", "-v"),
            "date": datetime.date.today().isoformat()}


def verdict(row):
    target = row.get("target")
    if target is None:
        return ""
    low_is_good, bound = target[:2] == "<=", float(target[2:])
    return "yes" if (row["value"] <= bound if low_is_good else row["value"] >= bound) else "NO"


def table(rows):
    lines = [f"| {'what':<76} | {'value':>9} | {'wanted':>8} | {'met':>3} | detail |",
             f"|{'-' * 78}|{'-' * 10}:|{'-' * 9}:|{'-' * 5}|--------|"]
    for row in rows:
        lines.append(f"| {row['what']:<76} | {row['value']:>9.3f} | {row.get('target', ''):>8} | "
                     f"{verdict(row):>3} | {row.get('detail', '')} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(BENCHES))
        return 0
    if (os.cpu_count() or 1) < 2:
        print("bench: needs two cores: one for the server, one for client and origin", file=sys.stderr)
        return 1
    measure.pin([os.getpid()], measure.OTHER_CORE)
    rows, failed, facts = [], [], machine()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name in options.names or BENCHES:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                rows += BENCHES[name](folder, options.quick)
            except RuntimeError as error:  # the others' results are still worth having
                print(f"{name}: {error}", file=sys.stderr)
                failed.append(name)
    text = table(rows)
    print(text)
    results = servers.TOP / "bench/results"
    results.mkdir(exist_ok=True)
    stem = "latest" if not options.names and not options.quick and not failed else "partial"
    (results / f"{stem}.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
    described = "\n".join(f"* {name}: {value}" for name, value in facts.items())
    (results / f"{stem}.md").write_text(f"# Results of make bench\n\n{described}\n\n{text}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        print(f"bench: {error}\n{error.stderr}", file=sys.stderr)
        sys.exit(1)
