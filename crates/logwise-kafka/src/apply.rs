use crate::client::{KafkaClient, off_the_async_threads};
use crate::confirm;
use crate::error::{Cause, KafkaError};
use crate::identity;
use crate::observe::fetch_metadata;
use futures::executor::block_on;
use logwise_plan::partitions::{Grow, Plan};
use logwise_runtime::crash::{self, System};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// New partitions in one request: a controller refuses what would pass this number.
const MAX_NEW_PARTITIONS: i32 = 10_000;

/// Topics in one request.
const MAX_TOPICS: usize = 100;

/// How long the answer to a growth is waited for: a quota of the brokers shows only in how long it takes.
pub(crate) const GROWING: Duration = Duration::from_secs(60);

/// How long brokers may work on a request once they have it.
pub(crate) const WORKING: Duration = Duration::from_secs(30);

/// Largest total that librdkafka accepts; one larger would spoil the whole request.
const MAX_TOTAL: i32 = 100_000;

/// How long all validations of a batch may take.
const VALIDATING: Duration = Duration::from_secs(20);

/// How long a growth is looked for whose answer was lost.
const SETTLING: Duration = Duration::from_secs(3);

/// Pause between two looks while that is awaited.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// What became of one growth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The topic has the wanted partitions, by our hand.
    Done,
    /// The topic had the wanted partitions already.
    AlreadySo,
    /// The topic no longer has the count that the growth assumed; nothing was done.
    Superseded {
        /// Partitions it has now.
        partitions: i32,
    },
    /// The broker refused, or the topic does not exist.
    Refused {
        /// Why.
        why: String,
    },
    /// It was not asked for.
    NotSent {
        /// Why not.
        why: String,
    },
    /// It is not known whether the growth was carried out.
    Unknown {
        /// What failed.
        why: String,
    },
}

/// Carries out the growths of `plan` and says of each what became of it, in the order of the plan.
///
/// The count that each growth assumes is read again, the broker validates all that hold, and those that pass are sent
/// in requests of at most 100 topics and 10,000 new partitions; each topic succeeds or fails by itself. One that was made
/// anew since it was measured is not grown. A growth without an answer is looked up before it is reported, and one that was
/// accepted is reported as done when two looks agree on the count and each new partition can be read. Partitions never
/// shrink. Each call is waited for at most the client's deadline, a growth for at most a minute.
///
/// `permit` is asked once, after the validation and before anything is sent; what it returns is asked again right before
/// each request. A refusal means that nothing (more) is sent.
pub async fn apply<P: FnMut() -> Result<(), String> + Send + 'static>(
    client: &Arc<KafkaClient>,
    plan: &Plan,
    permit: impl FnOnce() -> Result<P, String> + Send + 'static,
) -> Vec<(Grow, Outcome)> {
    if plan.actions.is_empty() {
        return Vec::new();
    }
    let actions = plan.actions.clone();
    let carried_out = off_the_async_threads(client, move |client| carry_out(client, &actions, permit)).await;
    carried_out.unwrap_or_else(|cause| all_unknown(&plan.actions, &cause.to_string()))
}

/// Partitions of every topic of the cluster: one metadata request.
///
/// # Errors
/// [`KafkaError::FetchMetadata`]
pub async fn counts(client: &Arc<KafkaClient>) -> Result<BTreeMap<String, i32>, KafkaError> {
    let counted = off_the_async_threads(client, partition_counts).await;
    counted.unwrap_or_else(|source| {
        Err(KafkaError::FetchMetadata { at: client.at().to_owned(), deadline: client.deadline(), source })
    })
}

/// Blocking, so that a batch once begun is followed to its end whoever stops waiting for it.
fn carry_out<P: FnMut() -> Result<(), String>>(
    client: &KafkaClient,
    actions: &[Grow],
    permit: impl FnOnce() -> Result<P, String>,
) -> Vec<(Grow, Outcome)> {
    let not_sent = |error: &KafkaError| nothing_sent(actions, &error.message());
    let counts = match partition_counts(client) {
        Ok(counts) => counts,
        Err(error) => return not_sent(&error),
    };
    let mut batch: Vec<Growth> = actions.iter().map(|grow| Growth::checked(grow, &counts)).collect();
    if batch.iter().any(Growth::is_open) {
        let admin = match client.admin() {
            Ok(admin) => admin,
            Err(error) => return not_sent(&failed(client, Cause::from_library(&error))),
        };
        let until = Instant::now() + VALIDATING;
        let mut silent = false;
        in_parts(&mut batch, |part| {
            // One that does not answer is not asked again and again, each time for a whole deadline.
            if silent || Instant::now() >= until {
                return withhold(part, "the brokers take too long to validate");
            }
            ask(client, &admin, Step::Validate, part, || Ok(()));
            silent = part.iter().any(Growth::is_unanswered);
        });
        identity::check(client, &mut batch);
        if batch.iter().any(Growth::is_open) {
            match permit() {
                Ok(mut may_send) => in_parts(&mut batch, |part| ask(client, &admin, Step::Send, part, &mut may_send)),
                Err(why) => withhold(&mut batch, &why),
            }
        }
    }
    look_up_doubtful(client, &mut batch);
    confirm::seen(client, &mut batch);
    batch.into_iter().map(|Growth { grow, state }| (grow, state.outcome())).collect()
}

