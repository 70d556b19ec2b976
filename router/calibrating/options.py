"""What the command line asks of a calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from policies.calibrating import Wanted
from policies.evidence import MAX_POSITIONS


class OptionsError(ValueError):
    """Options that cannot be used; one line that names the option and the fix."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options. `budget_s` None measures `per_domain` prompts of each domain, however long that takes."""

    prompts: Path
    url: str
    output: Path
    per_domain: int
    budget_s: float | None
    max_tokens: int
    ks: tuple[int, ...]
    temperatures: tuple[float, ...]
    top_ps: tuple[float, ...]
    batches: tuple[int, ...]
    seed: int
    api_key: str | None
    fresh: bool
    check: bool
    as_json: bool

    def wanted(self, *, reference_k: int, most_k: int) -> Wanted:
        """What is to be compared, within what the policy allows."""
        return Wanted(
            self.ks, reference_k, most_k, self.temperatures, self.top_ps, tuple(sorted(self.batches))
        )


def whole_numbers(option: str, text: str, *, most: int = MAX_POSITIONS) -> tuple[int, ...]:
    """`2,4,8` as numbers from 1 to `most`, without repetitions.

    Raises:
        OptionsError: It is something else.
    """
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError:
        found = ()
    if not found or not all(1 <= number <= most for number in found):
        raise OptionsError(f"{option}: {text!r}: expected whole numbers from 1 to {most}, like 2,4,8")
    return found


def numbers(option: str, text: str, *, least: float, most: float) -> tuple[float, ...]:
    """`0,0.7` as numbers from `least` to `most`, without repetitions.

    Raises:
        OptionsError: It is something else.
    """
    try:
        found = tuple(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError:
        found = ()
    if not found or not all(least <= number <= most for number in found):
        raise OptionsError(f"{option}: {text!r}: expected numbers from {least:g} to {most:g}, like {most:g}")
    return found
