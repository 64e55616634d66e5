#!/usr/bin/env python3
"""Records a session of a real shell and draws it as docs/terminal.svg, the moving picture in README.md.

    cargo build && pip install pyte==0.8.2 && python3 scripts/terminal-picture.py

Starts a Redis and a service of its own on free ports. Where a viewer moves no pictures (or the reader wants none
moved), the last screen stands still.
"""

import fcntl
import html
import os
import pty
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(os.environ.get("AGENT_RUNNER", ROOT / "target/debug/agent-runner"))
COMMANDS = [
    "agent-runner run examples/top-flights.json --table",
    "agent-runner submit examples/top-flights.json",
    "agent-runner jobs list",
]
COLUMNS, ROWS = 104, 26
KEYSTROKE, PAUSE, END = 0.04, 0.9, 5.0  # seconds
LONGEST = 0.5  # what a command takes, at most, in the picture

CELL_WIDTH, LINE, FONT, MARGIN, BAR = 7.8, 17, 13, 16, 30
INK, PAPER, EDGE, FAINT = "#d0d7de", "#0d1117", "#30363d", "#8b949e"
COLOURS = {"red": "#ff7b72", "green": "#3fb950", "brown": "#d29922", "blue": "#58a6ff", "magenta": "#bc8cff", "cyan": "#39c5cf"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(env):
    """A Redis and a service that is ready."""
    redis = subprocess.Popen(
        ["redis-server", "--port", env["REDIS_URL"].rsplit(":", 1)[1], "--save", "", "--dir", env["HOME"]],
        stdout=subprocess.DEVNULL,
    )
    service = subprocess.Popen([PROGRAM, "serve"], env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    for line in service.stderr:
        if " ready " in line:
            return [service, redis]
    sys.exit("the service did not start")


class Session:
    """A shell in a terminal; `frames` has each screen with the time from which it stands."""

    def __init__(self, env):
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.clock, self.frames = 0.0, []
        pid, self.terminal = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            os.chdir(ROOT)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], env)
        self.until_prompt()

    def read(self, seconds):
        if select.select([self.terminal], [], [], seconds)[0]:
            self.stream.feed(os.read(self.terminal, 65536))

    def keep(self):
        rows = tuple(self.row(y) for y in range(ROWS))
        if not self.frames or self.frames[-1][1] != rows:
            self.frames.append((self.clock, rows))

    def row(self, y):
        """A line as runs of text with one colour each."""
        runs = []
        for x in range(COLUMNS):
            cell = self.screen.buffer[y][x]
            colour = COLOURS.get(cell.fg, INK)
            if runs and runs[-1][0] == colour:
                runs[-1][1] += cell.data
            else:
                runs.append([colour, cell.data])
        runs[-1][1] = runs[-1][1].rstrip()
        return tuple((colour, text) for colour, text in runs if text)

    def until_prompt(self):
        started = time.monotonic()
        while self.screen.display[self.screen.cursor.y].rstrip() != "$":
            if time.monotonic() - started > 60:
                sys.exit("no prompt comes back:\n" + "\n".join(self.screen.display))
            self.read(1)
        self.clock += min(time.monotonic() - started, LONGEST)
        self.keep()

    def type(self, command):
        before = self.screen.cursor.x
        for typed, key in enumerate(command, start=1):
            os.write(self.terminal, key.encode())
            while self.screen.cursor.x != before + typed:
                self.read(1)
            self.clock += KEYSTROKE
            self.keep()
        self.clock += PAUSE / 2
        os.write(self.terminal, b"\r")
        while self.screen.cursor.x != 0:
            self.read(1)
        self.until_prompt()
        self.clock += PAUSE


def lines_of(frames, end):
    """Every line that is ever seen: row, runs, from when, until when."""
    lines = []
    for y in range(ROWS):
        shown, since = (), 0.0
        for at, rows in [*frames, (end, None)]:
            now = rows[y] if rows else None
            if now == shown:
                continue
            if shown:
                lines.append((y, shown, since, at))
            shown, since = now, at
    return lines


def drawn(frames, end):
    height = max(y for y in range(ROWS) if frames[-1][1][y]) + 1
    width = COLUMNS * CELL_WIDTH + 2 * MARGIN
    full = height * LINE + BAR + MARGIN
    styles, texts = [], []
    for number, (y, runs, since, until) in enumerate(lines_of(frames, end)):
        stays = until >= end
        steps = [f"{100 * since / end:.2f}%{{visibility:visible}}"]
        if since > 0:
            steps.insert(0, "0%{visibility:hidden}")
        if not stays:
            steps.append(f"{100 * until / end:.2f}%{{visibility:hidden}}")
        styles.append(f"@keyframes k{number}{{{''.join(steps)}}}#l{number}{{animation-name:k{number}}}")
        text, x = "", 0
        for colour, part in runs:
            place, size = MARGIN + x * CELL_WIDTH, len(part) * CELL_WIDTH
            ink = "" if colour == INK else f' fill="{colour}"'
            text += f'<tspan x="{place:g}" textLength="{size:.5g}" lengthAdjust="spacingAndGlyphs"{ink}>{html.escape(part)}</tspan>'
            x += len(part)
        passing = "" if stays else ' class="p"'
        texts.append(f'<text id="l{number}" y="{BAR + (y + 1) * LINE - 4}"{passing}>{text}</text>')
    words = "\n".join("".join(text for _, text in row) for row in frames[-1][1][:height])
    dots = "".join(f'<circle cx="{MARGIN + 6 + 18 * i}" cy="16" r="5" fill="{EDGE}"/>' for i in range(3))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {full}" width="{width:g}" height="{full}" role="img" aria-labelledby="t d">
<title id="t">agent-runner in a terminal</title>
<desc id="d">{html.escape(words)}</desc>
<style>
text{{font:{FONT}px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:{INK};white-space:pre;animation:{end:g}s step-end infinite}}
.p{{visibility:hidden}}
@media (prefers-reduced-motion:reduce){{text{{animation:none}}}}
{"".join(styles)}
</style>
<rect x=".5" y=".5" width="{width - 1:g}" height="{full - 1}" rx="8" fill="{PAPER}" stroke="{EDGE}"/>
{dots}<text x="{width / 2:g}" y="20" text-anchor="middle" style="fill:{FAINT}">agent-runner</text>
{chr(10).join(texts)}
</svg>
"""


def main():
    with tempfile.TemporaryDirectory() as home:
        os.symlink(PROGRAM.resolve(), Path(home, "agent-runner"))
        env = {
            "HOME": home,
            "PATH": f"{home}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "PS1": r"\[\e[32m\]$\[\e[0m\] ",
            "COLUMNS": str(COLUMNS),
            "REDIS_URL": f"redis://127.0.0.1:{free_port()}",
            "AGENT_RUNNER__HTTP__BIND": f"127.0.0.1:{free_port()}",
        }
        servers = serve(env)
        try:
            session = Session(env)
            for command in COMMANDS:
                session.type(command)
        finally:
            for server in servers:
                server.terminate()
                server.wait()
    Path(ROOT, "docs/terminal.svg").write_text(drawn(session.frames, session.clock + END), encoding="utf-8")


if __name__ == "__main__":
    if not shutil.which("redis-server"):
        sys.exit("redis-server is missing: scripts/install-redis.sh")
    main()
