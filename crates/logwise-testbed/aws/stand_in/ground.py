"""What is there before the first call: a network, a subnet and a launch template; and the way to moto's groups."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import cast

from moto.autoscaling.models import AutoScalingBackend, autoscaling_backends
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.instances import Instance

from . import ACCOUNT
from .group import Group, install

IMAGE = "ami-0123456789abcdef0"
TEMPLATE = "logwise-worker"
_WORKER = {"ImageId": IMAGE, "InstanceType": "m5.large"}

# Addresses of ended instances go back to the subnet late and in portions, the longest dead first: a
# program that still listens on an address should not meet its successor there.
_FEW_FREE = 32
_PORTION = 64
_LONGEST_OF_ZONES = 26


@dataclass(frozen=True)
class Ground:
    """The region's fixtures, by name."""

    region: str
    subnets: dict[str, str]  # by zone

    def groups(self) -> dict[str, Group]:
        """All Auto Scaling groups by name."""
        return cast("dict[str, Group]", _scaling(self.region).autoscaling_groups)

    def group_of(self, instance_id: str) -> Group | None:
        """The group that the instance is in now."""
        return next((group for group in self.groups().values() if group.member(instance_id)), None)

    def ec2(self) -> EC2Backend:
        """moto's EC2."""
        return _ec2(self.region)

    def add_template_version(self, name: str) -> int:
        """Makes a launch template of that name, or one more version of it; the number of the version."""
        ec2 = self.ec2()
        if name not in ec2.launch_template_name_to_ids:
            return int(ec2.create_launch_template(name, "", dict(_WORKER), {}).default_version_number)
        return int(ec2.get_launch_template_by_name(name).create_version(dict(_WORKER), "").number)

    def instance(self, instance_id: str) -> Instance | None:
        """A machine by its id, also when it has ended."""
        for reservation in self.ec2().reservations.values():
            for one in reservation.instances:
                if one.id == instance_id:
                    return one
        return None

    def last_group_of(self, instance_id: str) -> str | None:
        """The name of the group that launched the instance, also when the instance is gone."""
        group = getattr(self.instance(instance_id), "autoscaling_group", None)
        return None if group is None else str(group.name)

    def recycle_addresses(self) -> None:
        """Gives addresses of ended instances back to a subnet that runs low; moto never does."""
        for subnet_id in self.subnets.values():
            subnet = _ec2(self.region).get_subnet(subnet_id)
            if subnet.cidr.num_addresses - len(subnet._subnet_ips) > _FEW_FREE:
                continue
            ended = [ip for ip, owner in subnet._subnet_ips.items() if owner._state.name == "terminated"]
            for ip in ended[:_PORTION]:
                subnet.del_subnet_ip(ip)


def lay(region: str, subnet: str) -> Ground:
    """Makes the network and the launch template. moto gives instances .4, .5 and so on.

    Of the addresses the first zone gets half and two more a quarter each; a small subnet is one zone only.
    """
    cidr = ipaddress.IPv4Network(subnet)
    ec2 = _ec2(region)
    network = ec2.create_vpc(str(cidr.supernet(new_prefix=16)))
    parts = [cidr]
    if cidr.prefixlen <= _LONGEST_OF_ZONES:
        first, second = cidr.subnets(1)
        parts = [first, *second.subnets(1)]
    subnets = {
        f"{region}{letter}": str(ec2.create_subnet(network.id, str(part), availability_zone=f"{region}{letter}").id)
        for letter, part in zip("abc", parts, strict=False)
    }
    ec2.create_launch_template(TEMPLATE, "", dict(_WORKER), {})
    install(_scaling(region))
    return Ground(region, subnets)


def _scaling(region: str) -> AutoScalingBackend:
    return autoscaling_backends[ACCOUNT][region]


def _ec2(region: str) -> EC2Backend:
    return ec2_backends[ACCOUNT][region]
