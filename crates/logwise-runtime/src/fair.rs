//! Who is looked at next when many wait: namespaces take turns, and none can take every place.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Places that namespaces share.
#[derive(Clone, Debug)]
pub struct Fair(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    most: usize,
    taken: BTreeMap<String, usize>,
    waiting: BTreeMap<String, VecDeque<oneshot::Sender<Place>>>,
    /// Namespaces with somebody waiting, the next one first.
    turns: VecDeque<String>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    /// Nothing, once it was given back.
    of: Option<Fair>,
    namespace: String,
}

impl Fair {
    /// `places` in all, of which one namespace takes at most `most`.
    pub fn new(places: usize, most: usize) -> Self {
        let (taken, waiting, turns) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self(Arc::new(Mutex::new(State { free: places, most, taken, waiting, turns })))
    }

    /// Waits for a place.
    pub async fn enter(&self, namespace: &str) -> Place {
        let place = {
            let mut state = self.lock();
            if state.may_take(namespace) {
                state.take(namespace);
                return self.place(namespace);
            }
            let (sender, receiver) = oneshot::channel();
            let queue = state.waiting.entry(namespace.to_owned()).or_default();
            let first = queue.is_empty();
            queue.push_back(sender);
            if first {
                state.turns.push_back(namespace.to_owned());
            }
            receiver
        };
        // The sender lives in the queue until it has sent.
        match place.await {
            Ok(place) => place,
            Err(_) => std::future::pending().await,
        }
    }

    fn place(&self, namespace: &str) -> Place {
        Place { of: Some(self.clone()), namespace: namespace.to_owned() }
    }

    /// Gives free places to those whose turn it is.
    fn pass_on(&self) {
        loop {
            let (sender, namespace) = {
                let mut state = self.lock();
                let Some(next) = state.next() else { return };
                next
            };
            if let Err(mut unwanted) = sender.send(self.place(&namespace)) {
                // Given back here and not by its drop, which would come back to this place once per waiter.
                unwanted.of = None;
                self.lock().give_back(&namespace);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_take(&self, namespace: &str) -> bool {
        self.free > 0 && self.taken.get(namespace).is_none_or(|taken| *taken < self.most)
    }

    fn take(&mut self, namespace: &str) {
        self.free -= 1;
        *self.taken.entry(namespace.to_owned()).or_default() += 1;
    }

    fn give_back(&mut self, namespace: &str) {
        self.free += 1;
        if let Some(taken) = self.taken.get_mut(namespace) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(namespace);
            }
        }
    }

    /// The next in turn that may have a place; the place is taken for it.
    fn next(&mut self) -> Option<(oneshot::Sender<Place>, String)> {
        let turn = self.turns.iter().position(|namespace| self.may_take(namespace))?;
        let namespace = self.turns.remove(turn)?;
        let queue = self.waiting.get_mut(&namespace)?;
        let sender = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.turns.push_back(namespace.clone());
        }
        self.take(&namespace);
        Some((sender, namespace))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(of) = self.of.take() else { return };
        of.lock().give_back(&self.namespace);
        of.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::BoxFuture;

    fn wait<'a>(fair: &'a Fair, namespace: &'a str) -> BoxFuture<'a, Place> {
        fair.enter(namespace).boxed()
    }

    fn now(waiting: &mut BoxFuture<'_, Place>) -> Option<Place> {
        waiting.now_or_never()
    }

    #[tokio::test]
    async fn one_namespace_cannot_take_every_place() {
        let fair = Fair::new(3, 2);
        let (a, b) = (fair.enter("big").await, fair.enter("big").await);
        let mut third = wait(&fair, "big");
        assert!(now(&mut third).is_none());
        let small = fair.enter("small").await;
        drop(a);
        assert!(third.await.namespace == "big");
        drop((b, small));
    }

    #[tokio::test]
    async fn namespaces_take_turns_whatever_the_length_of_their_queues() {
        let fair = Fair::new(1, 1);
        let held = fair.enter("big").await;
        let mut big: Vec<_> = (0..3).map(|_| wait(&fair, "big")).collect();
        assert!(big.iter_mut().all(|waiting| now(waiting).is_none()));
        let mut small = wait(&fair, "small");
        assert!(now(&mut small).is_none());
        drop(held);
        let first = now(&mut big[0]).expect("the first in the queue");
        assert!(now(&mut small).is_none());
        drop(first);
        assert!(now(&mut small).is_some(), "then the other namespace, not the second of the long queue");
    }

    #[tokio::test]
    async fn a_long_queue_that_gave_up_is_passed_over() {
        let fair = Fair::new(1, 1);
        let held = fair.enter("a").await;
        let mut queue: Vec<_> = (0..100_000).map(|_| wait(&fair, "b")).collect();
        assert!(queue.iter_mut().all(|waiting| now(waiting).is_none()));
        let mut last = wait(&fair, "c");
        assert!(now(&mut last).is_none());
        drop(queue);
        drop(held);
        assert!(now(&mut last).is_some());
    }

    #[tokio::test]
    async fn a_waiter_that_gave_up_costs_nobody_a_place() {
        let fair = Fair::new(1, 1);
        let held = fair.enter("a").await;
        let mut gone = wait(&fair, "b");
        assert!(now(&mut gone).is_none());
        let mut stays = wait(&fair, "c");
        assert!(now(&mut stays).is_none());
        drop(gone);
        drop(held);
        assert!(now(&mut stays).is_some());
    }
}
