#!/usr/bin/python3
"""make lint: format, include direction, budgets, banned calls, tests without sleeps, clang, clang-tidy.

Every check prints "FILE:LINE: what" and the run ends with 1 when there was any. Exceptions stand in
exceptions.txt, one a line with its reason; a line that excuses nothing is itself an error.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
LINT = TOP / "tools/lint"

FUNCTION_LINES = 100
COMPLEXITY = 20
NESTING = 5  # braces: a function's own and four inside
PARAMETERS = 6
FILE_LINES = 1000

BANNED = {
    r"\b(strcpy|strcat|strncat|sprintf|vsprintf|gets|strtok|atoi|atol|atof|alloca|system|popen|mktemp|tmpnam)\s*\(":
        "banned function",
    r"\bmemcmp\s*\([^;]*(secret|key_bytes|premaster|master|mac\b|tag\b|passphrase)":
        "memcmp on a secret: use fk_equal_ct()",
    r"\bmemset\s*\([^;]*(secret|premaster|passphrase)[^;]*,\s*0": "memset on a secret: use fk_wipe()",
    r"\brand\s*\(|\bsrand\s*\(|\brandom\s*\(\)": "not a random generator for this project",
    r"//(?!/)[^\"]*$": "comments are /* */",
    r"\bassert\s*\(\s*0\s*\)": "assert(0)",
}

TEST_BANNED = {
    r"(time\.sleep|\busleep|\bnanosleep|\bsleep)\s*\(": "a sleep in a test: wait for a condition",
}


class Findings:
    """What was found, less the exceptions, which are ticked off as they are used."""

    def __init__(self):
        self.rows = []
        self.exceptions = {}
        for number, line in enumerate((LINT / "exceptions.txt").read_text().splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            parts = line.split(None, 2)
            if len(parts) < 3:
                self.rows.append(f"tools/lint/exceptions.txt:{number}: needs CHECK FILE REASON")
                continue
            self.exceptions[(parts[0], parts[1])] = [number, False]

    def add(self, check, path, line, text, function=None):
        for where in (path, f"{path}:{function}"):
            if (check, where) in self.exceptions:
                self.exceptions[(check, where)][1] = True
                return
        self.rows.append(f"{path}:{line}: {text} [{check}]")

    def finish(self):
        for (check, where), (number, used) in self.exceptions.items():
            if not used:
                self.rows.append(
                    f"tools/lint/exceptions.txt:{number}: excuses nothing: {check} {where}")
        return self.rows


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "--",
                          *patterns], cwd=TOP, check=True, capture_output=True, text=True).stdout
    return [path for path in out.splitlines() if (TOP / path).is_file()]


def read(path):
    return (TOP / path).read_text(encoding="utf-8")


def strip(text):
    """C source with comments and literals blanked, lines kept."""
    pattern = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)
    return pattern.sub(lambda m: '""' if m[0][0] == '"' else re.sub(r"[^\n]", " ", m[0]), text)


def check_format(sources, findings):
    run = subprocess.run(["clang-format-14", "--dry-run", "-Werror", *sources], cwd=TOP,
                         capture_output=True, text=True)
    for line in run.stderr.splitlines():
        match = re.match(r"(.*?):(\d+):\d+: error: ", line)
        if match:
            findings.add("format", os.path.relpath(TOP / match[1], TOP), match[2], "not formatted: make format")


def layer_levels():
    levels = {}
    rows = [line for line in (LINT / "layers.txt").read_text().splitlines()
            if line.strip() and not line.startswith("#")]
    for level, row in enumerate(rows):
        for layer in row.split():
            levels[layer] = level
    return levels


def check_layers(sources, findings):
    levels = layer_levels()
    for path in sources:
        if not path.startswith("src/"):
            continue
        layer = path.split("/")[1]
        if layer not in levels:
            findings.add("layer", path, 1, f"src/{layer} is not in tools/lint/layers.txt")
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            match = re.match(r'#include "([a-z]+)/', line)
            if not match or match[1] == layer:
                continue
            if match[1] not in levels or levels[match[1]] >= levels[layer]:
                findings.add("layer", path, number, f"{layer} must not include {match[1]}")


def check_headers(sources, findings):
    for path in sources:
        text = read(path)
        if not text.lstrip().startswith("/*"):
            findings.add("head", path, 1, "the file does not begin with what it owns")
        if path.endswith(".h") and path.startswith("src/"):
            guard = "FK_" + re.sub(r"[/.]", "_", path[len("src/"):]).upper()
            if f"#ifndef {guard}\n#define {guard}" not in text:
                findings.add("guard", path, 1, f"include guard is not {guard}")


def check_banned(sources, findings):
    for path in sources:
        rules = dict(BANNED)
        if path.startswith("tests/"):
            rules.update(TEST_BANNED)
        raw = read(path)
        code = strip(raw)
        for number, (line, original) in enumerate(zip(code.splitlines(), raw.splitlines()), 1):
            for pattern, why in rules.items():
                subject = original if "//" in pattern else line
                if "//" in pattern and ("://" in original or "/*" in original or original.lstrip().startswith("*")):
                    continue
                if re.search(pattern, subject):
                    findings.add("banned", path, number, why)
            if re.search(r"\bTODO\b(?!.*:)", original) or re.search(r"\b(FIXME|XXX)\b", original):
                findings.add("todo", path, number, "TODO without a reason")
    for path in tracked("tests/*.py"):
        for number, line in enumerate(read(path).splitlines(), 1):
            for pattern, why in TEST_BANNED.items():
                if re.search(pattern, line) and "poll" not in line:
                    findings.add("banned", path, number, why)


def functions(path):
    """(name, first line, last line, signature) of each function that ctags finds."""
    out = subprocess.run(["ctags", "--output-format=json", "--fields=+neS", "--kinds-C=f", "-f", "-",
                          path], cwd=TOP, capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        tag = json.loads(line)
        if tag.get("_type") == "tag" and "end" in tag:
            yield tag["name"], tag["line"], tag["end"], tag.get("signature", "()")


def nesting(lines):
    depth = deepest = 0
    for line in lines:
        for char in line:
            depth += (char == "{") - (char == "}")
            deepest = max(deepest, depth)
    return deepest


def complexity(lines):
    return 1 + sum(len(re.findall(r"\b(?:if|for|while|case)\b|&&|\|\||\?", line)) for line in lines)


def check_functions(path, findings):
    code = strip(read(path)).splitlines()
    for name, start, end, signature in functions(path):
        body = code[start - 1:end]
        if end - start + 1 > FUNCTION_LINES:
            findings.add("length", path, start, f"{name}: {end - start + 1} lines, {FUNCTION_LINES} at most", name)
        # Initialisers are data, not nesting: count from the function's own brace.
        if nesting(body) > NESTING:
            findings.add("nesting", path, start, f"{name}: nested {nesting(body) - 1} deep, {NESTING - 1} at most", name)
        if complexity(body) > COMPLEXITY:
            findings.add("complexity", path, start, f"{name}: complexity {complexity(body)}, {COMPLEXITY} at most", name)
        arguments = signature.count(",") + 1
        if arguments > PARAMETERS:
            findings.add("parameters", path, start, f"{name}: {arguments} parameters, {PARAMETERS} at most", name)
        for offset, line in enumerate(body):
            if re.match(r"\s*#\s*if", line):
                findings.add("conditional", path, start + offset, f"{name}: #if inside a function", name)


def check_budgets(sources, findings):
    for path in sources:
        count = len(read(path).splitlines())
        if count > FILE_LINES:
            findings.add("file", path, 1, f"{count} lines, {FILE_LINES} at most")
        if path.endswith(".c"):
            check_functions(path, findings)


def check_words(findings):
    """The project speaks of itself alone and its documents lead nowhere else."""
    for path in tracked("docs/*", "README.md", "CONTRIBUTING.md", "SECURITY.md", "src/*", "tests/*", "packaging/*"):
        try:
            text = read(path)
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(r"\.\./shared|/work/|/root/", line):
                findings.add("words", path, number, "a path of somebody's machine")


def compile_rows(build):
    """(path, directory, command words) of each of our files that the build compiles."""
    for row in json.loads((TOP / build / "compile_commands.json").read_text()):
        path = os.path.relpath(os.path.join(row["directory"], row["file"]), TOP)
        if not path.startswith(("..", "/")):
            yield path, row["directory"], shlex.split(row["command"])


def clang_one(row):
    """clang's warnings of one file, by the build's own flags; gcc's come with the sanitized build."""
    path, directory, words = row
    flags, skip = [], False
    for word in words[1:]:
        if not skip and word not in ("-o", "-MF", "-MQ", "-c", "-MD"):
            flags.append(word)
        skip = word in ("-o", "-MF", "-MQ")
    run = subprocess.run(["clang-14", *flags, "-fsyntax-only", "-fdiagnostics-color=never",
                          "-Wno-unused-command-line-argument"], cwd=directory,
                         capture_output=True, text=True)
    lines = [line for line in run.stderr.splitlines() if re.search(r": (warning|(fatal )?error): ", line)]
    return path, directory, lines or ([f"{path}:1:1: error: clang ends with {run.returncode}"] if run.returncode else [])


