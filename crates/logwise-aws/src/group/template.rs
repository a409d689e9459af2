//! Which instances run what the group would launch now.

use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance, LaunchTemplateSpecification};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What the group launches from, and what it launched last.
pub(super) struct Current<'a> {
    /// A launch configuration's name, for groups that still have one.
    configuration: Option<&'a str>,
    templates: Vec<&'a LaunchTemplateSpecification>,
    /// Version of the youngest instance, by template: what `$Latest` or `$Default` stood for when it was launched.
    youngest: BTreeMap<&'a str, (Option<Timestamp>, u64)>,
}

impl<'a> Current<'a> {
    /// By the group as it was read, and the time at which each instance was launched.
    pub fn of(group: &'a AutoScalingGroup, since: impl Fn(&str) -> Option<Timestamp>) -> Self {
        let mut youngest: BTreeMap<&str, (Option<Timestamp>, u64)> = BTreeMap::new();
        for instance in group.instances() {
            let Some((template, version)) = launched_from(instance) else { continue };
            let age = (instance.instance_id().and_then(&since), version);
            let known = youngest.entry(template).or_insert(age);
            *known = age.max(*known);
        }
        Self { configuration: group.launch_configuration_name.as_deref(), templates: templates(group), youngest }
    }

    /// Whether the instance runs what the group would launch now. True when that cannot be told.
    pub fn is_met_by(&self, instance: &Instance) -> bool {
        if self.configuration.is_some() {
            return instance.launch_configuration_name.as_deref() == self.configuration;
        }
        if self.templates.is_empty() {
            return true;
        }
        let Some((template, version)) = launched_from(instance) else { return false };
        let Some(wanted) = self.templates.iter().find(|wanted| key(wanted) == Some(template)) else { return false };
        match wanted.version().and_then(|version| version.parse::<u64>().ok()) {
            Some(wanted) => version == wanted,
            // `$Latest` or `$Default`: which that is now, another call would have to ask.
            None => self.youngest.get(template).is_none_or(|(_, youngest)| version == *youngest),
        }
    }
}

/// The templates that the group may launch from.
fn templates(group: &AutoScalingGroup) -> Vec<&LaunchTemplateSpecification> {
    let mixed = group.mixed_instances_policy().and_then(|policy| policy.launch_template.as_ref());
    let of_policy = mixed.and_then(|mixed| mixed.launch_template_specification.as_ref());
    let overrides = mixed.into_iter().flat_map(|mixed| mixed.overrides());
    let overrides = overrides.filter_map(|one| one.launch_template_specification.as_ref());
    group.launch_template.iter().chain(of_policy).chain(overrides).collect()
}

/// Template and version that the instance was launched from.
fn launched_from(instance: &Instance) -> Option<(&str, u64)> {
    let from = instance.launch_template.as_ref()?;
    Some((key(from)?, from.version()?.parse().ok()?))
}

fn key(template: &LaunchTemplateSpecification) -> Option<&str> {
    template.launch_template_id.as_deref().or(template.launch_template_name.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_autoscaling::types::{LaunchTemplate, LaunchTemplateOverrides, MixedInstancesPolicy};

    fn template(id: &str, version: Option<&str>) -> LaunchTemplateSpecification {
        LaunchTemplateSpecification::builder().launch_template_id(id).set_version(version.map(str::to_owned)).build()
    }

    fn instance(id: &str, version: &str) -> Instance {
        Instance::builder().instance_id(id).launch_template(template("lt-1", Some(version))).build()
    }

    fn group(wanted: Option<&str>) -> AutoScalingGroup {
        let instances = vec![instance("i-1", "1"), instance("i-2", "2"), instance("i-3", "3")];
        AutoScalingGroup::builder().launch_template(template("lt-1", wanted)).set_instances(Some(instances)).build()
    }

    /// Ids of the instances that are current, when the second was launched last.
    fn met(group: &AutoScalingGroup) -> Vec<&str> {
        let since = |id: &str| Timestamp::from_second(if id == "i-2" { 9 } else { 1 }).ok();
        let current = Current::of(group, since);
        group.instances().iter().filter(|one| current.is_met_by(one)).filter_map(|one| one.instance_id()).collect()
    }

    #[test]
    fn a_numbered_version_is_compared_and_a_moving_one_is_what_was_launched_last() {
        assert_eq!(met(&group(Some("3"))), ["i-3"]);
        for moving in [Some("$Latest"), Some("$Default"), None] {
            assert_eq!(met(&group(moving)), ["i-2"], "{moving:?}");
        }
        let current = group(Some("$Latest"));
        let unknown = Current::of(&current, |_| None);
        assert!(unknown.is_met_by(&instance("i-3", "3")) && !unknown.is_met_by(&instance("i-1", "1")));
    }

    #[test]
    fn another_template_or_none_is_old() {
        let current = group(Some("3"));
        let current = Current::of(&current, |_| None);
        let other = Instance::builder().launch_template(template("lt-2", Some("3"))).build();
        assert!(!current.is_met_by(&other) && !current.is_met_by(&Instance::builder().build()));
        let policy = LaunchTemplate::builder()
            .launch_template_specification(template("lt-1", Some("3")))
            .overrides(
                LaunchTemplateOverrides::builder().launch_template_specification(template("lt-2", Some("3"))).build(),
            )
            .build();
        let mixed = MixedInstancesPolicy::builder().launch_template(policy).build();
        let mixed = AutoScalingGroup::builder().mixed_instances_policy(mixed).build();
        assert!(Current::of(&mixed, |_| None).is_met_by(&other), "an override names its template");
    }

    #[test]
    fn a_launch_configuration_is_compared_by_name() {
        let group = AutoScalingGroup::builder().launch_configuration_name("lc-2").build();
        let current = Current::of(&group, |_| None);
        let from = |name: &str| Instance::builder().launch_configuration_name(name).build();
        assert!(current.is_met_by(&from("lc-2")) && !current.is_met_by(&from("lc-1")));
        let bare = AutoScalingGroup::builder().build();
        assert!(Current::of(&bare, |_| None).is_met_by(&from("lc-1")), "cannot be told");
    }
}
