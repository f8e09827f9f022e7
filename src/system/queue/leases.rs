//! Leases that the test has set (in other systems: the visibility timeout). They are counted from the receipt, and the
//! worker can extend them. Without one, the worker is taken to extend its lease for as long as it lives.

use std::time::Duration;

use super::Queue;

impl Queue {
    /// The attempt of the job that begins has a lease until `ends`.
    pub(crate) fn begin_lease(&mut self, number: u32, ends: Duration) {
        let attempt = self.job(number).attempts;
        self.leases.insert(number, (ends, attempt));
    }

    /// The time at which the lease of the running attempt ends, if it has one that was set.
    pub(crate) fn lease_end(&self, number: u32) -> Option<Duration> {
        let (ends, attempt) = *self.leases.get(&number)?;
        self.is_held_by(number, attempt).then_some(ends)
    }

    /// Extends the lease of an attempt. Returns false if the attempt has lost it.
    pub(crate) fn extend_lease(&mut self, number: u32, attempt: u32, ends: Duration) -> bool {
        let is_held = self.is_held_by(number, attempt);
        if let Some(lease) = self.leases.get_mut(&number).filter(|(_, of)| is_held && *of == attempt) {
            lease.0 = ends;
            return true;
        }
        false
    }

    /// How often an attempt of the job has outlived its lease.
    pub(crate) fn outlived_leases(&self, number: u32) -> u32 {
        self.outlived.get(&number).copied().unwrap_or_default()
    }

    pub(super) fn next_lease_end(&self) -> Option<Duration> {
        self.leases.keys().filter_map(|&number| self.lease_end(number)).min()
    }

    /// Hands out the jobs whose leases have ended while their attempts run.
    pub(super) fn end_leases(&mut self, now: Duration) -> Vec<(u32, u32)> {
        if self.leases.is_empty() {
            return Vec::new();
        }
        let is_over = |&(number, _): &(u32, u32)| self.lease_end(number).is_some_and(|ends| ends <= now);
        let all = self.leases.iter().map(|(number, (_, attempt))| (*number, *attempt));
        let ended: Vec<_> = all.filter(is_over).collect();
        for &(number, _) in &ended {
            self.leases.remove(&number);
            *self.outlived.entry(number).or_default() += 1;
            self.set_ready(number, now);
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LEASE, New};
    use super::*;
    use crate::system::job::{Delivery, JobState};

    const S: Duration = Duration::from_secs(1);

    /// A job that was received, and has a lease of ten seconds.
    fn received() -> Queue {
        let mut queue = Queue::default();
        let (payload, due) = (String::new(), Duration::ZERO);
        queue.enqueue(New { kind: "k", payload, due, parent: 0, stream: None, serial: None }, due);
        queue.take(1);
        queue.begin_lease(1, 10 * S);
        queue
    }

    #[test]
    fn a_lease_that_ends_hands_the_job_out_again() {
        let mut queue = received();
        assert_eq!(queue.next_due(), Some(10 * S));
        assert_eq!(queue.promote(9 * S), []);
        assert_eq!(queue.promote(10 * S), [(1, 1)]);
        assert_eq!((queue.job(1).state, queue.is_held_by(1, 1)), (JobState::Ready, false));
        assert!(!queue.extend_lease(1, 1, 20 * S), "it is lost");
        assert_eq!((queue.next_due(), queue.outlived_leases(1)), (None, 1));
    }

    #[test]
    fn a_lease_is_extended_by_its_own_attempt_alone() {
        let mut queue = received();
        assert!(!queue.extend_lease(1, 2, 20 * S));
        assert!(queue.extend_lease(1, 1, 20 * S));
        assert_eq!((queue.promote(10 * S), queue.next_due()), (vec![], Some(20 * S)));
        queue.acknowledge(1, 11 * S);
        assert_eq!((queue.promote(20 * S), queue.next_due()), (vec![], None));
    }

    #[test]
    fn the_lease_of_a_dead_worker_is_counted_from_the_receipt() {
        let mut queue = received();
        queue.worker_died(1, Delivery::AtLeastOnce, 4 * S);
        assert_eq!(queue.next_due(), Some(10 * S));
        let mut queue = received();
        queue.promote(10 * S);
        queue.take(1);
        queue.worker_died(1, Delivery::AtLeastOnce, 12 * S);
        assert_eq!(queue.next_due(), Some(12 * S + LEASE), "none was set for this attempt");
    }
}
