"""A drafter of another style goes stale, is refreshed, and a worse one is refused: on recorded answers.

`specroute draft train --record-only` records answers to prompts of every task. This program takes two groups
of tasks as two styles of traffic:

1. A drafter learns from the first style. On the second one it is stale: that is the drift.
2. It learns on from answers of the second style, and both draft over answers of the second style that neither
   learned from. The refresh is right when the interval of the gain lies above zero.
3. For comparison a drafter learns from the second style alone as long as both trainings took together: the
   share of the lost acceptance length that the refresh brought back.
4. A candidate that is worse, the stale drafter again in the refreshed one's place, must be refused.

    python -m bench.refresh_after_drift ANSWERS --model MODEL --out FOLDER --json refresh.json

Needs no engine: acceptance is counted as engines count it (docs/drafters.md). With some 100,000 answer tokens
and two cores it takes a quarter of an hour; --answers takes fewer. Interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from bench.results import Recording
from drafters.comparing import Comparison
from drafters.corpus import Place
from drafters.errors import DraftError
from drafters.judging import judge
from drafters.learning import LearnSettings
from drafters.recording import Recorded, recorded
from drafters.refreshing import LEARN, Drafter, continued, places_of
from drafters.target import Target
from drafters.tokenizing import target_tokens
from drafters.training import MEASURED_K, SizeSettings, Training

STYLES: Final = (
    ("code", "sql", "structured", "extraction"),
    ("creative", "chat", "support", "legal"),
)
_CONFIDENCE: Final = 0.95
_NEGATIVE: Final = 1
_BAD_INPUT: Final = 2
_MEASURED_SHARE: Final = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where the refresh was promoted and the worse candidate refused, 1 where not, 2 for bad input."""
    given = _given(arguments)
    torch.set_num_threads(given.threads)
    recording = Recording("refresh", _settings(given))
    try:
        found = recording.document(shown(given))
    except DraftError as error:
        _say(f"refresh_after_drift: {error}")
        return _BAD_INPUT
    text = json.dumps(found, indent=1)
    if given.json is not None:
        given.json.write_text(f"{text}\n", "utf-8")
    print(text)
    return 0 if found["promoted"] and not found["worse_promoted"] else _NEGATIVE


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    """All but where things are on this machine."""
    return {name: value for name, value in vars(given).items() if not isinstance(value, Path)}


def shown(given: argparse.Namespace) -> dict[str, Any]:
    """All four steps.

    Raises:
        DraftError: The answers or the model cannot be read, or there are too few answers of a style.
    """
    target = Target.load(given.model)
    ends = target_tokens(given.model).ends
    answers = recorded(given.answers_folder, source=None, say=_say)
    styles = [style.split(",") for style in (given.before, given.after)]
    first, second = (_style(answers, tasks, given.answers) for tasks in styles)
    measured = [place for place in places_of(second) if _is_measured(place)]
    learned = _filtered(second, {place.entry.request.ident for place in measured}, keep=False)
    families = {place.entry.request.ident: place.entry.request.ident for place in measured}
    size = SizeSettings(given.draft_vocabulary, given.intermediate)
    learn = LearnSettings(epochs=given.epochs, measure_steps=given.measure_steps)

    def fresh(name: str, data: Recorded, epochs: int) -> Drafter:
        _say(f"{name}: {data.answered:,} answer tokens")
        training = Training(
            _folder(given.out / name),
            target,
            data,
            size=size,
            learn=replace(learn, epochs=epochs),
            ends=ends,
            say=_say,
        )
        trained = training.run()
        return Drafter(trained.head, trained.draft_tokens)

    def compared(old: Drafter, new: Drafter) -> Comparison:
        return judge(target, old, new, measured, families=families, k=MEASURED_K, confidence=_CONFIDENCE)

    stale = fresh("before", first, given.epochs)
    _say(f"refresh: {learned.answered:,} answer tokens")
    refreshed, _ = continued(
        _folder(given.out / "refreshed"),
        target,
        learned,
        stale,
        learn=replace(LEARN, epochs=given.refresh_epochs, measure_steps=given.measure_steps),
        ends=ends,
        say=_say,
    )
    restored, worse = compared(stale, refreshed), compared(refreshed, stale)
    epochs = given.epochs + given.refresh_epochs if given.native_epochs is None else given.native_epochs
    best = compared(stale, fresh("native", learned, epochs)) if epochs else None
    lost = (best.length.gain or 0.0) if best is not None else 0.0
    return {
        "before": styles[0],
        "after": styles[1],
        "k": MEASURED_K,
        "answer_tokens": {"before": first.answered, "after": learned.answered},
        "refresh": restored.document(),
        "promoted": restored.is_better(0.0),
        "native": None if best is None else best.document(),
        "restored_share": (restored.length.gain or 0.0) / lost if lost > 0 else None,
        "worse": worse.document(),
        "worse_promoted": worse.is_better(0.0),
    }


def _style(answers: Recorded, tasks: Collection[str], most: int | None) -> Recorded:
    """The answers of some tasks, up to so many; the same in every run."""
    places = [place for place in places_of(answers) if place.entry.request.task in tasks]
    if not places:
        raise DraftError(f"no answers of the tasks {', '.join(tasks)}: name others, or record more")
    idents = sorted(place.entry.request.ident for place in places)
    random.Random(0).shuffle(idents)
    return _filtered(answers, set(idents[:most]), keep=True)


def _filtered(answers: Recorded, idents: Collection[str], *, keep: bool) -> Recorded:
    shards = (
        replace(
            shard,
            entries=tuple(entry for entry in shard.entries if (entry.request.ident in idents) == keep),
        )
        for shard in answers.shards
    )
    return Recorded(tuple(shard for shard in shards if shard.entries))


def _is_measured(place: Place) -> bool:
    """A quarter of the answers: those whose name says so, held out or not."""
    return not place.entry.request.held_out and int(place.entry.request.ident[:8], 16) % _MEASURED_SHARE == 0


def _folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("answers_folder", type=Path, help="recorded answers: the folder `answers` of a run")
    parser.add_argument("--model", type=Path, required=True, help="the target they are of")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints go")
    parser.add_argument("--json", type=Path, help="where the figures go too")
    parser.add_argument("--before", default=",".join(STYLES[0]), help="tasks of the first style")
    parser.add_argument("--after", default=",".join(STYLES[1]), help="tasks of the second style")
    parser.add_argument("--answers", type=int, help="answers of a style, at most")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--refresh-epochs", type=int, default=4)
    parser.add_argument("--native-epochs", type=int, help="of the third step [both trainings']; 0 skips it")
    parser.add_argument("--measure-steps", type=int, default=40)
    parser.add_argument("--draft-vocabulary", type=int, default=8192)
    parser.add_argument("--intermediate", type=int, default=1536)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
