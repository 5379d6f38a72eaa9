"""A bad stretch of wire: impair.py A B LOSS REORDER AGAIN DELAY_MS SEED forwards frames between two interfaces.

LOSS, REORDER and AGAIN are of 1000 frames. Every frame is delayed; one to be reordered by up to twice as long. For
kernels without netem. Devices must not have offloads, or frames are larger than any wire has them.
"""
import heapq
import random
import select
import socket
import sys
import time

IGNORE_OUTGOING = 23  # PACKET_IGNORE_OUTGOING


def interface(name):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    sock.setsockopt(263, IGNORE_OUTGOING, 1)  # SOL_PACKET
    sock.bind((name, 0))
    sock.setblocking(False)
    return sock


def main(first, second, loss, reorder, again, delay_ms, seed):
    choose = random.Random(seed)
    ends = {interface(first): None, interface(second): None}
    one, two = ends
    ends[one], ends[two] = two, one
    waiting, number = [], 0
    print("forwarding", flush=True)
    while True:
        now = time.monotonic()
        ready, _, _ = select.select(list(ends), [], [], max(0, waiting[0][0] - now) if waiting else None)
        now = time.monotonic()
        for sock in ready:
            for _ in range(64):
                try:
                    frame = sock.recv(65536)
                except BlockingIOError:
                    break
                for _ in range(1 + (choose.randrange(1000) < again)):
                    if choose.randrange(1000) < loss:
                        continue
                    late = 1 + 2 * choose.random() if choose.randrange(1000) < reorder else 1
                    number += 1
                    heapq.heappush(waiting, (now + late * delay_ms / 1000, number, ends[sock], frame))
        while waiting and waiting[0][0] <= now:
            _, _, sock, frame = heapq.heappop(waiting)
            try:
                sock.send(frame)
            except OSError as error:
                print("lost:", error, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
