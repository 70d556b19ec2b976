"""Values of a request as the engine will understand them: vLLM's models are lax, and take "8" for 8."""

from __future__ import annotations

import math


def number(given: object) -> float | None:
    """A number, or a text that pydantic takes for one; infinite where too large, None where it is none."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        return float(given)
    except OverflowError:
        return math.inf if int(given) > 0 else -math.inf
    except ValueError:
        return None
