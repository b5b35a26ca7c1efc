"""Writes the table, and reads the samples of one back."""

import json

from . import statistics


def figure(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.1f}"


def spread(values):
    middle, low, high = statistics.summary(values)
    return f"{figure(middle)} ({figure(low)} – {figure(high)})"


def told(row):
    return "; ".join(part for part in [row.note, f"goal: {row.goal}" if row.goal else ""] if part)


def lines(result):
    row, (ours, *peers) = result.row, result.sides
    flat = [value for part in ours.rounds for value in part]
    yield f"| **{row.title}**, {row.unit} | insightface | {spread(flat) if flat else '—'} | |"
    for peer in peers:
        values = [value for part in peer.rounds for value in part]
        if not values:
            continue
        ratio = statistics.ratios(ours.rounds, peer.rounds, row.higher_is_better) if flat else []
        shown = f"{statistics.median(ratio):.2f}× ({min(ratio):.2f} – {max(ratio):.2f})" if ratio else ""
        yield f"| | {peer.name} | {spread(values)} | {shown} |"


def write(about, results):
    text = [f"# Figures of {about['cpu']}", ""]
    how = f"{about['cores']} cores ({', '.join(about['features']) or 'no vector extensions known'}), {about['threads']} threads"
    text.append(f"{how}; {about['system']}; commit {about['commit'] or 'unknown'}; {about['rounds']} rounds.")
    text.append(f"Peers: {about['peers'] or 'none'}.")
    if about["quick"]:
        text.append("A quick run: few and short samples.")
    if about["load"] > 0.5:
        text.append(f"**The machine was busy when the run began (load {about['load']} a core): the figures are not to be kept.**")
    text += ["", "Median (10th – 90th percentile). Ratios are how many times as good this project is, paired round by round:"]
    text += ["median (smallest – largest).", "", "| work | who | figure | ratio |", "|---|---|---|---|"]
    for result in results:
        text += list(lines(result))
    notes = [f"- {result.row.name}: {text}" for result in results for text in [told(result.row)] if text]
    for result in results:
        for side in result.sides:
            if side.skipped:
                notes.append(f"- {result.row.name}: {side.name} was not timed: {' '.join(side.skipped.split())}")
    if notes:
        text += ["", *notes]
    samples = {
        "about": about,
        "rows": {
            result.row.name: {
                "title": result.row.title, "unit": result.row.unit, "higher_is_better": result.row.higher_is_better,
                "sides": {side.name: side.rounds for side in result.sides if side.rounds},
            }
            for result in results
        },
    }
    text += ["", "## Samples", "", "Every figure, by round; `scripts/bench/compare` reads them.", "", "```json"]
    text += [json.dumps(rounded(samples), ensure_ascii=False), "```", ""]
    return "\n".join(text)


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


class Unreadable(Exception):
    """Why a file is no result."""


def read(path):
    try:
        text = open(path, encoding="utf-8").read()
        block = text.split("```json\n", 1)[1].split("\n```", 1)[0]
        samples = json.loads(block)
        samples["about"]["cpu"], samples["rows"].items()
        return samples
    except OSError as problem:
        raise Unreadable(f"{path}: {problem.strerror}")
    except (IndexError, KeyError, TypeError, AttributeError, ValueError):
        raise Unreadable(f"{path}: no samples in it; give a file that scripts/bench/run wrote")
