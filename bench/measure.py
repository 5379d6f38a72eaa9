"""Reading what a process has cost, and putting processes on cores. Linux, by /proc."""
import contextlib
import os
import pathlib
import statistics
import threading
import time

SERVER_CORE = 0  # the process that is measured, alone
OTHER_CORE = 1   # client, origin, and whatever is not measured

_tick = threading.Event()


def tree(pid):
    """A process and all its descendants."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue += children.get(one, [])
    return found


def pin(pids, core):
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), {core})


def cpu_seconds(pids):
    """CPU time of processes in seconds, from the scheduler's nanoseconds."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            total += int(pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9


def resident_kib(pids):
    """Private resident memory in KiB: what the process would not share with its siblings."""
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean:", "Private_Dirty:", "Anonymous:")):
                name, value = line.split()[:2]
                if name != "Anonymous:":
                    total += int(value)
    return total


def wait_until(condition, what, timeout=30):
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {timeout} s: {what}")
        _tick.wait(0.02)  # the poll interval
    return value


def stolen_seconds():
    """What the hypervisor has kept from the cores so far (proc(5), "steal"): time in which nothing here could run."""
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def others_seconds():
    """The CPU time so far of every thread that is not this benchmark's, by its number: the kernel's, too."""
    ours = set(tree(os.getpid()))
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in ours:
            continue
        with contextlib.suppress(OSError, IndexError):
            for task in (entry / "task").iterdir():
                found[task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return found


# What a machine at rest spends on itself in a second is a few milliseconds.
QUIET = 0.01


def undisturbed(run, tries=5):
    """What run() gives, from the first time that nobody else had much of the cores meanwhile, neither the hypervisor
    nor other processes; else from the one that lost least to them."""
    best = None
    for _ in range(tries):
        stolen, others = stolen_seconds(), others_seconds()
        value = run()
        lost = stolen_seconds() - stolen
        lost += sum(seconds - others.get(task, 0) for task, seconds in others_seconds().items())
        if best is None or lost < best[0]:
            best = (lost, value)
        if lost < QUIET:
            break
    return best[1]


def median(values):
    return statistics.median(values)


def spread(values):
    """Half the distance between the quartiles, relative to the median: how far to trust it."""
    if len(values) < 4:
        return None
    quartiles = statistics.quantiles(values, n=4)
    return (quartiles[2] - quartiles[0]) / 2 / statistics.median(values)
