"""What validation answers: a finding for each thing that is wrong, doubtful or worth knowing."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from msgspec import Struct

from executor.domain.errors import Code, Problem


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Finding(Struct, frozen=True, kw_only=True):
    """`code` of an error is the public contract's, of a warning the name of what is doubtful."""

    code: str
    severity: Severity
    message: str
    component_id: str | None = None
    field: str | None = None
    details: dict[str, Any] | None = None


class Report(Struct, frozen=True, kw_only=True):
    is_valid: bool
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    info: tuple[Finding, ...]

    def problems(self) -> list[Problem]:
        """The errors as a refusal states them."""
        return [
            Problem(
                Code(finding.code),
                finding.message,
                finding.field,
                (finding.details or {}) | ({"component_id": finding.component_id} if finding.component_id else {})
                or None,
            )
            for finding in self.errors
        ]


def report(findings: Iterable[Finding]) -> Report:
    by_severity: dict[Severity, list[Finding]] = {severity: [] for severity in Severity}
    for finding in findings:
        by_severity[finding.severity].append(finding)
    errors, warnings, info = (tuple(by_severity[severity]) for severity in Severity)
    return Report(is_valid=not errors, errors=errors, warnings=warnings, info=info)


def error(rule: str, message: str, field: str, component_id: str | None = None) -> Finding:
    """A wrong graph; `rule` says in one word which rule it breaks."""
    return Finding(
        code=Code.WORKFLOW_INVALID,
        severity=Severity.ERROR,
        message=message,
        field=field,
        component_id=component_id,
        details={"rule": rule},
    )


def warning(code: str, message: str, field: str, component_id: str | None = None) -> Finding:
    return Finding(code=code, severity=Severity.WARNING, message=message, field=field, component_id=component_id)
