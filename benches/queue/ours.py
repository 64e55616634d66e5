"""agent-runner as it is released: `agent-runner serve`, one process, its defaults but for what is named."""

import json
import os
import statistics
import subprocess
import time
import urllib.request

from resp import Client, Redis, cpu_of, free_port, rss_of

BINARY = os.environ.get("AGENT_RUNNER", "target/release/agent-runner")

EMPTY = [{"step": "literal", "rows": [{"a": 1}]}]
AIRLINES = ["AA", "BA", "LH", "AF", "KL"]
WHOLE = [
    {"step": "literal", "rows": [
        {"id": n, "airline": AIRLINES[n % 5], "price": 100 + (n * 37) % 211, "stops": n % 3} for n in range(10)
    ]},
    {"step": "table_filter", "condition": {"field": "stops", "op": "<=", "value": 1}},
    {"step": "table_sort", "field": "price", "order": "asc"},
    {"step": "top_k", "k": 5},
]


class Worker:
    """One `agent-runner serve` on a server."""

    def __init__(self, url, **settings):
        self.port = free_port()
        own = {f"AGENT_RUNNER__{key}": str(value) for key, value in settings.items()}
        keep = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        env = {**keep, "REDIS_URL": url, "PORT": str(self.port), "RUST_LOG": "warn", **own}
        self.child = subprocess.Popen([os.path.abspath(BINARY), "serve"], env=env, cwd="/tmp")
        self.pid = self.child.pid
        for _ in range(500):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=2).close()
                return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("agent-runner did not become ready")

    def close(self, kill=False):
        (self.child.kill if kill else self.child.terminate)()
        self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def push(client, jobs, body, first=0):
    """Puts jobs into the list, as any producer does."""
    text = json.dumps(body, separators=(",", ":"))[1:]
    for start in range(first, first + jobs, 1000):
        batch = [f'{{"job_id":"job-{n}",{text}' for n in range(start, min(start + 1000, first + jobs))]
        client.call("RPUSH", "agent:jobs", *batch)


def pipeline_job(steps):
    return {"version": "1.0", "prompt": "p", "pipeline": steps}


def drained(client, limit=300):
    """Waits until nothing is waiting or under way."""
    end = time.monotonic() + limit
    while client.pipeline([("LLEN", "agent:jobs"), ("ZCARD", "{agent:jobs}:leases"), ("LLEN", "{agent:jobs}:inbox")]) != [0, 0, 0]:
        if time.monotonic() > end:
            raise RuntimeError("the queue does not run empty")
        time.sleep(0.004)


def missing(client, jobs, first=0):
    """How many of the jobs have no result."""
    ids = [f"agent:results:job-{n}" for n in range(first, first + jobs)]
    there = sum(client.call("EXISTS", *ids[at:at + 1000]) for at in range(0, jobs, 1000))
    return jobs - there


def release(client):
    """Lets the fleet take jobs."""
    client.pipeline([("DEL", "{agent:jobs}:paused"), ("PUBLISH", "agent:control", "wake")])


def drain(jobs, steps, concurrency, proxy=None, **settings):
    """So many jobs that wait already, from the word go until the last is acknowledged."""
    with Redis() as redis:
        port = proxy.to(redis.port) if proxy else redis.port
        with Worker(redis.url(port), WORKER__CONCURRENCY=concurrency, **settings) as worker:
            client = redis.client
            # What is built on first use is not what is measured.
            push(client, 2000, pipeline_job(steps), first=10_000_000)
            drained(client)
            client.call("SET", "{agent:jobs}:paused", 1)
            push(client, jobs, pipeline_job(steps))
            client.call("CONFIG", "RESETSTAT")
            redis_cpu, own_cpu, began = redis.cpu(), cpu_of(worker.pid), time.monotonic()
            release(client)
            drained(client)
            took = time.monotonic() - began
            redis_cpu, own_cpu = redis.cpu() - redis_cpu, cpu_of(worker.pid) - own_cpu
            calls = redis.commands()
            scripts = calls.get("evalsha", {"calls": 0, "usec": 0})
            lost = missing(client, jobs)
            if lost:
                raise RuntimeError(f"{lost} jobs have no result")
            return {
                "jobs": jobs,
                "rate": jobs / took,
                "own_us": own_cpu / jobs * 1e6,
                "redis_us": redis_cpu / jobs * 1e6,
                "script_us": int(scripts["usec"]) / jobs,
                "calls": sent(calls) / jobs,
                "rss": rss_of(worker.pid),
                "inner": {name: round(int(stat["calls"]) / jobs, 2) for name, stat in calls.items()},
            }


