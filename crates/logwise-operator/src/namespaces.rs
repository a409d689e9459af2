//! Labels of namespaces, for grants that select by them.

use crate::cli::Config;
use crate::watch::{IDLE, Pauses, as_asked, config};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use logwise_plan::Known;
use logwise_plan::grants::METADATA_NAME;
use logwise_runtime::chain;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long labels are believed after the watch has failed. A watch that died silently fails after [`IDLE`]: together
/// less than the minute after which a label that was taken away grants nothing any more.
const BELIEVED: Duration = Duration::from_secs(20);

/// How far the watch is.
#[derive(Clone, Copy, Debug)]
enum Sight {
    /// Nothing was listed yet, and nothing failed.
    Begun,
    /// The store is what the API server says.
    Clear,
    /// It fails since then; whether it had listed everything once.
    Failing { since: Instant, listed: bool },
}

impl Sight {
    /// After one event of the watch.
    fn after(self, event: &Result<watcher::Event<PartialObjectMeta<Namespace>>, watcher::Error>, now: Instant) -> Self {
        match (self, event) {
            (_, Ok(watcher::Event::InitDone)) => Self::Clear,
            // Only a whole list tells what was missed.
            (_, Ok(_)) => self,
            (Self::Failing { .. }, Err(_)) => self,
            (Self::Clear, Err(_)) => Self::Failing { since: now, listed: true },
            (Self::Begun, Err(_)) => Self::Failing { since: now, listed: false },
        }
    }

    /// Whether labels may be believed.
    fn is_good(self, now: Instant) -> bool {
        match self {
            Self::Begun => false,
            Self::Clear => true,
            Self::Failing { since, listed } => listed && now.saturating_duration_since(since) < BELIEVED,
        }
    }
}

/// How a namespace's labels are told, and a future that ends when they can be, or when it is known that they cannot.
/// They are watched only if a grant selects by one that the API server does not set itself.
pub(crate) fn labels(
    of: &Config,
    client: &Client,
) -> (impl Fn(&str) -> Known<BTreeMap<String, String>> + Send + Sync + 'static, impl Future<Output = ()> + Send + 'static)
{
    let selectors = of.grants.entries.iter().filter_map(|grant| grant.namespace_selector.as_ref());
    let by_labels = selectors.flat_map(|selector| selector.match_labels.keys()).any(|key| key != METADATA_NAME);
    let watched = by_labels.then(|| begin(client.clone()));
    let first = watched.as_ref().map(|(_, sight)| sight.clone());
    let told = move |namespace: &str| match &watched {
        None => Known::Known(BTreeMap::from([(METADATA_NAME.to_owned(), namespace.to_owned())])),
        Some((store, sight)) => seen(store, *sight.borrow(), namespace),
    };
    (told, async move {
        if let Some(mut sight) = first {
            // The watch does not end.
            let _ = sight.wait_for(|sight| !matches!(sight, Sight::Begun)).await;
        }
    })
}

fn seen(store: &Store<PartialObjectMeta<Namespace>>, sight: Sight, namespace: &str) -> Known<BTreeMap<String, String>> {
    if !sight.is_good(Instant::now()) {
        return Known::Unknown("namespaces cannot be listed and watched".to_owned());
    }
    match store.get(&ObjectRef::new(namespace)) {
        Some(found) => Known::Known(found.labels().clone()),
        None => Known::Unknown("the namespace has not been seen".to_owned()),
    }
}

fn begin(client: Client) -> (Store<PartialObjectMeta<Namespace>>, watch::Receiver<Sight>) {
    let (store, writer) = reflector::store();
    let (tell, sight) = watch::channel(Sight::Begun);
    tokio::spawn(follow(Api::all(client), writer, tell));
    (store, sight)
}

/// Watches for ever. After each failure everything is listed anew: a watch that goes on quietly would not say that it does.
async fn follow(
    api: Api<PartialObjectMeta<Namespace>>,
    mut writer: Writer<PartialObjectMeta<Namespace>>,
    tell: watch::Sender<Sight>,
) {
    let mut pauses = Pauses::default();
    loop {
        let mut events = pin!(watcher(api.clone(), config()));
        while let Some(event) = events.next().await {
            if let Ok(event) = &event {
                writer.apply_watcher_event(event);
            }
            tell.send_modify(|sight| *sight = sight.after(&event, Instant::now()));
            match event {
                Ok(watcher::Event::InitDone) => pauses.reset(),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the watch of namespaces failed; it starts again");
                    as_asked(&error).await;
                    break;
                }
            }
        }
        tokio::time::sleep(pauses.next().unwrap_or(IDLE)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Event = Result<watcher::Event<PartialObjectMeta<Namespace>>, watcher::Error>;

    fn failed() -> Event {
        Err(watcher::Error::NoResourceVersion)
    }

    #[test]
    fn labels_are_believed_from_the_first_list_until_the_watch_has_failed_for_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (begun, listed): (_, Event) = (Sight::Begun, Ok(watcher::Event::InitDone));
        assert!(!begun.is_good(at(0)) && !begun.after(&Ok(watcher::Event::Init), at(0)).is_good(at(0)));
        assert!(!begun.after(&failed(), at(0)).is_good(at(0)), "nothing was ever listed");
        let clear = begun.after(&listed, at(0));
        assert!(clear.is_good(at(3_600)), "a quiet watch is no failed one");
        let failing = clear.after(&failed(), at(10)).after(&Ok(watcher::Event::Init), at(15)).after(&failed(), at(25));
        assert!(failing.is_good(at(29)) && !failing.is_good(at(30)), "from the first failure on");
        assert!(failing.after(&listed, at(40)).is_good(at(50)));
    }

    #[test]
    fn a_label_that_was_taken_away_unseen_grants_for_less_than_a_minute() {
        assert!(IDLE + BELIEVED < Duration::from_secs(60));
    }
}
