"""RQ. See benches/peers/README.md."""

import os
import sys
import time

from redis import Redis
from rq import Queue, Worker

URL = os.environ["REDIS_URL"]


def empty(n):
    return None


def effect(n):
    redis = Redis.from_url(URL)
    redis.rpush("started", n)
    time.sleep(0.2)
    redis.rpush("effects", n)


def fill(redis, jobs, work):
    queue = Queue("bench", connection=redis)
    for start in range(0, jobs, 500):
        some = range(start, min(start + 500, jobs))
        queue.enqueue_many([Queue.prepare_data(work, args=(n,), result_ttl=3600) for n in some])


def main():
    ask, numbers = sys.argv[1], [int(number) for number in sys.argv[2:]]
    redis = Redis.from_url(URL)
    # As the worker imports it: this file is not `__main__` there.
    import rq_peer

    if ask == "fill":
        fill(redis, numbers[0], rq_peer.effect)
    elif ask == "drain":
        fill(redis, numbers[0], rq_peer.empty)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        Worker(["bench"], connection=redis).work(burst=True, logging_level="WARNING")
        print(time.perf_counter() - began, flush=True)
    else:
        Worker(["bench"], connection=redis).work(logging_level="WARNING")


if __name__ == "__main__":
    main()
