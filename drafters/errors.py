"""What goes wrong while a drafter is made."""

from __future__ import annotations


class DraftError(Exception):
    """The drafter cannot be made from what was given. One line that names the place and says what to do."""
