//! What became of a change of the number of workers whose answer was not heard: judged by what the pool shows once no
//! call about it can be under way any more.

use super::facts::{Member, MemberState, Pool};
use super::seat::count;
use super::{Raise, Removal};

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// What was wanted is there.
    Done,
    /// It had no effect.
    Undone,
    /// The pool has become something else.
    Superseded,
}

/// How a removal was sent, and what was heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    /// Whether members go because the desired number falls, some time later: pods do. Instances are protected from
    /// scale-in, so that one goes only if a call has named it.
    pub by_number: bool,
    /// Whether the call was answered with yes: it has had its effect, whatever the pool shows.
    pub answered: bool,
}

/// What became of a raise.
pub const fn of_raise(raise: &Raise, pool: &Pool) -> Outcome {
    if pool.desired == raise.to {
        Outcome::Done
    } else if pool.desired == raise.from {
        Outcome::Undone
    } else {
        Outcome::Superseded
    }
}

/// What became of a removal; none: that does not show yet.
pub fn of_removal(removal: &Removal, sent: Sent, pool: &Pool) -> Option<Outcome> {
    let stays = |member: &&Member| member.state != MemberState::Leaving;
    let stay = count(pool.members.iter().filter(stays));
    if !pool.members.iter().filter(stays).any(|member| member.id == removal.id) {
        return Some(Outcome::Done);
    }
    let is_lowered = pool.desired == removal.to;
    if is_lowered && sent.by_number && stay > pool.desired {
        // Nobody has gone for it yet.
        return None;
    }
    Some(if is_lowered || sent.answered { Outcome::Superseded } else { Outcome::Undone })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::Step;

    /// Of the members the first one is `i-1`, if it is there, in that state.
    fn pool(desired: i32, first: Option<MemberState>, others: u8) -> Pool {
        let member = |id: String, state: MemberState| Member { state, ..Member::in_service(id, "10.0.0.1") };
        let others = (0..others).map(|number| member(format!("o-{number}"), MemberState::InService));
        let first = first.map(|state| member("i-1".into(), state));
        Pool::at_rest((0, 9), desired, first.into_iter().chain(others).collect())
    }

    fn leaves() -> Removal {
        let (worker, host) = (Some("w1".into()), Some("10.0.0.1".into()));
        let step = Step::Terminate;
        Removal { id: "i-1".into(), address: "10.0.0.1".into(), worker, host, from: 5, to: 4, floor: 1, step }
    }

    const BY_ID: Sent = Sent { by_number: false, answered: false };
    const BY_NUMBER: Sent = Sent { by_number: true, answered: false };

    #[test]
    fn a_raise_is_judged_by_the_desired_number() {
        let raise = Raise { pool: "g".into(), from: 1, to: 3 };
        let of = |desired| of_raise(&raise, &pool(desired, None, 0));
        assert_eq!((of(3), of(1), of(2)), (Outcome::Done, Outcome::Undone, Outcome::Superseded));
    }

    #[test]
    fn whoever_has_gone_or_goes_was_removed() {
        for sent in [BY_ID, BY_NUMBER, Sent { answered: true, ..BY_ID }] {
            for desired in [3, 4, 5] {
                assert_eq!(of_removal(&leaves(), sent, &pool(desired, None, 4)), Some(Outcome::Done), "{sent:?}");
                let goes = pool(desired, Some(MemberState::Leaving), 4);
                assert_eq!(of_removal(&leaves(), sent, &goes), Some(Outcome::Done), "{sent:?}");
            }
        }
    }

    #[test]
    fn a_lost_end_of_an_instance_is_over_although_somebody_lowered_the_number() {
        let five = |desired| pool(desired, Some(MemberState::InService), 4);
        assert_eq!(of_removal(&leaves(), BY_ID, &five(4)), Some(Outcome::Superseded), "nobody goes for a number");
        assert_eq!(of_removal(&leaves(), BY_NUMBER, &five(4)), None, "no pod has gone yet");
        let four = pool(4, Some(MemberState::InService), 3);
        assert_eq!(of_removal(&leaves(), BY_NUMBER, &four), Some(Outcome::Superseded), "another one went in its place");
        for sent in [BY_ID, BY_NUMBER] {
            assert_eq!(of_removal(&leaves(), sent, &five(5)), Some(Outcome::Undone), "{sent:?}");
        }
    }

    #[test]
    fn what_was_answered_with_yes_is_never_undone() {
        for by_number in [false, true] {
            let sent = Sent { by_number, answered: true };
            let stale = pool(5, Some(MemberState::InService), 4);
            assert_eq!(of_removal(&leaves(), sent, &stale), Some(Outcome::Superseded), "{sent:?}");
        }
    }
}
