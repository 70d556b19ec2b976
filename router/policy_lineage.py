"""Which policy files were published, in which order, and whether a file that a router sees is news.

Kubernetes updates a ConfigMap's mounts node by node, up to minutes apart, and during a rollout old and new
pods mount different ones. A router must not take the file it still has for a change. So the store keeps the
line of files that were published, and each router knows how far along that line its own file is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

PRESET: Final = "preset"
"""Marks the built-in policy, whatever its text: a release changes it, not an edit."""

_KEPT: Final = 50


@dataclass(frozen=True, slots=True)
class FileLine:
    """Marks of the files that were published, oldest first.

    Attributes:
        marks: The last ones. A mark is a file's revision, or PRESET.
        number: How many there were in all, which is the number of the last one.
    """

    marks: tuple[str, ...] = ()
    number: int = 0

    def last(self, mark: str) -> int:
        """The number of the newest file with this mark, 0 when there is none."""
        numbered = reversed(list(enumerate(self.marks, self.number - len(self.marks) + 1)))
        return next((number for number, found in numbered if found == mark), 0)

    def next_after(self, place: int, mark: str) -> int:
        """The number of the first file with this mark behind `place`, 0 when there is none."""
        numbered = enumerate(self.marks, self.number - len(self.marks) + 1)
        return next((number for number, found in numbered if number > place and found == mark), 0)

    def contradicts(self, standing: Standing) -> bool:
        """Whether another file than the standing one has its number; one too old to be kept may be right."""
        position = standing.number - (self.number - len(self.marks)) - 1
        return position >= len(self.marks) or (position >= 0 and self.marks[position] != standing.mark)

    def followed_by(self, mark: str) -> FileLine:
        """The line with one file more."""
        return FileLine((*self.marks, mark)[-_KEPT:], self.number + 1)


class Standing(NamedTuple):
    """The file a router sees, and its number in the line; a number below the line's is an older file."""

    mark: str
    number: int


def standing(line: FileLine, mark: str, before: Standing | None, *, alone: bool) -> Standing | None:
    """Where the file that a router sees stands; None when it is news and should be published.

    A router that just started has nothing `before`. A file that is known, but is not the last, is then an old
    mount, if there are other routers to know better; of a router that is alone it is what the operator wants.
    Afterwards every change is compared with what follows the former file: a change that others saw before is
    found there, and one that is not there is news, even back to an older file.
    """
    if before is None:
        known = line.last(mark)
        return Standing(mark, known) if known and (known == line.number or not alone) else None
    if before.mark == mark and before.number and not line.contradicts(before):
        return before
    if before.mark == mark:
        return Standing(mark, line.last(mark))
    known = line.next_after(before.number, mark)
    return Standing(mark, known) if known else None
