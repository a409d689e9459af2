//! Why no worker takes a driver that waits, by what each of them has free. What is said moves only when another worker
//! lacks something.

use crate::master::Page;
use logwise_runtime::words::first_few;

/// What is missing on which worker for a driver of so many cores and of this memory, and the next step.
pub(super) fn missing(page: &Page, cores: i32, memory: &str) -> String {
    // A worker that does not tell its memory, and a size that nobody can read, lack none of it.
    let wanted = mib(memory).unwrap_or_default();
    let (mut few_cores, mut little_memory, mut roomy) = (Vec::new(), Vec::new(), Vec::new());
    let mut may_fit = false;
    for worker in page.alive() {
        let memory = page.memory.get(&worker.id);
        let lacks_cores = worker.cores.saturating_sub(worker.cores_used) < cores;
        let lacks_memory = memory.is_some_and(|memory| memory.total.saturating_sub(memory.used) < wanted);
        may_fit |= worker.cores >= cores && memory.is_none_or(|memory| memory.total >= wanted);
        let host = worker.host.as_str();
        few_cores.extend(lacks_cores.then_some(host));
        little_memory.extend(lacks_memory.then_some(host));
        roomy.extend((!lacks_cores && !lacks_memory).then_some(host));
    }
    for hosts in [&mut few_cores, &mut little_memory, &mut roomy] {
        hosts.sort_unstable();
    }
    if few_cores.is_empty() && little_memory.is_empty() && roomy.is_empty() {
        return "No worker is alive. Start workers".to_owned();
    }
    if !roomy.is_empty() {
        return format!("There is room on {} all the same. Look at the master's log", first_few(&roomy));
    }
    let (cores, memory) = (first_few(&few_cores), first_few(&little_memory));
    let fact = match (few_cores.is_empty(), little_memory.is_empty()) {
        (false, false) => format!("Too few cores are free on {cores}, and too little memory on {memory}"),
        (false, true) => format!("Too few cores are free on {cores}"),
        (true, _) => format!("Too little memory is free on {memory}"),
    };
    let next = if may_fit {
        "Add workers, or ask for less in `spark.driver`"
    } else {
        "No worker has so much even while nothing runs there: ask for less in `spark.driver`, or use larger workers"
    };
    format!("{fact}. {next}")
}

/// MiB of a size as `spark.driver.memory` has it.
fn mib(text: &str) -> Option<i64> {
    if let Some(number) = text.strip_suffix('m') {
        return number.parse().ok();
    }
    text.strip_suffix('g')?.parse::<i64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::WorkerMemory;
    use jiff::Timestamp;
    use logwise_plan::Known;
    use logwise_plan::workers::{Cluster, Worker, WorkerState};
    use std::time::Instant;

    /// A page of workers w0, w1, ...: cores, cores that are taken, memory, memory that is taken.
    fn page(workers: &[(i32, i32, i64, i64)]) -> Page {
        let worker = |(place, (cores, cores_used, ..)): (usize, &(i32, i32, i64, i64))| Worker {
            id: format!("w{place}"),
            host: format!("10.0.0.{place}"),
            state: WorkerState::Alive,
            cores: *cores,
            cores_used: *cores_used,
            tasks: Known::Absent,
        };
        let memory = |(place, (_, _, total, used)): (usize, &(i32, i32, i64, i64))| {
            (format!("w{place}"), WorkerMemory { total: *total, used: *used })
        };
        Page {
            at: "m:8080".into(),
            rest: "m:6066".into(),
            began: Instant::now(),
            read: Timestamp::UNIX_EPOCH,
            cluster: Cluster {
                url: String::new(),
                workers: workers.iter().enumerate().map(worker).collect(),
                drivers: Vec::new(),
                app_cores: None,
            },
            memory: workers.iter().enumerate().map(memory).collect(),
            all_drivers: Vec::new(),
            completed: Vec::new(),
            apps: Vec::new(),
        }
    }

    #[test]
    fn each_worker_is_named_by_what_it_lacks() {
        let full = page(&[(4, 4, 4_096, 1_024), (4, 3, 4_096, 3_584), (4, 4, 4_096, 4_096)]);
        let expected = "Too few cores are free on 10.0.0.0, 10.0.0.2, and too little memory on 10.0.0.1, 10.0.0.2. \
                        Add workers, or ask for less in `spark.driver`";
        assert_eq!(missing(&full, 1, "1g"), expected);
        let memory = missing(&full, 0, "1g");
        assert!(memory.contains("room on 10.0.0.0 all the same"), "{memory}");
        // Other executors come and go, and nothing is said anew.
        let moved = page(&[(4, 4, 4_096, 2_048), (4, 2, 4_096, 3_200), (4, 4, 4_096, 4_000)]);
        assert_eq!(missing(&moved, 1, "1024m"), expected);
    }

    #[test]
    fn workers_that_are_too_small_and_those_that_are_none_have_steps_of_their_own() {
        let small = page(&[(2, 0, 1_536, 0)]);
        for (cores, memory, lacks) in [(4, "1g", "Too few cores are"), (1, "2g", "Too little memory is")] {
            let told = missing(&small, cores, memory);
            assert!(told.starts_with(&format!("{lacks} free on 10.0.0.0. No worker has so much even while")), "{told}");
        }
        assert_eq!(missing(&page(&[]), 1, "1g"), "No worker is alive. Start workers");
        let mut dead = page(&[(2, 0, 1_536, 0)]);
        dead.cluster.workers[0].state = WorkerState::Decommissioned;
        assert!(missing(&dead, 1, "1g").starts_with("No worker is alive"));
    }

    #[test]
    fn memory_that_is_not_told_is_not_missing() {
        let mut silent = page(&[(2, 2, 1, 1)]);
        silent.memory.clear();
        assert!(!missing(&silent, 1, "1g").contains("memory"), "{}", missing(&silent, 1, "1g"));
        assert_eq!((mib("512m"), mib("2g"), mib("2t"), mib("g")), (Some(512), Some(2_048), None, None));
    }
}
