"""Writes N flights of about 200 bytes as one JSON array: generate.py N FILE."""
import random, sys

count, path = int(sys.argv[1]), sys.argv[2]
rng = random.Random(20260102)
airports = ["OSL", "ARN", "CPH", "HEL", "LHR", "CDG", "FRA", "AMS", "JFK", "SIN", "NRT", "GRU", "LIS", "BCN", "FCO", "BER"]
airlines = ["Nordlys Air", "Skyway", "Blue Fjord", "Continental Star", "Aurora", "Iberica", "Zephyr", "Polar Wings"]
with open(path, "w") as out:
    out.write("[")
    for i in range(count):
        a, b = rng.sample(airports, 2)
        out.write(
            f'{"," if i else ""}{{"id":{9007199254740993 + i},"flight":"{chr(65 + i % 26)}{chr(65 + i // 26 % 26)}{rng.randrange(100, 9999)}",'
            f'"airline":"{rng.choice(airlines)}","from":"{a}","to":"{b}",'
            f'"departure":"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}T{rng.randrange(24):02}:{rng.randrange(60):02}:00Z",'
            f'"duration_min":{rng.randrange(45, 900)},"price":{rng.randrange(1500, 250000) / 100:.2f},'
            f'"seats":{{"economy":{rng.randrange(0, 200)},"business":{rng.randrange(0, 30)}}},"stops":{rng.randrange(3)}}}'
        )
    out.write("]\n")