/// Requests of at most as many new partitions as a controller takes.
fn in_parts(batch: &mut [Growth], mut each: impl FnMut(&mut [Growth])) {
    let mut rest = batch;
    while !rest.is_empty() {
        let (part, others) = rest.split_at_mut(part_length(rest));
        each(part);
        rest = others;
    }
}

/// Nothing is sent for what is still open.
fn withhold(batch: &mut [Growth], why: &str) {
    for growth in batch.iter_mut().filter(|growth| growth.is_open()) {
        growth.state = State::Settled(Outcome::NotSent { why: why.to_owned() });
    }
}

/// One growth on its way.
pub(crate) struct Growth {
    pub(crate) grow: Grow,
    pub(crate) state: State,
}

pub(crate) enum State {
    /// To be sent.
    Open,
    /// Decided.
    Settled(Outcome),
    /// To be decided by the count the topic has now.
    Doubtful(Doubt),
}

pub(crate) struct Doubt {
    why: String,
    /// Whether the wanted count, if found, is our work.
    sent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Validate,
    Send,
}

impl Growth {
    fn checked(grow: &Grow, counts: &BTreeMap<String, i32>) -> Self {
        let state = match counts.get(&grow.topic) {
            None => State::Settled(no_such_topic()),
            Some(&partitions) if partitions == grow.to => State::Settled(Outcome::AlreadySo),
            Some(&partitions) if partitions != grow.from || partitions > grow.to => {
                State::Settled(Outcome::Superseded { partitions })
            }
            Some(_) if grow.to > MAX_TOTAL => State::Settled(Outcome::Refused {
                why: format!("more than {MAX_TOTAL} partitions cannot be asked for"),
            }),
            Some(_) => State::Open,
        };
        Self { grow: grow.clone(), state }
    }

    /// Nothing was said about it, and nothing was sent.
    fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Settled(Outcome::NotSent { .. }))
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Takes the broker's answer about this topic.
    fn answered(&mut self, step: Step, answer: Result<(), RDKafkaErrorCode>) {
        self.state = match answer {
            Ok(()) if step == Step::Validate => State::Open,
            Ok(()) => State::Settled(Outcome::Done),
            Err(code) => self.refused(step, &Cause::from_code(code), code == RDKafkaErrorCode::InvalidPartitions),
        };
    }

    fn refused(&self, step: Step, cause: &Cause, has_enough: bool) -> State {
        let why = match step {
            _ if has_enough => format!("the controller counts {} partitions or more, brokers do not yet", self.grow.to),
            Step::Validate | Step::Send => cause.to_string(),
        };
        if has_enough || cause.is_unanswered() {
            State::Doubtful(Doubt { why, sent: step == Step::Send })
        } else {
            State::Settled(Outcome::Refused { why: cause.refusal() })
        }
    }

    /// The broker's answer, if any, does not speak of this topic.
    fn not_answered(&mut self, step: Step, why: &str) {
        self.state = match step {
            Step::Validate => State::Settled(Outcome::NotSent { why: why.to_owned() }),
            Step::Send => State::Doubtful(Doubt { why: why.to_owned(), sent: true }),
        };
    }

    fn looked_up(&self, doubt: &Doubt, count: Option<i32>) -> Outcome {
        match count {
            Some(count) if count == self.grow.to && doubt.sent => Outcome::Done,
            Some(count) if count == self.grow.to => Outcome::AlreadySo,
            Some(count) if count > self.grow.to => Outcome::Superseded { partitions: count },
            // A broker that does not know the topic, or less of it, may only be behind.
            _ if doubt.sent => Outcome::Unknown { why: doubt.why.clone() },
            None => no_such_topic(),
            Some(count) if count != self.grow.from => Outcome::Superseded { partitions: count },
            Some(_) => Outcome::NotSent { why: doubt.why.clone() },
        }
    }
}

impl State {
    fn outcome(self) -> Outcome {
        match self {
            Self::Settled(outcome) => outcome,
            Self::Open => Outcome::NotSent { why: "its turn did not come".to_owned() },
            Self::Doubtful(doubt) if doubt.sent => Outcome::Unknown { why: doubt.why },
            Self::Doubtful(doubt) => Outcome::NotSent { why: doubt.why },
        }
    }
}