def sent(calls):
    """Calls that came over the wire: scripts, and what is never called by one."""
    outside = ("evalsha", "eval", "blmove", "wait", "get", "ping")
    return sum(int(calls[name]["calls"]) for name in outside if name in calls)


def idle(rounds=300):
    """From a push until a reader that blocks has the result, with a worker that has nothing to do."""
    with Redis() as redis, Worker(redis.url()):
        reader, times = Client(redis.port), []
        for n in range(rounds + 20):
            time.sleep(0.003)
            body = json.dumps({"job_id": f"idle-{n}", **pipeline_job(EMPTY)})
            began = time.perf_counter()
            redis.client.call("RPUSH", "agent:jobs", body)
            reader.call("BLPOP", f"agent:results:idle-{n}", 10)
            times.append((time.perf_counter() - began) * 1000)
        times = sorted(times[20:])
        before = redis.commands()
        time.sleep(3)
        after = redis.commands()
        total = lambda calls: sum(int(stat["calls"]) for stat in calls.values())
        return {
            "p50_ms": statistics.median(times),
            "p99_ms": times[len(times) * 99 // 100],
            "idle_commands_per_s": (total(after) - total(before)) / 3,
        }


def model(side, jobs=1000, concurrency=256, delay_ms=250):
    """Jobs whose one model call takes so long, against the time that alone would take."""
    server = subprocess.Popen([side, "model", str(delay_ms)], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        settings = {
            "WORKER__CONCURRENCY": concurrency, "LLM__BASE_URL": f"http://127.0.0.1:{port}/v1", "LLM__API_KEY": "k",
            "LLM__MODEL": "m",
        }
        with Redis() as redis, Worker(redis.url(), **settings) as worker:
            body = {"prompt": "top 3 flights by price", "lane": "execute", "data": WHOLE[0]["rows"]}
            push(redis.client, concurrency, body, first=10_000_000)
            drained(redis.client)
            redis.client.call("SET", "{agent:jobs}:paused", 1)
            push(redis.client, jobs, body)
            own, began = cpu_of(worker.pid), time.monotonic()
            release(redis.client)
            drained(redis.client)
            took = time.monotonic() - began
            own = cpu_of(worker.pid) - own
            first = json.loads(redis.client.call("LINDEX", "agent:results:job-0", 0))
            if missing(redis.client, jobs) or first["status"] != "completed" or first["metadata"]["llm_calls"] != 1:
                raise RuntimeError(f"the jobs did not go well: {first}")
            waves = -(-jobs // concurrency)
            ideal = waves * delay_ms / 1000
            return {"seconds": took, "ideal": ideal, "share": ideal / took, "own_us": own / jobs * 1e6}
    finally:
        server.kill()
        server.wait()


def memory(million=1_000_000, parts=10):
    """Resident memory at rest and after every part of a million jobs. Results live shortly: this is about us."""
    with Redis() as redis, Worker(redis.url(), WORKER__CONCURRENCY=256, RESULTS__TTL_SECS=2) as worker:
        time.sleep(1)
        marks = [rss_of(worker.pid)]
        for part in range(parts):
            push(redis.client, million // parts, pipeline_job(WHOLE), first=part * (million // parts))
            drained(redis.client)
            marks.append(rss_of(worker.pid))
        return {"rest": marks[0], "marks": marks[1:]}
