"""How a peer speaks with the harness: `ready`, then a JSON list of figures for each number of figures it is asked for."""

import json
import sys


def serve(figure):
    """Gives figures until the harness closes the line; whatever warms up has happened by now."""
    print("bench: ready", flush=True)
    for line in sys.stdin:
        print("bench: " + json.dumps([figure() for _ in range(int(line))]), flush=True)
