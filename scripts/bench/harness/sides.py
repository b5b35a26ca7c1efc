"""Runs the sides of a row in turns."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional


class Skip(Exception):
    """Why a side cannot run here."""


@dataclass
class Context:
    """Where a run stands: what is built, where to write, how many threads."""

    root: Path
    build: Path
    work: Path
    peers: Optional[str]
    quick: bool
    threads: int
    mxnet: Optional[str] = None
    made: Dict[str, object] = field(default_factory=dict)

    def program(self, name):
        path = self.build / name
        if not os.access(path, os.X_OK):
            raise Skip(f"{name} is not built: run `make build`")
        return str(path)

    def python(self):
        """The Python that has the peers' packages."""
        if self.peers is None:
            raise Skip("no Python with the peers' packages")
        return self.peers

    def package(self, name):
        """The peers' Python, where it has this package."""
        python = self.python()
        code = f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is None)"
        if subprocess.run([python, "-c", code], capture_output=True).returncode != 0:
            raise Skip(f"the peers' Python has no package {name}")
        return python

    def environment(self):
        count = str(self.threads)
        return {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "CUDA_VISIBLE_DEVICES": ""}

    def run(self, *command):
        """Runs a command to its end; gives what it printed, both streams together."""
        done = subprocess.run(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=self.environment(), text=True, errors="replace",
        )
        if done.returncode != 0:
            tail = "\n".join(done.stdout.strip().splitlines()[-5:])
            raise Skip(f"`{' '.join(str(part) for part in command[:3])} …` ended with {done.returncode}: {tail}")
        return done.stdout

    def once(self, key, make):
        """What several sides need, made once a run."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]


class Peer:
    """A peer's process: it warms up, says `ready`, and gives a JSON list of figures for each line that asks for some.

    It lives through the rounds, so that imports and compilation are not timed, and sleeps while others have their turn.
    """

    def __init__(self, context, script, *arguments, count, python=None):
        python = python or context.python()
        self.count = count
        path = context.root / "scripts/bench/peers" / script
        self.log = open(context.work / f"peer-{time.monotonic_ns()}.log", "w+", encoding="utf-8", errors="replace")
        environment = {**context.environment(), "OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [python, str(path), *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, env=environment, text=True, cwd=context.work,
        )
        try:
            self.expect("ready")
        except Skip:
            self.close()
            raise

    def expect(self, word=None):
        # Libraries may print lines of their own; ours begin with a mark.
        for line in self.process.stdout:
            if line.startswith("bench: "):
                answer = line[len("bench: "):].strip()
                if word is not None and answer != word:
                    raise Skip(f"the peer said `{answer}`")
                return answer
        self.log.seek(0)
        last = self.log.read().strip().splitlines()[-1:] or ["it said nothing"]
        raise Skip(f"the peer ended with {self.process.wait()}: {last[0]}")

    def sample(self):
        try:
            self.process.stdin.write(f"{self.count}\n")
            self.process.stdin.flush()
        except OSError:
            pass  # It has ended; what it said last follows.
        return json.loads(self.expect())

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Function:
    """A side that is a function: no process stays."""

    def __init__(self, sample):
        self.sample = sample


@dataclass
class Side:
    """What one side gave: a list of figures a round, or why it did not run."""

    name: str
    rounds: List[List[float]] = field(default_factory=list)
    skipped: Optional[str] = None


@dataclass
class Result:
    row: object
    sides: List[Side]


def time_row(row, context, rounds):
    def say(text):
        print(f"[{row.name}] {text}", file=sys.stderr, flush=True)

    say(row.title)
    makers = [("insightface", row.ours), *row.peers.items()]
    results, running = [Side(name) for name, _ in makers], {}
    try:
        for side, (name, make) in zip(results, makers):
            if context.quick and name in row.slow_peers:
                side.skipped = "takes long to get ready, and this is a quick run"
                continue
            try:
                say(f"{name}: getting ready")
                running[name] = make(context)
            except Skip as reason:
                side.skipped = str(reason)
                say(f"{name}: left out: {reason}")
        for number in range(rounds):
            turn = results if number % 2 == 0 else results[::-1]
            for side in turn:
                if side.name not in running:
                    continue
                try:
                    figures = [float(figure) for figure in running[side.name].sample()]
                    if not figures or not all(0 < figure < float("inf") for figure in figures):
                        raise Skip(f"no usable figures: {figures}")
                except Skip as reason:
                    # Half a side would spoil the pairing of the rounds.
                    side.skipped, side.rounds = str(reason), []
                    say(f"{side.name}: left out: {reason}")
                    stop(running.pop(side.name))
                    continue
                side.rounds.append(figures)
                say(f"round {number + 1} of {rounds}: {side.name}: {', '.join(f'{f:.4g}' for f in figures[:8])} {row.unit}")
    finally:
        for side in running.values():
            stop(side)
    return Result(row, results)


def stop(side):
    close = getattr(side, "close", None)
    if close:
        close()
