//! The wall clock, which apalis reads internally. This module keeps runs from depending on it.
//!
//! `TaskBuilder::run_after` stores the current second of the wall clock plus the delay, in whole seconds. The queue
//! recovers the delay by subtracting the current second, which must not have changed in between.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer than a poll of a handler takes, even if the processor is busy.
const MARGIN: Duration = Duration::from_millis(20);

#[expect(clippy::disallowed_methods, reason = "the wall clock is what `TaskBuilder::run_after` has added to")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The current second, since the Unix epoch.
pub(crate) fn second() -> u64 {
    now().as_secs()
}

/// If the next second is about to begin, waits for it, so that the next poll builds and pushes its tasks within one
/// second.
#[expect(
    clippy::disallowed_methods,
    reason = "20 ms of each second at most, so that no run sees the second change"
)]
pub(crate) fn steady() {
    let left = left_of_second(now());
    if left < MARGIN {
        std::thread::sleep(left);
    }
}

fn left_of_second(now: Duration) -> Duration {
    Duration::from_secs(1) - Duration::from_nanos(u64::from(now.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_second() {
        assert_eq!(left_of_second(Duration::from_millis(7_000)), Duration::from_secs(1));
        assert_eq!(left_of_second(Duration::from_millis(7_999)), Duration::from_millis(1));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it wakes up shortly before a second ends")]
    fn the_end_of_a_second_is_waited_for() {
        let before = loop {
            std::thread::sleep(left_of_second(now()).saturating_sub(MARGIN / 2));
            let woken = now();
            if left_of_second(woken) < MARGIN {
                break woken;
            }
        };
        steady();
        assert!(second() > before.as_secs(), "it is still the second that was about to end");
    }
}
