"""Routers that share policies through one store, their rounds played by hand."""

from collections.abc import Callable
from pathlib import Path

from fakes import Clock, policy_text

from router.policy_changes import PolicyChanges, Signature
from router.policy_protocol import PolicyStore
from router.policy_source import PolicySource
from router.policy_sync import PolicySync, PolicySyncSettings

ANY: Callable[[str], bool] = lambda _: True  # noqa: E731


class PolicyRouter:
    """A router with a policy file of its own; a round reads the file and asks the store, a second later."""

    def __init__(
        self, folder: Path, store: PolicyStore, timer: Clock, *, text: str | None = "", alone: bool = False
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.file = folder / "policy.yaml"
        self.store = store
        if text is not None:
            self.file.write_text(text or policy_text("first"))
        self.timer = timer
        self.source = PolicySource(
            self.file if text is not None else None, clock=timer, may_start_without_file=True
        )
        self.sync = PolicySync(
            self.source,
            settings=PolicySyncSettings(abandoned_after_s=100.0),
            alone=alone,
            clock=timer,
            timer=timer,
        )
        self.changes = PolicyChanges(self.sync, timer)

    async def started(self) -> "PolicyRouter":
        """After the first word with the store."""
        await self.sync.start(self.store)
        return self

    async def round(self) -> str:
        """One round later: the name of the policy in force."""
        self.timer.now_s += 1.0
        await self.sync.round()
        return self.name

    async def edit(self, name: str) -> str:
        """Change the file, one round later: the name of the policy in force."""
        self.file.write_text(policy_text(name))
        return await self.round()

    async def put(self, name: str, matches: Callable[[str], bool] = ANY) -> str:
        """An operator puts a policy: the name of the one in force."""
        policy, _ = await self.changes.check(policy_text(name).encode())
        await self.changes.put(policy, matches, Signature("ann", "why"))
        return self.name

    async def roll_back(self) -> str:
        """An operator goes back: the name of the policy in force."""
        await self.changes.roll_back(None, ANY, Signature())
        return self.name

    @property
    def name(self) -> str:
        """The name of the policy in force."""
        return self.source.state.name
