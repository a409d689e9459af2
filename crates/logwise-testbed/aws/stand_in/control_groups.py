"""Control of Auto Scaling groups: making them, ending them, looking at them."""

from __future__ import annotations

import ipaddress
from typing import Any

from moto.autoscaling.models import FakeAutoScalingGroup, InstanceState

from .app import StandIn
from .call import Refusal
from .ground import TEMPLATE
from .identify import form_call
from .reply import message_of
from .wish import Fields, Query


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
            "VPCZoneIdentifier": self._ground.subnet,
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

    def show(self, query: Query, wish: Any) -> Any:
        with self._stand_in.serial:
            if "name" in query:
                return _group(self._named(query))
            return [_group(group) for group in self._ground.groups().values()]

    def instances(self, query: Query, wish: Any) -> Any:
        with self._stand_in.serial:
            return [
                {
                    "id": state.instance_id,
                    "group": group.name,
                    "private_ip": state.instance.private_ip,
                    "tags": _tags(group),
                }
                for group in self._ground.groups().values()
                for state in _by_address(group)
                if state.lifecycle_state == "InService"
            ]

    def _named(self, query: Query) -> FakeAutoScalingGroup:
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


def _tags(group: FakeAutoScalingGroup) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in group.tags}


def _by_address(group: FakeAutoScalingGroup) -> list[InstanceState]:
    return sorted(group.instance_states, key=lambda state: ipaddress.ip_address(str(state.instance.private_ip)))


def _group(group: FakeAutoScalingGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "min": group.min_size,
        "max": group.max_size,
        "desired": group.desired_capacity,
        "instances": [
            {
                "id": state.instance_id,
                "private_ip": state.instance.private_ip,
                "lifecycle_state": state.lifecycle_state,
                "health": state.health_status,
                "protected": bool(state.protected_from_scale_in),
            }
            for state in _by_address(group)
        ],
        "tags": _tags(group),
    }
