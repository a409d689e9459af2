//! How the orchestrator of before scales Spark workers, to compare with: from the records of the last five batches, at
//! the end of each batch.

/// What it is told.
pub(super) struct Settings {
    pub per_core: i64,
    pub cores_per_machine: i64,
    pub min: i64,
    pub max: i64,
}

pub(super) const USUAL: Settings = Settings { per_core: 500_000, cores_per_machine: 2, min: 2, max: 10 };

/// The number of workers that it sets, if it sets one. `rows` are the records of the last five batches, the newest
/// first; `batch` is the number of the newest file in the sink's log, of which each tenth is compact.
pub(super) fn target(settings: &Settings, rows: &[i64; 5], batch: i64, alive: i64) -> Option<i64> {
    let digit = batch % 10;
    if digit == 9 || alive == 0 {
        return None;
    }
    step(settings, expected(settings, rows, digit)?, digit, alive)
}

/// The workers that it expects to need. In floating point and with an overflow, as there: casts saturate in both.
fn expected(settings: &Settings, rows: &[i64; 5], digit: i64) -> Option<i64> {
    let most = rows.iter().copied().max()?;
    let is_rising = rows[..4].is_sorted_by(|newer, older| newer >= older);
    let growth = |pair: &[i64]| (pair[0] - pair[1]) as f64 / pair[1] as f64;
    let growth = if is_rising && most == rows[0] { rows.windows(2).map(growth).sum::<f64>() / 4.0 } else { 0.0 };
    let buffer = if digit >= 7 { 0.5 } else { 0.0 };
    let most = most.wrapping_add(((growth.max(0.0) + buffer) * most as f64).ceil() as i64);
    let cores = (most as f64 / settings.per_core as f64).ceil();
    let workers = (cores / settings.cores_per_machine as f64).ceil() as i64;
    (cores != 0.0 && workers != 0).then_some(workers)
}

/// The number of workers that it sets, on the way to those that it expects.
fn step(settings: &Settings, expected: i64, digit: i64, alive: i64) -> Option<i64> {
    let expected = expected.clamp(settings.min, settings.max);
    let surplus = alive - expected;
    if surplus < 0 {
        return Some(alive + (-surplus).min(200));
    }
    if surplus < 2 || digit == 8 {
        return None;
    }
    // A surplus of a quarter or more goes by quarters.
    let quarter = (alive + 3) / 4;
    Some(alive - if surplus * 4 >= alive { quarter.min(50) } else { surplus.min(50) })
}

/// What the old system was seen to answer.
#[test]
fn it_answers_as_the_old_system_did() {
    let millions = |rows: [i64; 5]| rows.map(|row| row * 1_000_000);
    let workers = |rows: [i64; 5], digit| expected(&USUAL, &rows, digit).map(|all| all.clamp(USUAL.min, USUAL.max));
    assert_eq!(workers(millions([5; 5]), 3), Some(5));
    assert_eq!(workers(millions([5; 5]), 7), Some(8));
    assert_eq!(workers(millions([8, 6, 5, 4, 4]), 1), Some(10));
    assert_eq!(expected(&USUAL, &millions([8, 6, 5, 4, 4]), 1), Some(10), "20 cores, before any bound");
    assert_eq!(workers([500, 400, 300, 200, 0], 1), Some(2), "growth without an end ends at the minimum");
    assert_eq!(workers([0; 5], 1), None);
    let to = |alive, expected| step(&USUAL, expected, 1, alive);
    assert_eq!([to(10, 3), to(10, 8), to(4, 2), to(3, 2), to(5, 5)], [Some(7), Some(8), Some(3), None, None]);
    assert_eq!(to(4, 9), Some(9));
    assert_eq!(step(&Settings { max: 400, ..USUAL }, 10, 1, 300), Some(250));
    assert_eq!(step(&USUAL, 3, 8, 10), None, "not right before the log is compacted");
    assert_eq!(target(&USUAL, &millions([5; 5]), 19, 4), None, "not when it was");
    assert_eq!(target(&USUAL, &millions([5; 5]), 20, 4), Some(5));
}
