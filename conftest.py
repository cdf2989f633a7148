"""What all tests share: pytest's own test harness, and one thread, so that test runs do not fight for cores."""

from __future__ import annotations

import os

pytest_plugins = ["pytester"]

os.environ.setdefault("OMP_NUM_THREADS", "1")
