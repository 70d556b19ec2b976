"""Whether a service that starts from a calibration decides like the one that was measured.

    python -m bench.calibrated_start spec_bench.jsonl --out calibrated --budget 20

Starts the embedded deployment and runs `specroute calibrate` on all prompts but the last of every domain.
That one is then asked five services, as each decides, without exploration:

1. `measured`: the one that was calibrated;
2. `warmed`: a new one with an empty store that answered the calibration's prompts once, as traffic;
3. `again`: another such one, by which chance of the two is told from a difference to the others;
4. `fresh`: a new one with an empty store, which starts from the calibration file, under the same policy;
5. `recommended`: the same under the recommended policy, which the report says where it sends each task.

What each knew of acceptance before is compared: these answers weigh a thousandth of one as evidence, or a
service would know more at the last domain than at the first. Evidence lasts, with a half-life of 24 hours.

Prints a row for each domain, writes calibrated.json with what each side ran on, and leaves calibration and
report in the folder. The same command goes on where it stopped. Exit code 1 where a fresh service takes
another route than warmed ones that agree, or the recommended policy another than its report says where the
report does not call it close; 2 where something given is wrong. Routes and k are compared, not pools: k = 0
is the same on every pool whose drafter copies, and which has a prompt's prefix decides between them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from bench.results import BenchError, Recording, write
from bench.serving import Serving, policy

SIDES: Final = ("measured", "warmed", "again", "fresh", "recommended")
_NO_CHANCE: Final = {"share": 0, "max_share": 0}
_LASTING: Final = "24h"
_TIMEOUT: Final = httpx.Timeout(600, connect=10)
_MAX_TOKENS: Final = 64
"""Like the answers of the calibration: how long an answer may get has a part in decisions."""
_NEXT_TO_NOTHING: Final = "0.001"
_DIFFERS: Final = 1
_BAD_INPUT: Final = 2

Decisions = Mapping[str, Mapping[str, Any]]
"""By domain: `task`, `route`, `profile`, `k`, `alpha`, `expected_speedup` and `reason` of one request."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrate and compare; `arguments` are the command line's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("prompts", type=Path, help="JSON Lines, as `specroute calibrate` takes them")
    parser.add_argument("--out", type=Path, required=True, help="folder of services, calibration and figures")
    parser.add_argument("--budget", type=float, default=20, help="minutes of the calibration")
    parser.add_argument("--profiles", type=Path, help="YAML with `profiles` of the deployment, of your own")
    given = parser.parse_args(arguments)
    try:
        rest, asked = parted(given.prompts)
        calibrating = written(given.out / "prompts.jsonl", rest)
        recording = Recording("calibrated-start", {"budget_min": given.budget, "domains": len(asked)})
        report, kept = measured(given, calibrating, asked)
        rows = compared(report, kept.sides)
        write(given.out, "calibrated", recording.document({"rows": rows, "sides": kept.ran}))
    except BenchError as error:
        print(error, file=sys.stderr)
        return _BAD_INPUT
    print(*(json.dumps(row) for row in rows), sep="\n")
    agree = all(
        (row["same_route"] or row["warmed_differ"]) and (row["as_reported"] or row["close"]) for row in rows
    )
    return 0 if agree else _DIFFERS


def parted(file: Path) -> tuple[list[str], dict[str, str]]:
    """The lines to calibrate with, and of every domain the last prompt, which is not among them.

    Raises:
        BenchError: There is no such file of prompts, or a domain has only one.
    """
    lines: dict[str, list[tuple[str, str]]] = {}
    try:
        for line in file.read_text(encoding="utf-8").strip("\n").split("\n"):
            row = json.loads(line)
            text = _text(row)
            names = (row[key] for key in ("domain", "segment", "task", "category") if row.get(key))
            lines.setdefault(next(names), []).append((f"{line}\n", text))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise BenchError(f"{file}: not prompts with domains ({error!r}): see docs/calibrate.md") from error
    for domain, own in lines.items():
        if len(own) == 1:
            raise BenchError(
                f"{file}: domain {domain!r} has one prompt: it needs another to be compared with"
            )
    rest = [line for own in lines.values() for line, _ in own[:-1]]
    return rest, {domain: own[-1][1] for domain, own in lines.items()}


def _text(row: Mapping[str, Any]) -> str:
    return str(row.get("prompt") or (row.get("turns") or [None])[0] or row["messages"][-1]["content"])


