//! Streams: jobs that run one after the other, in the order in which they became ready.
//!
//! A job that is not the first of its stream is blocked, and lies in no lane: whoever looks for work does not see it. It
//! becomes ready when those before it are over. A retry, a lease or a snooze keeps its job in its place; where one runs at a
//! time and no more is wanted, a retry does not.

use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct StreamKey {
    kind: &'static str,
    key: Box<str>,
}

/// The place of a job: its stream, and whether it stands in it.
#[derive(Clone, Copy, Debug, Hash)]
struct Place {
    stream: usize,
    joined: bool,
    /// Whether it leaves while it waits to be tried again.
    lets_others: bool,
}

/// All streams of a world.
#[derive(Debug, Default, Hash)]
pub(crate) struct Streams {
    known: BTreeMap<StreamKey, usize>,
    /// The jobs of each stream, the one whose turn it is first.
    jobs: Vec<VecDeque<u32>>,
    /// Of jobs that have a key; the others belong to no stream.
    places: BTreeMap<u32, Place>,
}

impl Streams {
    /// Whether no job belongs to any: then nothing need be looked at.
    pub(crate) fn is_unused(&self) -> bool {
        self.places.is_empty()
    }

    /// The job belongs to the stream with this key.
    pub(crate) fn assign(&mut self, job: u32, kind: &'static str, key: Box<str>) {
        self.put(job, StreamKey { kind, key }, false);
    }

    /// The job belongs to the stream of this name, whatever its kind, and leaves it while it waits to be tried again.
    pub(crate) fn assign_serial(&mut self, job: u32, name: Box<str>) {
        self.put(job, StreamKey { kind: "", key: name }, true);
    }

    fn put(&mut self, job: u32, key: StreamKey, lets_others: bool) {
        let next = self.jobs.len();
        let stream = *self.known.entry(key).or_insert(next);
        if stream == next {
            self.jobs.push(VecDeque::new());
        }
        self.places.insert(job, Place { stream, joined: false, lets_others });
    }

    /// The job is ready: it joins its stream, unless it stands in it. Returns whether it is its turn.
    pub(crate) fn join(&mut self, job: u32) -> bool {
        let Some(place) = self.places.get_mut(&job) else { return true };
        let jobs = &mut self.jobs[place.stream];
        if !std::mem::replace(&mut place.joined, true) {
            jobs.push_back(job);
        }
        jobs.front() == Some(&job)
    }

    /// The job is over. Returns whose turn it is then, if it was its own.
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

    /// The job belongs to no stream any more. It has left it.
    pub(crate) fn forget(&mut self, job: u32) {
        self.places.remove(&job);
    }

    /// Whether it leaves its stream while it waits to be tried again.
    pub(crate) fn lets_others_go_first(&self, job: u32) -> bool {
        self.places.get(&job).is_some_and(|place| place.lets_others)
    }

    /// Whether nobody stands before the job.
    pub(crate) fn is_its_turn(&self, job: u32) -> bool {
        let Some(place) = self.places.get(&job) else { return true };
        match self.jobs[place.stream].front() {
            Some(&first) => first == job,
            None => true,
        }
    }

    /// Whether two jobs belong to one stream.
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
        assert!(streams.is_its_turn(4) && !streams.join(1), "who comes again stands at the back");
        assert_eq!((streams.leave(4), streams.leave(3), streams.leave(5)), (Some(1), None, None));
    }
}