/// How many growths of `batch` go into its first request; at least one.
fn part_length(batch: &[Growth]) -> usize {
    request_length(batch.iter().map(|growth| growth.is_open().then_some(&growth.grow)))
}

/// How many of these growths go into one request; at least one. `None`: it is not sent, and takes no room.
pub(crate) fn request_length<'g>(growths: impl Iterator<Item = Option<&'g Grow>>) -> usize {
    let (mut topics, mut new) = (0, 0_i32);
    let fitting = growths.take_while(|grow| {
        topics += usize::from(grow.is_some());
        new = new.saturating_add(grow.map_or(0, |grow| grow.to.saturating_sub(grow.from)));
        topics <= MAX_TOPICS && new <= MAX_NEW_PARTITIONS
    });
    fitting.count().max(1)
}

/// Sends all open growths in one call, if it still may be sent, and takes the answer of each.
fn ask(
    client: &KafkaClient,
    admin: &AdminClient<DefaultClientContext>,
    step: Step,
    batch: &mut [Growth],
    may_send: impl FnOnce() -> Result<(), String>,
) {
    let open: Vec<&Grow> = batch.iter().filter(|growth| growth.is_open()).map(|growth| &growth.grow).collect();
    let wanted: Vec<NewPartitions<'_>> =
        open.iter().filter_map(|grow| Some(NewPartitions::new(&grow.topic, usize::try_from(grow.to).ok()?))).collect();
    if wanted.is_empty() {
        return;
    }
    let (answer, work) = if step == Step::Send { (GROWING, WORKING) } else { (client.deadline(), client.deadline()) };
    let options = AdminOptions::new()
        .request_timeout(Some(answer))
        .operation_timeout(Some(work))
        .validate_only(step == Step::Validate);
    let write = (step == Step::Send).then(|| crash::begin(System::Kafka));
    if let Err(why) = may_send() {
        return withhold(batch, &why);
    }
    let answers = block_on(admin.create_partitions(&wanted, &options));
    if let Some(write) = write {
        write.after();
    }
    client.note_events(admin.inner());
    match answers {
        Ok(answers) => take_answers(step, answers, batch),
        Err(error) => {
            let cause = Cause::from_library(&error);
            take_failure(
                step,
                &failed(client, if cause.is_unanswered() { client.explain(cause) } else { cause }),
                batch,
            );
        }
    }
}

fn take_answers(step: Step, answers: Vec<Result<String, (String, RDKafkaErrorCode)>>, batch: &mut [Growth]) {
    let mut answers: BTreeMap<String, Result<(), RDKafkaErrorCode>> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok(topic) => (topic, Ok(())),
            Err((topic, code)) => (topic, Err(code)),
        })
        .collect();
    for growth in batch.iter_mut().filter(|growth| growth.is_open()) {
        match answers.remove(&growth.grow.topic) {
            Some(answer) => growth.answered(step, answer),
            None => growth.not_answered(step, "the broker said nothing about this topic"),
        }
    }
}

/// The call as a whole failed.
fn take_failure(step: Step, error: &KafkaError, batch: &mut [Growth]) {
    let why = error.message();
    for growth in batch.iter_mut().filter(|growth| growth.is_open()) {
        growth.not_answered(step, &why);
    }
}

/// Reads the world again for growths whose answer does not tell what happened: once, and for a moment longer while a
/// topic still shows the count from before, because brokers learn of a growth after the controller has answered.
fn look_up_doubtful(client: &KafkaClient, batch: &mut [Growth]) {
    let until = Instant::now() + SETTLING;
    while batch.iter().any(|growth| matches!(growth.state, State::Doubtful(_))) {
        let counts = partition_counts(client);
        let last = Instant::now() >= until;
        // A connection that was cut may take a moment to come back.
        let Ok(counts) = counts else {
            if last {
                return;
            }
            thread::sleep(BETWEEN_LOOKS);
            continue;
        };
        for growth in batch.iter_mut() {
            if let State::Doubtful(doubt) = &growth.state {
                let outcome = growth.looked_up(doubt, counts.get(&growth.grow.topic).copied());
                if last || !matches!(outcome, Outcome::Unknown { .. } | Outcome::NotSent { .. }) {
                    growth.state = State::Settled(outcome);
                }
            }
        }
        if !last {
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}

/// Partitions of every topic of the cluster.
pub(crate) fn partition_counts(client: &KafkaClient) -> Result<BTreeMap<String, i32>, KafkaError> {
    let (metadata, _) = fetch_metadata(client)?;
    let counted = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), counted(topic.partitions().len()))).collect())
}

fn no_such_topic() -> Outcome {
    Outcome::Refused { why: "the topic does not exist".to_owned() }
}

fn failed(client: &KafkaClient, source: Cause) -> KafkaError {
    KafkaError::CreatePartitions { at: client.at().to_owned(), deadline: client.deadline(), source }
}

