"""Thresholds at the measured break-even, per task and tenant, with the evidence for them."""

from policies.suggest.evidence import Evidence, EvidenceError, read_evidence
from policies.suggest.suggestions import Suggestion, changes, suggest

__all__ = ["Evidence", "EvidenceError", "Suggestion", "changes", "read_evidence", "suggest"]
