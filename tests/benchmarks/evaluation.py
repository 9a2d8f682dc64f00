"""How long does the evaluation of a large dump take, and how much memory?

    python tests/benchmarks/evaluation.py [--lines 1000000] [--samples 64] [--length 2000]

Writes a dump as verl's V1 trainer does (prompts of about 200 characters, responses of --length on average, uids,
extracted answers) to a temporary file, and evaluates it in a fresh process on one core. The time includes starting
Python; the memory is the largest resident set of that process. Where others use the machine, look at processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path


def write_dump(file: Path, lines: int, samples: int, length: int) -> None:
    """Write the dump."""
    generator = random.Random(0)
    words = ["Let", "us", "compute", "the", "sum", "x²", "over", "primes,", "so\n", "\\frac{a}{b}", '"seven"']
    text = " ".join(generator.choices(words, k=length))
    with file.open("w", encoding="utf-8") as out:
        for prompt in range(lines // samples):
            uid = uuid.UUID(int=generator.getrandbits(128))
            question = f"Problem {prompt}: " + text[:200]
            success = generator.betavariate(0.5, 1)
            for session in range(samples):
                start, acc = generator.randrange(length), float(generator.random() < success)
                row = {
                    "input": question,
                    "output": text[start : start + generator.randrange(2 * length)],
                    "gts": "42",
                    "score": acc,
                    "step": 100,
                    "reward": acc,
                    "acc": acc,
                    "pred": "42" if acc else str(generator.randrange(20)),
                    "uid": f"{uid}_{session}_0",
                }
                out.write(json.dumps(row, ensure_ascii=False) + "\n")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=64, help="of a prompt")
    parser.add_argument("--length", type=int, default=2000, help="mean characters of a response")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "100.jsonl"
        write_dump(dump, options.lines, options.samples, options.length)
        print(f"{options.lines} lines, {dump.stat().st_size / 2**30:.2f} GiB, {options.samples} samples of a prompt")
        command = [sys.executable, "-m", "verl_maxpo", "evaluate", str(dump), "--out", str(Path(folder) / "report")]
        start = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{seconds:.1f} s, of processor time {used.ru_utime + used.ru_stime:.1f} s, {used.ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
