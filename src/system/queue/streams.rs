//! Streams: jobs that run one after the other, in the order in which they became ready.
//!
//! A job that is not the first of its stream is blocked. It is in no lane, so workers do not see it. It becomes ready
//! when the jobs before it are over. A job keeps its place during a retry, a lease or a snooze. In a serial stream,
//! which only prevents jobs from running at the same time, a job gives up its place for a retry.

use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct StreamKey {
    kind: &'static str,
    key: Box<str>,
}

/// The place of a job: its stream, and whether the job has joined it.
#[derive(Clone, Copy, Debug, Hash)]
struct StreamPosition {
    stream: usize,
    joined: bool,
    /// Whether the job leaves the stream while it waits for a retry.
    lets_others: bool,
}

/// All streams of a world.
#[derive(Debug, Default, Hash)]
pub(crate) struct Streams {
    known: BTreeMap<StreamKey, usize>,
    /// The jobs of each stream, the next one first.
    jobs: Vec<VecDeque<u32>>,
    /// The places of jobs that have a key. Other jobs belong to no stream.
    places: BTreeMap<u32, StreamPosition>,
}

impl Streams {
    /// Reports whether no job belongs to a stream. Then the other checks can be skipped.
    pub(crate) fn is_unused(&self) -> bool {
        self.places.is_empty()
    }

    /// Assigns the job to the stream with this key.
    pub(crate) fn assign(&mut self, job: u32, kind: &'static str, key: Box<str>) {
        self.put(job, StreamKey { kind, key }, false);
    }

    /// Assigns the job to the stream of this name, regardless of its kind. It leaves the stream while it waits for a
    /// retry.
    pub(crate) fn assign_serial(&mut self, job: u32, name: Box<str>) {
        self.put(job, StreamKey { kind: "", key: name }, true);
    }

    fn put(&mut self, job: u32, key: StreamKey, lets_others: bool) {
        let next = self.jobs.len();
        let stream = *self.known.entry(key).or_insert(next);
        if stream == next {
            self.jobs.push(VecDeque::new());
        }
        self.places.insert(job, StreamPosition { stream, joined: false, lets_others });
    }

    /// The job is ready and joins its stream, unless it has joined already. Returns whether it is the first.
    pub(crate) fn join(&mut self, job: u32) -> bool {
        let Some(place) = self.places.get_mut(&job) else { return true };
        let jobs = &mut self.jobs[place.stream];
        if !std::mem::replace(&mut place.joined, true) {
            jobs.push_back(job);
        }
        jobs.front() == Some(&job)
    }

    /// The job is over. If it was the first, returns the next one.
    pub(crate) fn leave(&mut self, job: u32) -> Option<u32> {
        let place = self.places.get_mut(&job).filter(|place| place.joined)?;
        place.joined = false;
        let jobs = &mut self.jobs[place.stream];
        if jobs.front() == Some(&job) {
            jobs.pop_front();
            return jobs.front().copied();
        }
        jobs.retain(|&other| other != job);
        None
    }

    /// The job no longer belongs to a stream. It must have left it before.
    pub(crate) fn forget(&mut self, job: u32) {
        self.places.remove(&job);
    }

    /// Reports whether the job leaves its stream while it waits for a retry.
    pub(crate) fn lets_others_go_first(&self, job: u32) -> bool {
        self.places.get(&job).is_some_and(|place| place.lets_others)
    }

    /// Reports whether no other job is before this one.
    pub(crate) fn is_its_turn(&self, job: u32) -> bool {
        let Some(place) = self.places.get(&job) else { return true };
        match self.jobs[place.stream].front() {
            Some(&first) => first == job,
            None => true,
        }
    }

    /// Reports whether two jobs belong to the same stream.
    pub(crate) fn are_together(&self, one: u32, other: u32) -> bool {
        let stream = |job| self.places.get(job).map(|place| place.stream);
        stream(&one).is_some() && stream(&one) == stream(&other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_one_behind_the_other() {
        let mut streams = Streams::default();
        for (job, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            streams.assign(job, "k", key.into());
        }
        assert_eq!([1, 2, 3, 4, 5].map(|job| streams.join(job)), [true, false, true, false, true]);
        assert!(streams.join(1), "it keeps its place");
        assert!(streams.are_together(1, 4) && !streams.are_together(1, 3) && !streams.are_together(5, 5));
        assert_eq!(streams.leave(2), None, "it was not its turn");
        assert_eq!((streams.leave(1), streams.leave(1)), (Some(4), None));
        assert!(streams.is_its_turn(4) && !streams.join(1), "a job that comes again is at the back");
        assert_eq!((streams.leave(4), streams.leave(3), streams.leave(5)), (Some(1), None, None));
    }
}
