"""What a record says of a declared check beside its result."""

from __future__ import annotations

from pytest_saliency.contracts.check import CheckItem
from pytest_saliency.contracts.contract import Contract, expand
from pytest_saliency.contracts.policy import notes_of, policy_of
from pytest_saliency.records.record import Setting, Source


def setting_of(contract: Contract, check: CheckItem, node: str, file: str) -> Setting:
    """Return the setting of ``check``; ``node`` is pytest's id of it, ``file`` the contract relative to the root."""
    text = dict(enumerate(contract.text.splitlines(), start=1))
    numbers = sorted({check.line, *check.lines.values()})
    return Setting(
        node=node,
        contract=contract.slug,
        contract_sha256=contract.digest,
        check=check.check,
        kind=check.kind,
        axes=check.axes,
        requirement=check.requirement,
        policy=policy_of(check),
        notes=notes_of(check),
        source=Source(
            file=file,
            line=check.line,
            lines=check.lines,
            snippet=tuple((number, text[number].rstrip()) for number in numbers if number in text),
        ),
    )


def settings_of(contract: Contract, prefix: str, file: str) -> dict[str, Setting]:
    """Return the setting of every check of a contract by its node id, which is ``prefix::name``."""
    return {
        node: setting_of(contract, check, node, file)
        for check in expand(contract)
        for node in (f"{prefix}::{check.name}",)
    }
