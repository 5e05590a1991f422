"""One load process of the jitter benchmark: it keeps a processor busy by watching the clock, and prints when it did not run.

``python _jitter_load.py PROCESSOR LEAST_NS`` writes, when it is told to end, JSON: ``gaps``, a list of [from_ns, to_ns] (monotonic), and ``cpu_s``.
"""

import json
import os
import signal
import sys
import time


def main() -> None:
    os.sched_setaffinity(0, {int(sys.argv[1])})
    least_ns, gaps, ended = int(sys.argv[2]), [], []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    now_ns = time.monotonic_ns
    last = now_ns()
    print("ready", flush=True)
    while not ended:
        now = now_ns()
        if now - last > least_ns:
            gaps.append((last, now))
        last = now
    print(json.dumps({"gaps": gaps, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    main()
