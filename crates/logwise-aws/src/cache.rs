//! Which clients are kept, and for how long.

use crate::identity::Fingerprint;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Values per identity and region. One that nobody asked for during `idle` is dropped, and so is one of a pipeline
/// that now calls as somebody else.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    idle: Duration,
    kept: HashMap<(Fingerprint, String), Kept<V>>,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    used: Instant,
    /// External id of the pipeline; `None`: shared by all that use the operator's own credentials.
    pipeline: Option<String>,
}

/// What a value is kept for.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub fingerprint: Fingerprint,
    pub region: &'a str,
    pub pipeline: Option<&'a str>,
}

impl<V: Clone> Cache<V> {
    pub fn new(idle: Duration) -> Self {
        Self { idle, kept: HashMap::new() }
    }

    pub fn get(&mut self, key: Key<'_>, now: Instant, build: impl FnOnce() -> V) -> V {
        let place = (key.fingerprint, key.region.to_owned());
        let idle = self.idle;
        self.kept.retain(|(fingerprint, region), kept| {
            let replaced = key.pipeline.is_some()
                && kept.pipeline.as_deref() == key.pipeline
                && region == key.region
                && *fingerprint != key.fingerprint;
            let asked = *fingerprint == key.fingerprint && region == key.region;
            asked || (!replaced && now.saturating_duration_since(kept.used) < idle)
        });
        let kept = self.kept.entry(place).or_insert_with(|| Kept {
            value: build(),
            used: now,
            pipeline: key.pipeline.map(str::to_owned),
        });
        kept.used = now;
        kept.value.clone()
    }

    pub fn forget(&mut self, pipeline: &str) {
        self.kept.retain(|_, kept| kept.pipeline.as_deref() != Some(pipeline));
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Base, Identity, Pipeline, Salt, StaticKeys};

    const IDLE: Duration = Duration::from_secs(60);

    struct Case {
        cache: Cache<u32>,
        salt: Salt,
        start: Instant,
        built: u32,
    }

    impl Case {
        fn new() -> Self {
            Self { cache: Cache::new(IDLE), salt: Salt::draw(), start: Instant::now(), built: 0 }
        }

        fn get(&mut self, pipeline: &str, secret: &str, region: &str, at: u64) -> u32 {
            let keys = StaticKeys::new("AKIA".into(), secret.into(), None).unwrap();
            let of = Pipeline { installation: "i", namespace: "n", name: pipeline };
            let identity = Identity::new(of, Base::Static(keys), None);
            let fingerprint = self.salt.fingerprint(&identity);
            let key = Key { fingerprint, region, pipeline: Some(identity.external_id()) };
            let built = &mut self.built;
            self.cache.get(key, self.start + Duration::from_secs(at), || {
                *built += 1;
                *built
            })
        }
    }

    #[test]
    fn equal_identities_share_and_regions_do_not() {
        let mut case = Case::new();
        assert_eq!([case.get("a", "s", "r1", 0), case.get("a", "s", "r1", 1), case.get("a", "s", "r2", 2)], [1, 1, 2]);
        assert_eq!(case.get("b", "s", "r1", 3), 3, "another pipeline");
        assert_eq!(case.cache.len(), 3);
    }

    #[test]
    fn a_changed_key_replaces_the_clients_at_once() {
        let mut case = Case::new();
        assert_eq!([case.get("a", "old", "r1", 0), case.get("b", "old", "r1", 0)], [1, 2]);
        assert_eq!(case.get("a", "new", "r1", 1), 3);
        assert_eq!(case.cache.len(), 2, "the old clients of a are gone, those of b are not");
        assert_eq!(case.get("b", "old", "r1", 2), 2);
    }

    #[test]
    fn the_unused_and_the_forgotten_go() {
        let mut case = Case::new();
        case.get("a", "s", "r1", 0);
        case.get("b", "s", "r1", 59);
        assert_eq!(case.get("c", "s", "r1", 60), 3);
        assert_eq!(case.cache.len(), 2, "a was not used for a minute");
        assert_eq!(case.get("b", "s", "r1", 118), 2, "use keeps");
        case.cache.forget("i/n/b");
        assert_eq!((case.cache.len(), case.get("b", "s", "r1", 119)), (1, 4));
    }

    #[test]
    fn shared_clients_are_not_replaced_by_others_of_no_pipeline() {
        let mut cache = Cache::new(IDLE);
        let salt = Salt::draw();
        let pipeline = Pipeline { installation: "i", namespace: "n", name: "a" };
        let plain = salt.fingerprint(&Identity::new(pipeline, Base::Ambient, None));
        let now = Instant::now();
        let shared = Key { fingerprint: plain, region: "r", pipeline: None };
        assert_eq!(cache.get(shared, now, || 1), 1);
        let role = salt.fingerprint(&Identity::new(pipeline, Base::Ambient, Some("arn".into())));
        assert_eq!(cache.get(Key { fingerprint: role, region: "r", pipeline: Some("i/n/a") }, now, || 2), 2);
        assert_eq!(cache.get(shared, now, || 3), 1);
    }
}
