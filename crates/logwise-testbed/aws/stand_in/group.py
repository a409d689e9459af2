"""moto's Auto Scaling group, made to remember its numbers only: `life` launches and ends its instances."""

from __future__ import annotations

from typing import Any

from moto.autoscaling import models
from moto.autoscaling.models import ASG_NAME_TAG, AutoScalingBackend, FakeAutoScalingGroup, InstanceState
from moto.ec2.models.instances import Instance, Reservation
from moto.ec2.models.launch_templates import LaunchTemplateVersion

# What DescribeAutoScalingGroups may be told to suspend.
PROCESSES = frozenset(
    """
    AddToLoadBalancer AlarmNotification AZRebalance HealthCheck InstanceRefresh Launch ReplaceUnhealthy
    ScheduledActions Terminate
    """.split()
)


class Member(InstanceState):
    """An instance that goes on knowing what it was launched from, whatever the group launches from by now."""

    def __init__(self, launched: Instance, origin: LaunchTemplateVersion | None) -> None:
        super().__init__(launched, lifecycle_state="Pending", protected_from_scale_in=False)
        self._origin = origin

    @property
    def launch_template(self) -> dict[str, Any] | None:
        if self._origin is None:
            return None
        template = self._origin.template
        return {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "Version": str(self._origin.number),
        }


class Group(FakeAutoScalingGroup):
    """A group whose desired capacity is a wish, as on AWS, and no command."""

    def set_desired_capacity(self, new_capacity: int | None) -> None:
        self.desired_capacity = self.min_size if new_capacity is None else new_capacity

    @property
    def desired(self) -> int:
        return int(self.desired_capacity or 0)

    def suspended(self, *processes: str) -> bool:
        """Whether any of these processes is suspended."""
        return any(name in self._suspended_processes for name in processes)

    def member(self, instance_id: str) -> InstanceState | None:
        """The instance, if the group has it."""
        return next((one for one in self.instance_states if one.instance_id == instance_id), None)

    def subnet_of(self, zone: str) -> str | None:
        """The group's subnet in a zone; None for a group without subnets."""
        for subnet_id in str(self.vpc_zone_identifier or "").split(","):
            if subnet_id and self.ec2_backend.get_subnet(subnet_id).availability_zone == zone:
                return subnet_id
        return None

    def run_instance(self, zone: str) -> InstanceState:
        """Starts one machine in a zone and takes it into the group, not yet in service."""
        template = self.ec2_launch_template
        origin = template.get_version(self.launch_template_version) if template else None
        reservation = self.ec2_backend.run_instances(
            self.image_id, 1, self.user_data, self.security_groups,
            instance_type=self.instance_type,
            tags={"instance": {**self.get_propagated_tags(), ASG_NAME_TAG: self.name, **self.instance_tags}},
            placement=zone,
            launch_config=self.launch_config,
            launch_template={"LaunchTemplateId": origin.template.id, "Version": origin.number} if origin else None,
            is_instance_type_default=True,  # spares a search through all types that there are
            associate_public_ip=self.launch_config.associate_public_ip_address if self.launch_config else None,
            subnet_id=self.subnet_of(zone),
        )  # fmt: skip
        launched = reservation.instances[0]
        self._keep_together(reservation)
        made: Any = launched
        made.autoscaling_group = self
        state = Member(launched, origin)
        self.instance_states.append(state)
        return state

    def _keep_together(self, new: Reservation) -> None:
        """One reservation per group: moto copies all of them at nearly every call."""
        kept = getattr(self, "reservation", None)
        if kept is not None and kept.id in self.ec2_backend.reservations:
            kept.instances.extend(new.instances)
            del self.ec2_backend.reservations[new.id]
        else:
            self.reservation = new


def install(backend: AutoScalingBackend) -> None:
    """Makes moto's Auto Scaling use the group above, and leaves it to `health` to notice machines that ended."""
    # moto names the class in one place only and has no other way to give it another one.
    setattr(models, "FakeAutoScalingGroup", Group)  # noqa: B010
    setattr(backend, "notify_terminate_instances", lambda instance_ids: None)  # noqa: B010
