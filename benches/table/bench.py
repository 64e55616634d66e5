"""Whole processes over one file, side by side: bench.py ENGINE FLIGHTS [--runs N] [--json FILE].

ENGINE is the `pipeline` example built for release. Each program reads the file, answers, and writes its answer; the
best of N runs counts, with the peak of its resident memory. Programs that are not installed are left out.
"""
import argparse, json, os, shutil, subprocess, sys, tempfile, time

CASES = {
    "top 10 by price": {
        "steps": [{"step": "table_sort", "field": "price", "order": "desc"}, {"step": "top_k", "k": 10}],
        "sql": "SELECT * FROM read_json('{file}') ORDER BY price DESC LIMIT 10",
        "polars": "pl.read_json(f).sort('price', descending=True).head(10)",
        "python": "sorted(rows, key=lambda row: row['price'], reverse=True)[:10]",
        "jq": "sort_by(-.price)[:10]",
    },
    "filter, sort, top 20": {
        "steps": [
            {"step": "table_filter", "condition": {"and": [
                {"field": "from", "op": "==", "value": "OSL"}, {"field": "stops", "op": "==", "value": 0}]}},
            {"step": "table_sort", "field": "price"},
            {"step": "top_k", "k": 20},
        ],
        "sql": "SELECT * FROM read_json('{file}') WHERE \"from\" = 'OSL' AND stops = 0 ORDER BY price LIMIT 20",
        "polars": "pl.read_json(f).filter((pl.col('from') == 'OSL') & (pl.col('stops') == 0)).sort('price').head(20)",
        "python": "sorted((row for row in rows if row['from'] == 'OSL' and row['stops'] == 0), key=lambda row: row['price'])[:20]",
        "jq": "map(select(.from == \"OSL\" and .stops == 0)) | sort_by(.price)[:20]",
    },
    "group by, two aggregates": {
        "steps": [{"step": "group_by", "by": ["airline"], "aggregates": [
            {"op": "avg", "field": "price"}, {"op": "sum", "field": "duration_min"}]}],
        "sql": "SELECT airline, avg(price), sum(duration_min) FROM read_json('{file}') GROUP BY airline",
        "polars": "pl.read_json(f).group_by('airline').agg(pl.col('price').mean(), pl.col('duration_min').sum())",
        "python": None,
        "jq": None,
    },
}


def run(command):
    """Wall seconds, seconds of processor time and peak MiB of one process."""
    started = time.perf_counter()
    with open(os.devnull, "wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        raise SystemExit(f"{command[0]} failed: {command}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def commands(case, engine, file, steps):
    python = sys.executable
    yield "agent-runner", [engine, steps, file]
    sql = case["sql"].format(file=file)
    yield "DuckDB", [python, "-c", f"import duckdb; duckdb.sql({('COPY (' + sql + ') TO ' + repr('/dev/stdout') + ' (FORMAT json)')!r})"]
    yield "Polars", [python, "-c", f"import polars as pl; f = {file!r}; print({case['polars']}.write_json())"]
    if case["python"]:
        yield "Python json", [python, "-c", f"import json; rows = json.load(open({file!r})); print(json.dumps({case['python']}))"]
    if case["jq"] and shutil.which("jq"):
        yield "jq", ["jq", "-c", case["jq"], file]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("engine")
    arguments.add_argument("flights")
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--only", help="a part of the case's name")
    arguments.add_argument("--quick", action="store_true", help="leave out the slow programs")
    arguments.add_argument("--json")
    options = arguments.parse_args()
    size = os.path.getsize(options.flights) / (1 << 20)
    plain = min(run(["cat", options.flights])[0] for _ in range(options.runs))
    print(f"{options.flights}: {size:.0f} MiB; a plain read of the bytes (cat): {plain:.3f} s\n")
    results = []
    for name, case in CASES.items():
        if options.only and options.only not in name:
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as steps:
            json.dump(case["steps"], steps)
        ours = None
        print(f"{name:28}{'wall s':>8}{'x ours':>8}{'cpu s':>8}{'x ours':>8}{'peak MiB':>10}{'x input':>9}")
        for program, command in commands(case, options.engine, options.flights, steps.name):
            slow = program in ("jq", "Python json")
            if slow and options.quick:
                continue
            runs = [run(command) for _ in range(1 if slow else options.runs)]
            wall, cpu, peak = (min(figures) for figures in zip(*runs))
            ours = ours or (wall, cpu)
            ratios = f"{wall:8.3f}{wall / ours[0]:8.1f}{cpu:8.3f}{cpu / ours[1]:8.1f}"
            print(f"  {program:26}{ratios}{peak:10.0f}{peak / size:9.2f}", flush=True)
            results.append({"case": name, "program": program, "seconds": wall, "cpu_seconds": cpu, "peak_mib": peak})
        os.unlink(steps.name)
        print()
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"input_mib": size, "plain_read_seconds": plain, "results": results}, out, indent=1)


main()