def check_clang(build, findings):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for _, directory, lines in pool.map(clang_one, list(compile_rows(build))):
            for line in lines:
                match = re.match(r"(.*?):(\d+):\d+: (?:warning|error|fatal error): (.*)", line)
                if match:
                    where = os.path.relpath(os.path.join(directory, match[1]), TOP)
                    findings.add("clang", where, match[2], match[3])


def tidy_one(path, build):
    run = subprocess.run(["clang-tidy-14", "--quiet", "-p", build, path], cwd=TOP,
                         capture_output=True, text=True)
    return path, [line for line in run.stdout.splitlines() if re.search(r": (warning|error): ", line)]


def check_tidy(sources, build, findings):
    known = {path for path, _, _ in compile_rows(build)}
    paths = [path for path in sources if path.endswith(".c") and path in known and path.startswith("src/")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for _, lines in pool.map(lambda path: tidy_one(path, build), paths):
            for line in lines:
                match = re.match(r"(.*?):(\d+):\d+: (?:warning|error): (.*)", line)
                if match:
                    findings.add("tidy", os.path.relpath(match[1], TOP), match[2], match[3])
    return len(paths)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--no-tidy", action="store_true", help="leave the slowest check out")
    options = parser.parse_args()
    sources = tracked("src/*.[ch]", "tests/*.[ch]", "bench/*.[ch]")
    findings = Findings()
    check_format(sources, findings)
    check_layers(sources, findings)
    check_headers(sources, findings)
    check_banned(sources, findings)
    check_budgets(sources, findings)
    check_words(findings)
    check_clang(options.build, findings)
    tidied = 0 if options.no_tidy else check_tidy(sources, options.build, findings)
    rows = findings.finish()
    for row in rows:
        print(row)
    print(f"lint: {len(sources)} files, {tidied} through clang-tidy, {len(rows)} findings")
    return 1 if rows else 0


if __name__ == "__main__":
    sys.exit(main())
