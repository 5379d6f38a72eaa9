"""Time of decrypt at the key server for good and badly padded ciphertexts, over a real channel.

Classes are interleaved, one operation at a time, so that whatever else the machine does meets all of them
alike. What is told is the largest distance between the median of a class and that of good padding,
as a part of the noise: the distance between the quartiles of good padding alone.
"""
import pathlib
import statistics
import subprocess
import sys
import time

import measure
import servers

sys.path.insert(0, str(servers.TOP / "tests/e2e"))

import keyproto

GOOD = b"\x00\x02" + b"\x55" * 205 + b"\x00\x03\x03" + b"p" * 46
SPOILED = {"good": (0, 0), "first byte": (0, 1), "block type": (1, 1), "zero early": (2, 0), "zero late": (206, 0),
           "no separator": (207, 1), "version": (209, 1)}


def ciphertexts(certificate, folder, name, count):
    """Different ciphertexts of one class: the number in the middle of the padding is never zero."""
    at, value = SPOILED[name]
    made = []
    for i in range(count):
        block = bytearray(GOOD)
        block[20:24] = (0x11111111 + i).to_bytes(4, "big")
        block[at] = value
        path = pathlib.Path(folder, "block")
        path.write_bytes(block)
        made.append(subprocess.run(["openssl", "pkeyutl", "-encrypt", "-certin", "-inkey", certificate, "-in", path,
                                    "-pkeyopt", "rsa_padding_mode:none"], capture_output=True, check=True).stdout)
    return made


def measure_classes(channel, sets, rounds):
    """{class: seconds of each decrypt}, all classes in turn."""
    times = {name: [] for name in sets}
    ski = keyproto.ski_of(keyproto.spki_of(channel.keys()[0][0]["chain"][0]))
    for i in range(rounds):
        for name, made in sets.items():
            begun = time.perf_counter()
            channel.decrypt(made[i % len(made)], ski=ski)
            times[name].append(time.perf_counter() - begun)
    return times


def run(folder, quick):
    origin = servers.start_origin()
    pair = servers.start_farkey(origin.port, "rsa2048", mode="decrypt")
    try:
        home = pathlib.Path(pair.facts["dir"])
        edge = next(home.glob("**/edge.conf")).parent
        host, port = pair.facts["keyd"]["address"].rsplit(":", 1)
        certificate = next(path for path in home.glob("**/keys/*.crt"))
        sets = {name: ciphertexts(certificate, folder, name, 8) for name in SPOILED}
        measure.pin(measure.tree(pair.facts["keyd"]["pid"]), measure.SERVER_CORE)
        with keyproto.Channel((host, int(port)), edge / "channel.crt", edge / "channel.key", edge / "ca.crt") as channel:
            measure_classes(channel, sets, 50)
            times = measure_classes(channel, sets, 500 if quick else 4000)
    finally:
        pair.stop()
        origin.stop()
    good = statistics.quantiles(times["good"], n=4)
    middle = {name: statistics.median(values) for name, values in times.items()}
    worst = max(middle, key=lambda name: abs(middle[name] - good[1]))
    distance = abs(middle[worst] - good[1])
    return [{"what": "decrypt, bad padding against good: medians / noise", "value": distance / (good[2] - good[0]),
             "detail": f"{worst}: {1e6 * distance:.1f} us apart of {1e6 * good[1]:.0f} us"}]
