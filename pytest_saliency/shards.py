"""``--saliency-shard i/n``: one job of a CI matrix runs its part of the checks, and says which part that was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_saliency.contracts.dealing import Shard, deal, dealt_of, shard_of_file
from pytest_saliency.errors import SaliencyError

if TYPE_CHECKING:
    from pytest_saliency.contracts.contract import Contract

SHARDING = pytest.StashKey["Sharding"]()
TOLD = "saliency_shard"  # under which a worker of pytest-xdist tells its controller


def shard_for(config: pytest.Config) -> None:
    """Register what deals the checks out. A value that is no shard ends the session before anything runs."""
    text = config.getoption("saliency_shard") or config.getini("saliency_shard")
    try:
        shard = Shard.of(str(text))
    except SaliencyError as error:
        raise pytest.UsageError(str(error)) from None
    if shard.count > 1 and config.getoption("lf", False):
        raise pytest.UsageError(
            "--lf collects failed tests only, and checks are dealt out over all that is collected, so that a failed one"
            " might belong to no shard that runs it. Leave --saliency-shard out to run what failed last."
        )
    config.stash[SHARDING] = Sharding(shard)
    config.pluginmanager.register(config.stash[SHARDING], "saliency-shard")


class Sharding:
    """Deselects what belongs to other shards.

    Dealt out are the checks of contracts, and tests in Python that ask for the fixture ``saliency`` (whole files, by
    their names). Everything else runs in every shard, as it would without this option.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.contracts: dict[str, str] = {}
        """SHA-256 of each contract that was collected, by the node id of its file."""
        self.files: dict[str, str] = {}
        """Where each of them lies, relative to the root, by the same node ids."""
        self.elsewhere: frozenset[str] = frozenset()
        """Node ids of checks in these contracts that belong to other shards."""
        self.here = 0
        self.away = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        from pytest_saliency.contracts.items import ContractItem
        from pytest_saliency.report.attach import below_root

        contracts: dict[str, Contract] = {}
        for item in items:
            if isinstance(item, ContractItem):
                file = item.nodeid.partition("::")[0]
                contracts[file] = item.contract
                self.files[file] = below_root(item.path, config)
        shard_of = deal(dealt_of(contracts), self.shard.count)
        self.contracts = {file: contract.digest for file, contract in contracts.items()}
        self.elsewhere = frozenset(node for node, shard in shard_of.items() if shard != self.shard.index)
        kept: list[pytest.Item] = []
        others: list[pytest.Item] = []
        for item in items:
            if isinstance(item, ContractItem):
                mine = shard_of[item.nodeid] == self.shard.index
            elif "saliency" in getattr(item, "fixturenames", ()):
                mine = shard_of_file(item.nodeid.partition("::")[0], self.shard.count) == self.shard.index
            else:
                kept.append(item)
                continue
            self.here += mine
            (kept if mine else others).append(item)
        self.away = len(others)
        if others:
            config.hook.pytest_deselected(items=others)
            items[:] = kept

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[TOLD] = [self.contracts, self.files, sorted(self.elsewhere), self.here, self.away]
        elif session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.away and not self.here:
            session.exitstatus = pytest.ExitCode.OK  # an empty shard is no mistake

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take what a worker of pytest-xdist collected: its controller collects nothing. All collect the same."""
        told = getattr(node, "workeroutput", {}).get(TOLD)
        if told is not None:
            contracts, files, elsewhere, self.here, self.away = told
            self.contracts, self.files, self.elsewhere = dict(contracts), dict(files), frozenset(elsewhere)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        index, count, items = self.shard.index, self.shard.count, self.here + self.away
        if self.here:
            terminalreporter.write_line(f"saliency: shard {index} of {count}: {self.here} of {items} belong here")
        elif items:
            terminalreporter.write_line(f"saliency: shard {index} of {count} is empty: all {items} belong to others")

    def declared(self) -> dict[str, tuple[str, str]]:
        """Return file and SHA-256 of each contract of the session, by the node id of its file."""
        return {node: (self.files[node], digest) for node, digest in self.contracts.items()}

    def told(self) -> dict[str, Any]:
        """Return what the run's document says of the shard."""
        return {"index": self.shard.index, "count": self.shard.count, "contracts": self.contracts}