def written(file: Path, lines: Sequence[str]) -> Path:
    """The file, with these lines.

    Raises:
        BenchError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror or error}: name another folder with --out") from error
    return file


def measured(
    given: argparse.Namespace, prompts: Path, asked: Mapping[str, str]
) -> tuple[dict[str, Any], Kept]:
    """The calibration's report, and what each service decides.

    Raises:
        BenchError: A service does not start or answer, or the calibration fails.
    """
    profiles: dict[str, Any] = {}
    if given.profiles is not None:
        profiles = {"profiles": yaml.safe_load(given.profiles.read_text("utf-8"))["profiles"]}
    under = policy("calibrated", exploration=_NO_CHANCE, acceptance={"half_life": _LASTING})
    output = given.out / "calibration"
    decided = Kept(given.out / "decided.json")

    def decide(side: str, args: Mapping[str, Any], policy_of: Any, before: Callable[[str], None]) -> None:
        if side in decided.sides:
            return
        service = Serving(given.out / side, args, policy_of)
        recording = Recording(side, {})
        try:
            service.start()
            service.wait_until_ready()
            service.wait_until_rehearsed()
            before(service.url)
            decided.keep(side, decisions(service.url, asked), recording)
        finally:
            service.end()

    decide("measured", profiles, under, lambda url: calibrated(prompts, url, output, given.budget))
    for side in ("warmed", "again"):
        decide(side, profiles, under, lambda url: warmed(url, used(prompts, output / "journal.jsonl")))
    seeded = {**profiles, "calibration": str((output / "calibration.json").absolute())}
    decide("fresh", seeded, under, lambda _: None)
    recommended = yaml.safe_load((output / "policy.yaml").read_text("utf-8"))
    decide("recommended", seeded, recommended, lambda _: None)
    report: dict[str, Any] = json.loads((output / "results.json").read_text("utf-8"))
    return report, decided


class Kept:
    """What services decided, in a file, so that a run goes on where it was stopped.

    Attributes:
        sides: The decisions of each.
        ran: When each was started, at which commit, for how long, and the machine's load.
    """

    def __init__(self, file: Path) -> None:
        """What the file has, if it is there."""
        self._file = file
        known = json.loads(file.read_text("utf-8")) if file.exists() else {}
        self.sides: dict[str, Decisions] = known.get("decided", {})
        self.ran: dict[str, Mapping[str, Any]] = known.get("ran", {})

    def keep(self, side: str, found: Decisions, recording: Recording) -> None:
        """Add a service's decisions."""
        self.sides[side] = found
        told = recording.document({})
        load = {"load": told["machine"]["load"], "load_after": told["machine"]["load_after"]}
        self.ran[side] = {name: told[name] for name in ("date", "seconds", "commit")} | load
        written(self._file, [json.dumps({"decided": self.sides, "ran": self.ran}, indent=1)])


def calibrated(prompts: Path, url: str, output: Path, budget: float) -> None:
    """Run `specroute calibrate`.

    Raises:
        BenchError: It ends with another exit code than 0.
    """
    program = Path(sys.executable).with_name("specroute")
    command = [str(program), "calibrate", str(prompts), "--url", url, "--output", str(output)]
    done = subprocess.run(
        [*command, "--budget", str(budget), "--json"], stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise BenchError(f"specroute calibrate ended with {done.returncode}: see what it said")


def used(prompts: Path, journal: Path) -> list[str]:
    """The text of every prompt that the calibration asked, each once, by its journal."""
    names = set()
    for line in journal.read_text("utf-8").splitlines():
        names |= {answer["prompt"] for answer in json.loads(line).get("answers", ())}
    rows = [json.loads(line) for line in prompts.read_text("utf-8").splitlines()]
    return [_text(row) for number, row in enumerate(rows, 1) if row.get("id", f"line-{number}") in names]


def warmed(url: str, texts: Sequence[str]) -> None:
    """Have all of them answered, one after the other.

    Raises:
        BenchError: The service does not answer.
    """
    for _ in asked_of(url, texts):
        pass


def decisions(url: str, asked: Mapping[str, str]) -> Decisions:
    """What becomes of one greedy request of every domain, of which the service learns next to nothing.

    Raises:
        BenchError: The service does not answer.
    """
    keys = ("task", "route", "profile", "k", "alpha", "expected_speedup", "reason")
    told = asked_of(url, asked.values(), weight=_NEXT_TO_NOTHING)
    return {domain: {key: one[key] for key in keys} for domain, one in zip(asked, told, strict=True)}


def asked_of(url: str, texts: Iterable[str], *, weight: str = "1") -> Iterator[dict[str, Any]]:
    """The details of the service's answer to each text, greedy; each counts as evidence by its weight.

    Raises:
        BenchError: The service does not answer.
    """
    headers = {"X-Specroute-Details": "1", "X-Specroute-Weight": weight}
    try:
        with httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False) as client:
            model = client.get("/v1/models").raise_for_status().json()["data"][0]["id"]
            for text in texts:
                body = {
                    "model": model,
                    "messages": [{"role": "user", "content": text}],
                    "temperature": 0,
                    "max_tokens": _MAX_TOKENS,
                }
                answer = client.post("/v1/chat/completions", json=body, headers=headers)
                yield answer.raise_for_status().json()["specroute"]
    except (httpx.HTTPError, LookupError, ValueError) as error:
        raise BenchError(f"the service does not answer ({error!r})") from error


def compared(report: Mapping[str, Any], decided: Mapping[str, Decisions]) -> list[dict[str, Any]]:
    """A row for each domain: what each service decided, and what the report says of the policy it recommends.

    `same_route` and `same_k` are the fresh service's against the warmed one's, `measured_route` against that
    of the one that was calibrated; `warmed_differ` is whether the two warmed ones take different routes, so
    that a fresh one cannot be like both; `as_reported` is whether the recommended policy's route is the
    report's, true where the report does not know the task; `close` is whether the report calls it so.
    """
    expected = {one["task"]: one for one in report["policy"]["expected"] if one["temperature"] == "low"}
    rows = []
    for domain, warmed in decided["warmed"].items():
        again, fresh, recommended = (decided[side][domain] for side in ("again", "fresh", "recommended"))
        told = expected.get(recommended["task"], {})
        reported = told.get("route")
        rows.append(
            {
                "domain": domain,
                "task": warmed["task"],
                **{side: decided[side][domain] for side in SIDES},
                "same_route": fresh["route"] == warmed["route"],
                "warmed_differ": again["route"] != warmed["route"],
                "same_k": fresh["k"] == warmed["k"],
                "measured_route": fresh["route"] == decided["measured"][domain]["route"],
                "reported": reported,
                "as_reported": reported in {None, recommended["route"]},
                "close": bool(told.get("close")),
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
