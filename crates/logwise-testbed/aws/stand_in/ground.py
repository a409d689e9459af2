"""What is there before the first call: a network, a subnet and a launch template; and the way to moto's groups."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, autoscaling_backends
from moto.ec2.exceptions import InvalidInstanceIdError
from moto.ec2.models import EC2Backend, ec2_backends

from . import ACCOUNT

IMAGE = "ami-0123456789abcdef0"
TEMPLATE = "logwise-worker"

# Addresses of ended instances go back to the subnet late and in portions, the longest dead first: a
# program that still listens on an address should not meet its successor there.
_FEW_FREE = 32
_PORTION = 64


@dataclass(frozen=True)
class Ground:
    """The region's fixtures, by name."""

    region: str
    zone: str
    subnet: str
    cidr: ipaddress.IPv4Network

    def groups(self) -> dict[str, FakeAutoScalingGroup]:
        """All Auto Scaling groups by name."""
        return _scaling(self.region).autoscaling_groups

    def group_of(self, instance_id: str) -> FakeAutoScalingGroup | None:
        """The group that the instance is in now."""
        for group in self.groups().values():
            if any(state.instance_id == instance_id for state in group.instance_states):
                return group
        return None

    def last_group_of(self, instance_id: str) -> str | None:
        """The name of the group that launched the instance, also when the instance is gone."""
        try:
            instance = _ec2(self.region).get_instance(instance_id)
        except InvalidInstanceIdError:
            return None
        group = getattr(instance, "autoscaling_group", None)
        return None if group is None else str(group.name)

    def recycle_addresses(self) -> None:
        """Gives addresses of ended instances back to the subnet when it runs low; moto never does."""
        subnet = _ec2(self.region).get_subnet(self.subnet)
        if self.cidr.num_addresses - len(subnet._subnet_ips) > _FEW_FREE:
            return
        ended = [ip for ip, owner in subnet._subnet_ips.items() if owner._state.name == "terminated"]
        for ip in ended[:_PORTION]:
            subnet.del_subnet_ip(ip)


def lay(region: str, subnet: str) -> Ground:
    """Makes the network and the launch template. moto gives instances .4, .5 and so on."""
    cidr = ipaddress.IPv4Network(subnet)
    ec2 = _ec2(region)
    zone = f"{region}a"
    network = ec2.create_vpc(str(cidr.supernet(new_prefix=16)))
    made = ec2.create_subnet(network.id, str(cidr), availability_zone=zone)
    ec2.create_launch_template(TEMPLATE, "", {"ImageId": IMAGE, "InstanceType": "m5.large"}, {})
    return Ground(region, zone, str(made.id), cidr)


def _scaling(region: str) -> AutoScalingBackend:
    return autoscaling_backends[ACCOUNT][region]


def _ec2(region: str) -> EC2Backend:
    return ec2_backends[ACCOUNT][region]
