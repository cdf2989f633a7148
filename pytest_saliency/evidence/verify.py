"""Verifying a bundle, level by level; each level includes the ones below.

0: bytes and signatures. 1: every decision, seed, count, criterion and rendered file follows from the numbers and the
contract. 2: the per-image numbers follow from the stored maps (needs torch). 3: the model is run again (needs the
repository, its data, and torch, and runs its code). Levels 0 and 1 need neither torch nor a network nor the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_saliency.evidence.dsse import Key
from pytest_saliency.evidence.findings import Finding, Found
from pytest_saliency.evidence.level0 import check_bytes
from pytest_saliency.evidence.read import BundleError, read_document

LEVELS = (0, 1, 2, 3)


@dataclass(frozen=True)
class Report:
    """What verifying a bundle gave.

    Attributes
    ----------
    id
        The identifier of the bundle; None where there is no manifest.
    level
        The level that was asked for.
    findings
        What is not as it was written; none in a whole bundle.
    verdicts
        Name of each check and its verdict, as far as the bundle can be read.
    checked, skipped, told, signatures
        Sentences: what holds, what was not checked and why, what is neither, and a line for each signature.
    unrepeated, unlike
        Sentences: what could not be run again, and in what the repository is not the one of the run (level 3).
    document
        The run as the bundle says it; None where it cannot be read.
    reached
        The highest level at which there was anything to check.
    tried
        The highest level that was tried; lower than ``level`` where the bundle cannot be read.
    """

    id: str | None
    level: int
    findings: tuple[Finding, ...]
    verdicts: dict[str, str] = field(default_factory=dict)
    checked: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()
    unrepeated: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    document: dict[str, Any] | None = field(default=None, repr=False)
    reached: int = 0
    tried: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def passed(self) -> bool:
        """Whether there are checks, every one of them says PASS, and the run was a whole one."""
        return bool(self.verdicts) and set(self.verdicts.values()) == {"PASS"} and self.partial is None

    @property
    def partial(self) -> str | None:
        """Why the document is not that of one whole run; None where it is."""
        from pytest_saliency.evidence.release import not_whole

        return None if self.document is None or not self.whole else not_whole(self.document)

    @property
    def exit_code(self) -> int:
        """0 whole and PASS, 3 whole with a check that did not pass, 4 tampered with or no bundle, 5 not repeated."""
        if not self.whole:
            return 4
        return 5 if self.unrepeated or self.unlike else 0 if self.passed else 3


def verify(
    path: Path,
    level: int = 1,
    *,
    expected_id: str | None = None,
    keys: Sequence[Key] = (),
    root: Path | None = None,
) -> Report:
    """Verify the bundle at ``path`` up to ``level``.

    ``expected_id``: the identifier that it must have; ``keys``: public keys that must have signed it; ``root``: the
    repository that level 3 runs in.

    A higher level is tried although a lower one found something, as far as the files can be read.

    Raises
    ------
    SaliencyError
        ``root`` does not hold the files of the checks (level 3), a key cannot be used, the extra ``sign`` is not
        installed though a key was given, or torch is not, though level 2 or 3 was asked for.
    """
    from pytest_saliency.evidence.outcome import names_of

    bottom, identifier, signatures = check_bytes(path, expected_id, keys)
    founds = [bottom]
    document = None
    if identifier is not None:
        try:
            document = read_document(path)
        except (BundleError, RecursionError) as error:
            if not bottom.findings:
                named = error.file if isinstance(error, BundleError) else "results.json"
                bottom.add(named, f"cannot be read: {error}")
    if document is not None:
        founds += _higher(path, level, document, root, bool(bottom.findings))
    records = document["records"] if document else []
    return Report(
        id=identifier,
        level=level,
        findings=tuple(finding for found in founds for finding in found.findings),
        verdicts=dict(zip(names_of(records), (str(record.get("verdict")) for record in records), strict=True)),
        checked=tuple(line for found in founds for line in found.checked),
        skipped=tuple(line for found in founds for line in found.skipped),
        told=tuple(line for found in founds for line in found.told),
        unrepeated=tuple(line for found in founds for line in found.unrepeated),
        unlike=tuple(line for found in founds for line in found.unlike),
        signatures=tuple(signatures),
        document=document,
        reached=max(found.level for found in founds if found.level < 2 or found.checked or found.findings),
        tried=founds[-1].level,
    )


def _higher(path: Path, level: int, document: dict[str, Any], root: Path | None, bad: bool) -> list[Found]:
    made: list[Found] = []
    if level >= 1:
        from pytest_saliency.evidence.level1 import check_numbers

        made.append(check_numbers(path, document))
    if level >= 2:
        from pytest_saliency.evidence.level2 import check_maps

        made.append(check_maps(path, document))
    if level >= 3:
        from pytest_saliency.evidence.level3 import RootError, check_again

        try:
            made.append(check_again(path, document, root or Path.cwd()))
        except RootError as error:
            if not bad and not any(found.findings for found in made):
                raise
            made[-1].skipped.append(f"level 3 (the model again): {error}")  # what was found matters more
    return made
