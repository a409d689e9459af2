"""Control of Auto Scaling groups: making them, ending them, looking at them."""

from __future__ import annotations

import ipaddress
from typing import Any

from moto.autoscaling.models import InstanceState

from . import machines
from .app import StandIn
from .call import Refusal
from .ground import TEMPLATE
from .group import Group
from .identify import form_call
from .reply import message_of
from .wish import BadWish, Fields, Query


class Groups:
    """Routes about groups; every change goes through the same checks as an AWS call."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._ground = stand_in.ground

    def create(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        name = fields.need("name", str)
        tags = fields.maybe("tags", dict) or {}
        form = {
            "Action": "CreateAutoScalingGroup",
            "AutoScalingGroupName": name,
            "MinSize": str(fields.need("min", int)),
            "MaxSize": str(fields.need("max", int)),
            "DesiredCapacity": str(fields.need("desired", int)),
            "LaunchTemplate.LaunchTemplateName": TEMPLATE,
            "VPCZoneIdentifier": self._subnets(fields.maybe("zones", list)),
            "NewInstancesProtectedFromScaleIn": str(bool(fields.maybe("protected", bool))).lower(),
        }
        fields.done()
        for number, (key, value) in enumerate(tags.items(), 1):
            form[f"Tags.member.{number}.Key"] = str(key)
            form[f"Tags.member.{number}.Value"] = str(value)
            form[f"Tags.member.{number}.PropagateAtLaunch"] = "true"
        self._perform(form)
        return self.show(Query(name=name), None)

    def delete(self, query: Query, wish: Any) -> Any:
        form = {"AutoScalingGroupName": self._named(query).name, "ForceDelete": "true"}
        self._perform({"Action": "DeleteAutoScalingGroup", **form})
        return {}

    def add_template_version(self, query: Query, wish: Any) -> Any:
        """A launch template, or one more version of it."""
        fields = Fields(wish)
        name = fields.need("name", str)
        fields.done()
        with self._stand_in.serial:
            return {"name": name, "version": self._ground.add_template_version(name)}

    def _subnets(self, letters: list[Any] | None) -> str:
        known = self._ground.subnets
        zones = [f"{self._ground.region}{letter}" for letter in letters or ["a"]]
        if any(zone not in known for zone in zones):
            raise BadWish(f"zones must be some of {', '.join(zone[-1] for zone in known)}")
        return ",".join(known[zone] for zone in zones)

    def show(self, query: Query, wish: Any) -> Any:
        with self._stand_in.serial:
            self._stand_in.lives.advance([query["name"]] if "name" in query else ())
            if "name" in query:
                return _group(self._named(query))
            return [_group(group) for group in self._ground.groups().values()]

    def instances(self, query: Query, wish: Any) -> Any:
        """Those in service, or with `running=true` all whose machine runs, also before and after service."""
        every = query.get("running") == "true"
        with self._stand_in.serial:
            self._stand_in.lives.advance()
            return [
                {
                    "id": state.instance_id,
                    "group": group.name,
                    "private_ip": state.instance.private_ip,
                    "lifecycle_state": state.lifecycle_state,
                    "zone": state.availability_zone,
                    "tags": _tags(group),
                }
                for group in self._ground.groups().values()
                for state in _by_address(group)
                if machines.is_running(state.instance) and (every or state.lifecycle_state == "InService")
            ]

    def _named(self, query: Query) -> Group:
        name = query.need("name")
        group = self._ground.groups().get(name)
        if group is None:
            raise Refusal(404, "NotFound", f"there is no group {name}")
        return group

    def _perform(self, form: dict[str, str]) -> None:
        call = form_call(self._ground.region, "autoscaling", form)
        with self._stand_in.serial:
            reply = self._stand_in.perform(call)
        if reply.status >= 400:
            raise Refusal(reply.status, reply.code or "Unknown", message_of(reply.body) or "")


def _tags(group: Group) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in group.tags}


def _by_address(group: Group) -> list[InstanceState]:
    """In the order of the addresses; those that have none any more come first."""
    return sorted(group.instance_states, key=lambda state: ipaddress.ip_address(state.instance.private_ip or "0.0.0.0"))


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "min": group.min_size,
        "max": group.max_size,
        "desired": group.desired_capacity,
        "instances": [
            {
                "id": state.instance_id,
                "private_ip": state.instance.private_ip or "",
                "lifecycle_state": state.lifecycle_state,
                "zone": state.availability_zone,
                "health": state.health_status,
                "protected": bool(state.protected_from_scale_in),
            }
            for state in _by_address(group)
        ],
        "tags": _tags(group),
    }
