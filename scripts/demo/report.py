"""Shows what the demo saw. Subcommands, each for one place of demo.sh:

    report.py live                    the live log on standard input, cut to the terminal's width
    report.py table DIR NAME...       the closing table; NAMEs are the hosts to be blocked
    report.py silence DIR NAME=ADDRESS[,ADDRESS]...
                                      what the internet heard of these hosts while Muzzle ran

DIR holds what the demo wrote: log.jsonl (`muzzle log --json`), steps.tsv (what each app did and how
it went), server.jsonl and queries.log (the internet's side), marks (how long those two were when
Muzzle started). `silence` and `table` exit with 1 where something is not as promised."""

import ipaddress
import json
import os
import re
import shutil
import sys

BOLD, RED, GREEN, CYAN = "1", "1;31", "32", "36"
STYLES = {"blocked": RED, "allowed": GREEN, "logged": CYAN}
SEEN_IN = {"dns": "DNS", "sni": "TLS", "host": "HTTP", "unnamed": "no name", "syn": "connect"}
ESCAPE = re.compile(r"(\x1b\[[0-9;]*m)")
NOT_LISTED = "not in the catalogue"


def styled(text, style):
    return f"\x1b[{style}m{text}\x1b[0m" if os.environ.get("DEMO_COLOUR") else text


def live():
    """Prefixes each line, so that the log and the apps are told apart."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in sys.stdin:
        print("  | " + cut(line.rstrip("\n"), width - 4 if width else 0), flush=True)


def cut(line, width):
    """The first `width` visible characters of `line`; all of them where it is 0."""
    if not width or len(ESCAPE.sub("", line)) <= width:
        return line
    kept, room = [], width - 1
    for part in ESCAPE.split(line):
        if ESCAPE.fullmatch(part):
            kept.append(part)
        else:
            kept.append(part[:room])
            room -= len(part[:room])
    return "".join(kept) + "…"


def table(folder, telemetry):
    waits = {}
    for uid, name, outcome, milliseconds in steps(folder):
        if outcome == "refused":
            waits.setdefault((uid, name), []).append(float(milliseconds))
    groups = {}
    for record in json_lines(folder, "log.jsonl"):
        key = (record["app"], record.get("name", record["remote"]), record["outcome"])
        groups.setdefault(key, []).append(record)
    order = sorted(groups, key=lambda key: (key[2] != "blocked", key))
    rows = [("app", "where to", "what that is", "seen in", "tries", "outcome", "app waited")]
    for app, name, outcome in order:
        records = groups[app, name, outcome]
        waited = waits.get((str(records[0]["uid"]), name), [])
        seen = dict.fromkeys(SEEN_IN[record["evidence"]] for record in records)
        tries = str(len(records))
        rows.append((app, name, what(records[0]), ", ".join(seen), tries, outcome, span(waited)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        if number == 0:
            print(styled("  ".join(cells).rstrip(), BOLD))
        else:
            cells[5] = styled(cells[5], STYLES.get(row[5], BOLD))
            print("  ".join(cells).rstrip())
    return promised(groups, telemetry)


def promised(groups, telemetry):
    """0 where telemetry, and nothing else, was blocked, and every app was known."""
    wrong = [key for key in groups if (key[1] in telemetry) != (key[2] == "blocked")]
    wrong += [key for key in groups if key[0].startswith(("uid", "unknown"))]
    wrong += [f"no record of {name}" for name in telemetry if not any(name in it for it in groups)]
    for it in wrong:
        print(styled(f"NOT AS PROMISED: {it}", RED))
    return int(bool(wrong))


def what(record):
    """System and region as the catalogue has them."""
    if "system" not in record:
        return NOT_LISTED
    essential = "essential: " if record["reason"].startswith("essential") else ""
    return f"{essential}{record['system']}, {record['region']}"


def span(milliseconds):
    if not milliseconds:
        return "-"
    low, high = (f"{it:.1f}" for it in (min(milliseconds), max(milliseconds)))
    return f"{low} ms" if low == high else f"{low}-{high} ms"


def silence(folder, hosts):
    """Prints one line a host; 1 where any of them was heard of."""
    queries_before, requests_before = map(int, text(folder, "marks").split())
    asked = [
        words[words.index(word) + 1]
        for words in map(str.split, text(folder, "queries.log").splitlines()[queries_before:])
        for word in words
        if word.startswith("query[")
    ]
    connections = json_lines(folder, "server.jsonl")[requests_before:]
    heard = 0
    width = max(len(host.partition("=")[0]) for host in hosts)
    for host in hosts:
        name, _, addresses = host.partition("=")
        mine = {ipaddress.ip_address(it) for it in addresses.split(",")}
        reached = [it for it in connections if ipaddress.ip_address(it["address"]) in mine]
        queries, received = asked.count(name), sum(it["bytes"] for it in reached)
        line = f"  {name:{width}}  {queries} DNS queries, {received} bytes"
        if reached and not received:
            line += f" (connections ended before their first byte: {len(reached)})"
        print(styled(line, RED if queries or received else GREEN))
        heard += queries + received
    return int(heard > 0)


def steps(folder):
    return (line.split("\t") for line in text(folder, "steps.tsv").splitlines())


def json_lines(folder, name):
    return [json.loads(line) for line in text(folder, name).splitlines()]


def text(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "live":
        sys.exit(live())
    if command == "table":
        sys.exit(table(arguments[0], arguments[1:]))
    sys.exit(silence(arguments[0], arguments[1:]))
