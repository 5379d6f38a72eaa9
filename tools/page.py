#!/usr/bin/python3
"""The status page as C: its bytes, and the policy that lets a browser run what is in it and nothing else.

usage: page.py PAGE.html OUT.c

The page is one ASCII document with one <style> and one <script>, which the policy names by their hashes. What such
a policy would stop (styles and handlers in attributes, other sources) is refused here already.
"""
import base64
import hashlib
import pathlib
import re
import sys

REFUSED = {
    r"\sstyle\s*=": "a style in an attribute",
    r"<[^>]*\son[a-z]+\s*=": "a handler in an attribute",
    r"<[^>]*\ssrc\s*=": "a source",
    r"<[^>]*\shref\s*=\s*(?!\"data:,\")": "a link",
    r"@import|url\(": "a source in a style",
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b": "text taken for elements or code",
}


def only(page, name):
    """What stands in the one element of that name."""
    found = re.findall(rf"<{name}>(.*?)</{name}>", page, re.S)
    if len(found) != 1 or page.count(f"<{name}") != 1:
        sys.exit(f"page.py: one <{name}> is wanted")
    return found[0]


def source(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def main():
    path, out = sys.argv[1:]
    page = pathlib.Path(path).read_bytes().decode("ascii")
    for pattern, what in REFUSED.items():
        if found := re.search(pattern, page):
            sys.exit(f"page.py: {path}:{page.count(chr(10), 0, found.start()) + 1}: {what}")
    policy = "; ".join([
        "default-src 'none'", f"script-src {source(only(page, 'script'))}", f"style-src {source(only(page, 'style'))}",
        "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"])
    numbers = [str(byte) for byte in page.encode()]
    rows = "\n".join("    " + ", ".join(numbers[i:i + 24]) + "," for i in range(0, len(numbers), 24))
    pathlib.Path(out).write_text(f"""/* Made from {pathlib.Path(path).name} by tools/page.py. */
#include "admin/page.h"

const char fk_admin_page[] = {{
{rows}
}};
const size_t fk_admin_page_len = sizeof fk_admin_page;
const char fk_admin_page_policy[] = "{policy}";
""")


if __name__ == "__main__":
    main()
