"""What verifying a bundle says: findings (it was tampered with, or is no bundle), and what was not checked."""

from __future__ import annotations

from dataclasses import dataclass, field

TAMPERED = "TAMPERED WITH"
OTHER_BUNDLE = "NOT THE BUNDLE ASKED FOR"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written: found at which level, in which file, and what.

    ``headline``: what a bundle with this finding alone is called.
    """

    level: int
    file: str
    what: str
    headline: str = TAMPERED

    def __str__(self) -> str:
        return f"level {self.level}: {self.file}: {self.what}"


@dataclass
class Found:
    """Collects findings of one level, and sentences about what was checked and what was not.

    ``checked`` says what holds, ``skipped`` what was not checked and why, ``told`` what is neither. ``unrepeated``
    says what could not be run again, ``unlike`` in what the repository at hand is not the one of the run: both leave
    the bundle as it is.
    """

    level: int
    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    unrepeated: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)

    def add(self, file: str, what: str, headline: str = TAMPERED) -> None:
        """Note that ``file`` is not as it was written."""
        self.findings.append(Finding(self.level, file, what, headline))
