"""What the stand-in knows about a group beside moto: where each instance is on its way, and the settings for tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from moto.autoscaling.models import InstanceState

from .activities import Activities, Activity
from .clock import brief
from .group import Group
from .hooks import Action, Hook
from .refreshes import Refresh

ON_THE_WAY_IN = ("Pending", "Pending:Wait", "Pending:Proceed")
COUNTED = (*ON_THE_WAY_IN, "InService")


@dataclass
class Stage:
    """An instance on its way in or out; `due` is when the time of the present state is over."""

    activity: Activity
    due: int
    actions: list[Action] = field(default_factory=list)


@dataclass
class Failures:
    """The next launches fail: `left` of them, or all when it is None."""

    message: str
    left: int | None


@dataclass
class Life:
    """One group. `at` is the group's own time: how far it has been carried on."""

    group: Group
    at: int
    ahead_ms: int = 0
    pending_ms: int = 0
    terminating_ms: int = 0
    health_ms: int = 0
    retry_ms: int = 5_000
    refresh_ms: int = 0
    asked: str = ""
    retry_at: int = 0
    failures: Failures | None = None
    activities: Activities = field(default_factory=Activities)
    hooks: dict[str, Hook] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    in_service_since: dict[str, int] = field(default_factory=dict)
    unhealthy_since: dict[str, int] = field(default_factory=dict)
    impaired: set[str] = field(default_factory=set)
    balancing: dict[str, str] = field(default_factory=dict)  # the newcomer, and whom it stands in for
    owed: list[str] = field(default_factory=list)  # why the next launches happen, if not for the size alone
    refreshes: list[Refresh] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)

    def counted(self) -> list[InstanceState]:
        """The instances that count towards the desired capacity."""
        return [one for one in self.group.instance_states if one.lifecycle_state in COUNTED]

    def missing(self) -> int:
        """How many instances are wanted beyond those that count; negative when there are too many."""
        return self.group.desired + len(self.balancing) - len(self.counted())

    def hooks_of(self, transition: str) -> list[Hook]:
        return [hook for hook in self.hooks.values() if hook.transition == transition]

    def cause(self, *sentences: str) -> str:
        """The cause of an activity: what was asked, then what followed, each with its time."""
        parts = [self.asked] if self.asked else []
        return "  ".join([*parts, *(f"At {brief(self.at)} {sentence}" for sentence in sentences)])

    def ask(self, sentence: str) -> None:
        """Somebody asked for another size."""
        self.asked, self.retry_at = f"At {brief(self.at)} {sentence}", 0

    def drop(self, instance_id: str) -> None:
        """The instance is no longer in the group."""
        self.stages.pop(instance_id, None)
        self.in_service_since.pop(instance_id, None)
        self.unhealthy_since.pop(instance_id, None)
        self.impaired.discard(instance_id)
        self.balancing = {new: old for new, old in self.balancing.items() if instance_id not in (new, old)}
