"""Colours, told apart with any kind of colour vision (Okabe and Ito, 2008)."""

from __future__ import annotations

INK = "#22272e"
MUTED = "#6a737d"
FAINT = "#b8bec6"
GRID = "#e9ebee"
PAPER = "#ffffff"

BLUE = "#0072b2"
VERMILLION = "#d55e00"
GREEN = "#009e73"
ORANGE = "#e69f00"
SKY = "#56b4e9"
PINK = "#cc79a7"

CATEGORIES = (BLUE, VERMILLION, GREEN, PINK, ORANGE, SKY)
STATES = {
    "COMPLETE": BLUE,
    "PRUNED": ORANGE,
    "FAIL": VERMILLION,
    "RUNNING": SKY,
    "WAITING": FAINT,
}
