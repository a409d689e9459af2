"""The EC2 side of a group's instances: how they end, and what is left to see of them."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import Instance

# How long EC2 still shows an ended instance by its id.
REMEMBERED_MS = 3_600_000


class Ended(Instance):
    """An ended instance: visible by its id, without any address."""

    @property
    def private_ip(self) -> str | None:
        return None

    @property
    def private_ip_address(self) -> str | None:
        return None

    @property
    def private_dns_name(self) -> str:
        return ""

    @property
    def public_ip(self) -> str | None:
        return None

    @property
    def public_ip_address(self) -> str | None:
        return None


def is_running(instance: Instance) -> bool:
    """Whether the machine runs."""
    return str(instance.state) == "running"


def shut_down(instance: Instance) -> None:
    """The machine is on its way out: no program runs on it, but it still has its address."""
    if is_running(instance):
        instance._state.name, instance._state.code = "shutting-down", 32


def end(instance: Instance) -> None:
    """The machine ends and loses its address."""
    if str(instance.state) != "terminated":
        instance.terminate()
    strip(instance)


def strip(instance: Instance) -> None:
    """Takes the address from an instance that has ended."""
    if str(instance.state) == "terminated" and not isinstance(instance, Ended):
        stripped: Any = instance
        # The subnet goes on knowing the address: it must not be given away soon.
        stripped.__class__ = Ended
        instance.nics = {}


def forget(backend: EC2Backend, instance_ids: set[str]) -> None:
    """EC2 no longer knows these."""
    for reservation in list(backend.reservations.values()):
        reservation.instances = [one for one in reservation.instances if one.id not in instance_ids]
        if not reservation.instances:
            del backend.reservations[reservation.id]