pub(crate) fn nothing_sent(actions: &[Grow], why: &str) -> Vec<(Grow, Outcome)> {
    actions.iter().map(|grow| (grow.clone(), Outcome::NotSent { why: why.to_owned() })).collect()
}

fn all_unknown(actions: &[Grow], why: &str) -> Vec<(Grow, Outcome)> {
    actions.iter().map(|grow| (grow.clone(), Outcome::Unknown { why: why.to_owned() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(topic: &str, from: i32, to: i32) -> Growth {
        Growth::checked(&grow(topic, from, to), &BTreeMap::from([(topic.to_owned(), from)]))
    }

    fn grow(topic: &str, from: i32, to: i32) -> Grow {
        Grow { topic: topic.to_owned(), from, to, topic_id: None }
    }

    fn outcome(growth: Growth) -> Outcome {
        growth.state.outcome()
    }

    #[test]
    fn each_topic_takes_its_own_answer() {
        let mut batch = ["a", "b", "c"].map(|topic| open(topic, 1, 3));
        let refused = Err(("b".to_owned(), RDKafkaErrorCode::PolicyViolation));
        take_answers(Step::Validate, vec![Ok("a".to_owned()), refused], &mut batch);
        assert!(batch[0].is_open() && !batch[1].is_open() && !batch[2].is_open(), "only what passed is sent");
        take_answers(Step::Send, vec![Ok("a".to_owned())], &mut batch);
        let [a, b, c] = batch.map(outcome);
        assert_eq!(a, Outcome::Done);
        assert_eq!(b, Outcome::Refused { why: "policy violation".into() });
        assert_eq!(c, Outcome::NotSent { why: "the broker said nothing about this topic".into() });
    }

    #[test]
    fn what_a_doubtful_answer_meant_is_decided_by_the_count_found() {
        let found = |step, code, count| {
            let mut growth = open("a", 1, 3);
            growth.answered(step, Err(code));
            let State::Doubtful(doubt) = &growth.state else { panic!("{code:?} leaves no doubt") };
            growth.looked_up(doubt, count)
        };
        let (invalid, silent) = (RDKafkaErrorCode::InvalidPartitions, RDKafkaErrorCode::RequestTimedOut);
        assert_eq!(found(Step::Send, silent, Some(3)), Outcome::Done);
        assert_eq!(found(Step::Send, silent, Some(1)), Outcome::Unknown { why: "request timed out".into() });
        assert_eq!(found(Step::Send, silent, Some(5)), Outcome::Superseded { partitions: 5 });
        assert_eq!(found(Step::Send, silent, Some(2)), Outcome::Unknown { why: "request timed out".into() });
        assert_eq!(found(Step::Validate, silent, Some(2)), Outcome::Superseded { partitions: 2 });
        assert_eq!(found(Step::Send, invalid, Some(3)), Outcome::Done);
        assert_eq!(found(Step::Send, invalid, Some(5)), Outcome::Superseded { partitions: 5 });
        assert_eq!(found(Step::Validate, invalid, Some(3)), Outcome::AlreadySo);
        let unseen = "the controller counts 3 partitions or more, brokers do not yet";
        assert_eq!(found(Step::Validate, invalid, Some(1)), Outcome::NotSent { why: unseen.into() });
        assert_eq!(found(Step::Validate, silent, Some(1)), Outcome::NotSent { why: "request timed out".into() });
        assert!(matches!(found(Step::Send, silent, None), Outcome::Unknown { .. }), "it may not be known there yet");
        assert!(matches!(found(Step::Validate, silent, None), Outcome::Refused { .. }));
    }

    #[test]
    fn a_request_asks_for_no_more_than_a_controller_takes() {
        let batch = [open("a", 1, 6_001), open("b", 1, 4_001), open("c", 1, 2), open("d", 1, 20_000), open("e", 1, 2)];
        assert_eq!(part_length(&batch), 2);
        assert_eq!(part_length(&batch[2..]), 1);
        assert_eq!(part_length(&batch[3..]), 1, "one that is too large alone goes alone");
        assert_eq!(part_length(&batch[4..]), 1);
        let many: Vec<Growth> = (0..150).map(|number| open(&number.to_string(), 1, 2)).collect();
        assert_eq!((part_length(&many), part_length(&many[100..])), (100, 50));
        let settled = Growth::checked(&grow("x", 1, 20_000), &BTreeMap::new());
        assert_eq!(part_length(&[settled, open("b", 1, 10_001)]), 2, "what is not sent does not count");
    }

    #[test]
    fn a_total_that_would_spoil_the_request_is_refused_before() {
        assert!(matches!(outcome(open("a", 1, 100_001)), Outcome::Refused { .. }));
        assert!(open("a", 1, 100_000).is_open());
    }
}
