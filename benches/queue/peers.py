"""The peers' programs: benches/peers/README.md says what they understand."""

import os
import subprocess
import time

from resp import Redis

ROOT = os.environ.get("BENCH_PEERS", "target/bench/peers")
HERE = os.path.abspath("benches/peers")
PYTHON = os.path.abspath(f"{ROOT}/venv/bin/python")

# name: command, jobs of one drain, whether it may be given a concurrency
PEERS = {
    "BullMQ (Rust)": ([f"{ROOT}/rust/release/bullmq"], 20_000),
    # It stops for good when much more than that waits.
    "apalis-redis": ([f"{ROOT}/rust/release/apalis"], 5_000),
    "BullMQ (Node)": (["node", f"{ROOT}/node/bullmq.js"], 10_000),
    "Celery": ([PYTHON, f"{HERE}/python/celery_peer.py"], 3_000),
    "RQ": ([PYTHON, f"{HERE}/python/rq_peer.py"], 500),
}


def start(name, url, *ask, **pipes):
    command, _ = PEERS[name]
    env = {**os.environ, "REDIS_URL": url, "PYTHONWARNINGS": "ignore", "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}
    return subprocess.Popen([*command, *map(str, ask)], env=env, text=True, stderr=subprocess.DEVNULL, **pipes)


def present():
    return [name for name, (command, _) in PEERS.items() if all(os.path.exists(part) for part in command if "/" in part)]


def drain(name, concurrency, proxy=None, limit=100):
    """Empty jobs that wait already, from the word go until the last has run."""
    jobs = PEERS[name][1]
    with Redis() as redis:
        port = proxy.to(redis.port) if proxy else redis.port
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        child = start(name, redis.url(port), "drain", jobs, concurrency, **pipes)
        try:
            if child.stdout.readline().strip() != "ready":
                raise RuntimeError(f"{name} did not get ready")
            cpu = redis.cpu()
            child.stdin.write("go\n")
            child.stdin.flush()
            took = float(line_within(child, limit))
            return {"jobs": jobs, "rate": jobs / took, "redis_us": (redis.cpu() - cpu) / jobs * 1e6}
        finally:
            child.kill()
            child.wait()


def line_within(child, limit):
    import select

    ready, _, _ = select.select([child.stdout], [], [], limit)
    line = child.stdout.readline() if ready else ""
    if not line.strip():
        raise RuntimeError(f"no answer within {limit} s")
    return line


def kill(name, limit=120):
    """One kill -9 under a worker with its defaults, and another worker right after it.

    Every job leaves its effect when it ends. `recovered_s` is from the kill until the last job has left one;
    nothing where that takes longer than `limit`. Effects beyond the first of a job are `again`.
    """
    # apalis runs as many at once as it fetches.
    jobs = 1000 if name == "apalis-redis" else 30
    with Redis() as redis:
        start(name, redis.url(), "fill", jobs).wait()
        return killed(redis, lambda: start(name, redis.url(), "work", stdout=subprocess.DEVNULL, start_new_session=True),
                      jobs, limit, lambda child: os.killpg(child.pid, 9))


def under_way(redis, done):
    """How many jobs have begun and not left their effect."""
    return len(set(redis.client.call("LRANGE", "started", 0, -1)) - set(done))


def killed(redis, worker, jobs, limit, end):
    effects = lambda: redis.client.call("LRANGE", "effects", 0, -1)
    first = worker()
    until = time.monotonic() + 60
    while not (effects() and under_way(redis, effects())) and time.monotonic() < until:
        time.sleep(0.002)
    # In the middle of jobs that are not the first.
    time.sleep(0.05)
    caught = under_way(redis, effects())
    end(first)
    first.wait()
    began, second, recovered = time.monotonic(), worker(), None
    while time.monotonic() < began + limit:
        if len(set(effects())) >= jobs:
            recovered = time.monotonic() - began
            time.sleep(1)
            break
        time.sleep(0.05)
    end(second)
    second.wait()
    done = effects()
    return {"caught": caught, "recovered_s": recovered, "missing": jobs - len(set(done)), "again": len(done) - len(set(done))}
