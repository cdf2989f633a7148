"""Placeholder of the lead."""

from __future__ import annotations

from typing import Any


def summary_lines(document: Any) -> list[str]:
    return []
