"""Joining a Ray cluster, or starting one on this machine that ends with the session and reports to nobody."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pytest_saliency.errors import SaliencyError, first_line

LOCAL = "local"
ANSWER_WITHIN = 10.0  # seconds in which a cluster must take a connection
HOST = re.compile(r"\[?([^\]/]+?)\]?:([0-9]{1,5})")


class ClusterError(SaliencyError):
    """Ray, or a cluster of it, is not there or gave up."""


@dataclass(frozen=True)
class Cluster:
    """A cluster this process is connected to; ``ours`` if it must be let go of at the end."""

    ray: ModuleType
    cpus: int
    gpus: int
    ours: bool

    def put(self, value: object, what: str) -> Any:
        """Put something into the object store.

        Raises
        ------
        ClusterError
            There is no room for it; ``what`` names it in the message.
        """
        try:
            return self.ray.put(value)
        except self.ray.exceptions.RayError as error:
            raise ClusterError(
                f"--saliency-ray: {what} could not be put into the object store of the cluster ({first_line(error)});"
                " give it more memory (ray start --object-store-memory), or take fewer images."
            ) from error

    def leave(self) -> None:
        """Disconnect; a cluster that was started here ends."""
        if self.ours and self.ray.is_initialized():
            self.ray.shutdown()


def join(address: str) -> Cluster:
    """Connect to the cluster at ``address`` (``host:port``, or ``auto``), or start one here (``local``).

    A process that is connected already, because a conftest.py called ``ray.init``, stays so.

    Raises
    ------
    ClusterError
        Ray is not installed, or nothing answers at the address.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise ClusterError(
            "--saliency-ray needs the package ray, which is not installed; pip install 'pytest-saliency[ray]'."
        ) from None
    ours = not ray.is_initialized()
    if ours:
        _init(ray, address)
    resources: dict[str, Any] = ray.cluster_resources()
    return Cluster(ray, int(resources.get("CPU", 0)), int(resources.get("GPU", 0)), ours)


def _init(ray: ModuleType, address: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
    if address == LOCAL:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
        how: dict[str, Any] = {"address": LOCAL, "num_cpus": cpus, "include_dashboard": False}
    else:
        how = {"address": address}
        if address != "auto":
            _answering(address)
    try:
        ray.init(**how, **quiet)
    except Exception as error:  # whatever Ray raises, it is about the cluster
        what = "a Ray cluster could not be started here" if address == LOCAL else f"no Ray cluster at '{address}'"
        raise ClusterError(
            f"--saliency-ray: {what} ({first_line(error)}). Check it with 'ray status', or leave the address out to"
            " start one on this machine."
        ) from error


def _answering(address: str) -> None:
    """Refuse an address where nothing listens, which Ray itself would try for minutes."""
    found = HOST.fullmatch(address)
    if found is None:
        raise ClusterError(
            f"--saliency-ray: {address!r} is no address of a Ray cluster; give host:port of its head (as 'ray start"
            " --head' prints it), auto, or nothing to start one on this machine, and put files before the option."
        )
    try:
        socket.create_connection((found[1], int(found[2])), timeout=ANSWER_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"--saliency-ray: no Ray cluster answers at '{address}' ({first_line(error)}). Start one there with 'ray"
            " start --head', or leave the address out to start one on this machine."
        ) from error
