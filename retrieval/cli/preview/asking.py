"""Which protocol of pictures a terminal knows: the environment tells, or else the terminal is asked.

environment -> the terminal that set it
question    -> may you show a picture of kitty's? and which device are you (DA1)?
answer      -> kitty: OK; DA1 with 4: sixel; anything else, or nothing in time: half blocks
"""

import os
import re
import select
import time
from collections.abc import Mapping
from contextlib import suppress

from retrieval.cli.screen import PLAIN_TERMINALS

QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
"""The question of https://sw.kovidgoyal.net/kitty/graphics-protocol/#querying-support-and-available-transmission-mediums.

All terminals answer its second part, DA1, so that the absence of a first answer is known without waiting.
"""
KITTY_OK = b"\x1b_Gi=31;OK"
DEVICE = re.compile(rb"\x1b\[\?([\d;]*)c")
SIXEL = b"4"
"""Number of sixel graphics in the answer to DA1: https://vt100.net/docs/vt510-rm/DA1.html."""
PATIENCE = 0.5
"""Largest time to wait for the answer, in seconds; a connection around the world takes 0.3."""
PROGRAMS = {"ghostty": "kitty", "iTerm.app": "iterm", "WezTerm": "iterm"}
"""Value of TERM_PROGRAM -> protocol."""


def best(environment: Mapping[str, str]) -> str:
    """Return the best protocol that the terminal of this process knows, or `none` if it has no colours."""
    term = environment.get("TERM", "")
    if term in PLAIN_TERMINALS and "WT_SESSION" not in environment:
        return "none"
    fallback = "none" if "NO_COLOR" in environment else "blocks"
    if {"TMUX", "STY"} & environment.keys() or term.startswith(("screen", "tmux")):
        return fallback  # a multiplexer keeps text only
    if "KITTY_WINDOW_ID" in environment or term in {"xterm-kitty", "xterm-ghostty"}:
        return "kitty"
    if program := PROGRAMS.get(environment.get("TERM_PROGRAM", "")):
        return program
    answer = _asked()
    if KITTY_OK in answer:
        return "kitty"
    device = DEVICE.search(answer)
    return "sixel" if device and SIXEL in device[1].split(b";") else fallback


def _asked() -> bytes:
    """Return the answer of the terminal to `QUESTION`; empty if there is no terminal, or another program has it."""
    with suppress(ImportError, OSError):
        import termios
        import tty

        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        try:
            if (
                os.tcgetpgrp(terminal) != os.getpgrp()
            ):  # in the background, changing the terminal would stop the process
                return b""
            before = termios.tcgetattr(terminal)
            try:
                tty.setcbreak(terminal, termios.TCSANOW)
                os.write(terminal, QUESTION)
                return _answer(terminal)
            finally:
                termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        except termios.error:
            return b""
        finally:
            os.close(terminal)
    return b""


def _answer(terminal: int) -> bytes:
    """Return what the terminal sends until DA1 is answered, or time is up."""
    answer, until = b"", time.monotonic() + PATIENCE
    while not DEVICE.search(answer):
        left = until - time.monotonic()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            break
        answer += os.read(terminal, 1024)
    return answer
