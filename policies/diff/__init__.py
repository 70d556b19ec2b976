"""What changes for whom between two policies: effective values, each told once, where it is broadest."""

from policies.diff.compare import Difference, Where, differences
from policies.diff.hours import Hours

__all__ = ["Difference", "Hours", "Where", "differences"]
