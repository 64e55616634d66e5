"""agent-runner and its peers on one machine, each with a Redis of its own, in one run. See benches/queue/run.sh."""

import argparse
import concurrent.futures
import json
import os
import platform
import subprocess
import time

import ours
import peers
from resp import Redis, free_port

SIDE = f"{peers.ROOT}/rust/release/side"


class Proxy:
    """A link with a round trip of a millisecond."""

    def __init__(self, one_way_us=500):
        self.one_way_us, self.children = one_way_us, []

    def to(self, port):
        command = [SIDE, "proxy", str(port), str(self.one_way_us)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        return int(child.stdout.readline())

    def close(self):
        for child in self.children:
            child.kill()
            child.wait()


def best(rounds, measure):
    """The round with the highest rate: a busy machine only ever takes away."""
    found = []
    for _ in range(rounds):
        try:
            found.append(measure())
        except (RuntimeError, OSError) as error:
            print(f"    a round failed: {error}", flush=True)
    return max(found, key=lambda one: one["rate"], default=None)


def line(name, run, reference=None):
    if run is None:
        print(f"{name:<34} failed")
        return
    ratio = f"{reference / run['rate']:>8.2f}" if reference else " " * 8
    own = f"{run['own_us']:>7.1f}" if "own_us" in run else " " * 7
    calls = f"{run['calls']:>7.3f}" if "calls" in run else " " * 7
    print(f"{name:<34}{run['rate']:>9.0f}{ratio}{own}{run['redis_us']:>9.1f}{calls}", flush=True)


def rates(args, names, proxy=None):
    print(f"\n{'':<34}{'jobs/s':>9}{'ours ×':>8}{'own µs':>7}{'redis µs':>9}{'calls':>7}")
    concurrency = args.concurrency
    jobs = args.jobs if proxy is None else args.jobs // 2
    # Far from Redis a claim is worth more jobs.
    far = {} if proxy is None else {"QUEUE__CLAIM_BATCH": concurrency}
    whole = best(args.rounds, lambda: ours.drain(jobs, ours.WHOLE, concurrency, proxy, **far))
    line(f"agent-runner, ten rows, {concurrency} slots", whole)
    empty = best(args.rounds, lambda: ours.drain(jobs, ours.EMPTY, concurrency, proxy, **far))
    line(f"agent-runner, empty, {concurrency} slots", empty)
    if proxy is None:
        line("agent-runner, ten rows, 64 slots", best(args.rounds, lambda: ours.drain(jobs, ours.WHOLE, 64)))
    for name in names:
        run = best(args.rounds, lambda: peers.drain(name, concurrency, proxy))
        line(f"{name}, empty", run, whole["rate"] if whole else None)


def ours_killed():
    """The same kill for us: the effect is the result, and its stream of results is read back."""
    with Redis() as redis:
        jobs = 200
        server = subprocess.Popen([SIDE, "model", "200"], stdout=subprocess.PIPE, text=True)
        port = int(server.stdout.readline())
        settings = {"LLM__BASE_URL": f"http://127.0.0.1:{port}/v1", "LLM__API_KEY": "k", "LLM__MODEL": "m"}
        worker = lambda: ours.Worker(redis.url(), WORKER__CONCURRENCY=8, **settings)
        body = {"prompt": "top 3 by price", "lane": "execute", "data": ours.WHOLE[0]["rows"]}
        try:
            ours.push(redis.client, jobs, body)
            first = worker()
            while ours.missing(redis.client, jobs) == jobs:
                time.sleep(0.01)
            time.sleep(0.1)
            caught = redis.client.call("ZCARD", "{agent:jobs}:leases")
            first.close(kill=True)
            began, second = time.monotonic(), worker()
            while ours.missing(redis.client, jobs) and time.monotonic() < began + 120:
                time.sleep(0.05)
            took = time.monotonic() - began
            ours.drained(redis.client)
            lengths = redis.client.pipeline([("LLEN", f"agent:results:job-{n}") for n in range(jobs)])
            second.close()
            return {"caught": caught, "recovered_s": took, "missing": lengths.count(0), "again": sum(lengths) - jobs + lengths.count(0)}
        finally:
            server.kill()
            server.wait()


def kills(names):
    """All at once: they mostly wait."""
    print(f"\n{'one kill -9':<34}{'under way':>9}{'all done after':>22}{'missing':>9}{'twice':>7}")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = {"agent-runner": pool.submit(ours_killed)} | {name: pool.submit(peers.kill, name) for name in names}
        for name, run in runs.items():
            try:
                run = run.result()
            except (RuntimeError, OSError) as error:
                print(f"{name:<34} failed: {error}")
                continue
            after = f"{run['recovered_s']:.1f} s" if run["recovered_s"] else "nothing within 120 s"
            print(f"{name:<34}{run['caught']:>9}{after:>22}{run['missing']:>9}{run['again']:>7}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--only", default="rates,proxy,idle,model,memory,kills")
    parser.add_argument("--peers", default=",".join(peers.PEERS))
    args = parser.parse_args()
    names = [name for name in args.peers.split(",") if name in peers.present()]
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout.split()[2]
    print(f"{platform.machine()}, {os.cpu_count()} cores, redis {version}, Python {platform.python_version()}")
    parts = args.only.split(",")
    if "rates" in parts:
        rates(args, names)
    if "proxy" in parts:
        print("\nover a link with a round trip of 1 ms")
        link = Proxy()
        rates(args, [name for name in names if "Rust" in name or "apalis" in name], link)
        link.close()
    if "idle" in parts:
        print("\nidle, push to result:", json.dumps({key: round(value, 3) for key, value in ours.idle().items()}))
    if "model" in parts:
        runs = [ours.model(SIDE) for _ in range(args.rounds)]
        print("\n1,000 jobs, one model call of 250 ms each, 256 slots:", max(runs, key=lambda run: run["share"]))
    if "memory" in parts:
        print("\nresident MiB over a million ten-row jobs:", ours.memory())
    if "kills" in parts:
        kills(names)


if __name__ == "__main__":
    main()
