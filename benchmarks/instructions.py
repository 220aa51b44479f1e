"""Counts the instructions of a call of each stack by callgrind, on SQLite.

Unlike a time, the count does not depend on how busy the machine is. It leaves out the kernel and
other processes, Redis for example. `python -m benchmarks.instructions login refresh` counts these
calls, without words all of `make bench`. Needs valgrind.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .process import Worker, make_tables
from .report import ASKED

FEW, MANY = 5, 25
VALGRIND = ("valgrind", "--quiet", "--tool=callgrind")
COMMON = ("request", "floor")


def _count(worker: Worker, call: str, folder: str, count: int) -> int:
    """Count `count` calls, one to warm up, and what measuring takes."""
    control, pid = "callgrind_control", str(worker.process.pid)
    subprocess.run([control, "--zero", pid], check=True, capture_output=True)
    worker.ask(call, count)
    subprocess.run([control, "--dump", pid], check=True, capture_output=True)
    newest = max(Path(folder).glob("out.*"), key=lambda path: path.stat().st_mtime_ns)
    found = re.search(r"^(?:totals|summary): (\d+)", newest.read_text(), re.MULTILINE)
    assert found, newest
    return int(found[1])


def instructions(call: str, stack: str) -> float:
    """The instructions of one call, in thousands."""
    with tempfile.TemporaryDirectory() as folder:
        environment = make_tables("sqlite", str(Path(folder, "bench.sqlite3")))
        environment["PYTHONHASHSEED"] = "0"
        prefix = (*VALGRIND, f"--callgrind-out-file={folder}/out")
        worker = Worker(stack, environment, prefix=prefix)
        try:
            assert worker.answer() == "ready"
            worker.ask(call, FEW)
            few, many = (_count(worker, call, folder, count) for count in (FEW, MANY))
        finally:
            worker.stop()
    return (many - few) / (MANY - FEW) / 1000


def main(calls: list[str]) -> None:
    known: dict[tuple[str, str], float] = {}

    def count(call: str, stack: str) -> float:
        if (call, stack) not in known:
            floor = count(*COMMON) if call == "request" and stack != "floor" else 0
            known[call, stack] = instructions(call, stack) - floor
        return known[call, stack]

    print("| work | instructions | beside | instructions | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for call, stack, peer, _postgres, sqlite in ASKED:
        if sqlite is None or (calls and call not in calls):
            continue
        ours, theirs = count(call, stack), count(call, peer)
        row = f"{call}: {stack} | {ours:,.0f} | {peer} | {theirs:,.0f} | {ours / theirs:.2f}"
        print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
