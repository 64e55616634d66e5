"""Celery on Redis. See benches/peers/README.md."""

import os
import subprocess
import sys
import time

from celery import Celery
from redis import Redis

URL = os.environ["REDIS_URL"]
app = Celery("celery_peer", broker=URL, backend=URL)
app.conf.broker_connection_retry_on_startup = True


@app.task
def empty(n):
    return None


@app.task
def effect(n):
    redis = Redis.from_url(URL)
    redis.rpush("started", n)
    time.sleep(0.2)
    redis.rpush("effects", n)


def fill(jobs, task):
    with app.producer_pool.acquire(block=True) as producer:
        for n in range(jobs):
            task.apply_async((n,), producer=producer)


def worker(*options):
    command = [sys.executable, "-m", "celery", "-A", "celery_peer", "worker", "--loglevel", "ERROR", *options]
    return subprocess.Popen(command, stdout=sys.stderr, cwd=os.path.dirname(os.path.abspath(__file__)))


def main():
    # By its own name: what is sent must be called as the worker knows it.
    import celery_peer as own

    ask, numbers = sys.argv[1], [int(number) for number in sys.argv[2:]]
    redis = Redis.from_url(URL)
    if ask == "fill":
        fill(numbers[0], own.effect)
    elif ask == "drain":
        fill(numbers[0], own.empty)
        print("ready", flush=True)
        sys.stdin.readline()
        child = worker("--without-gossip", "--without-mingle", "--concurrency", "2")
        # Every job leaves a key. Timed from the first on: starting Celery takes seconds.
        while (first := redis.dbsize()) < 50:
            time.sleep(0.002)
        began = time.perf_counter()
        while redis.dbsize() < numbers[0]:
            time.sleep(0.005)
        print((time.perf_counter() - began) * numbers[0] / (numbers[0] - first), flush=True)
        child.terminate()
        child.wait()
    else:
        os.chdir(os.path.dirname(os.path.abspath(__file__)))
        os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", "celery_peer", "worker", "--loglevel", "ERROR"])


if __name__ == "__main__":
    main()
