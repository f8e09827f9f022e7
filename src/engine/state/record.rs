//! Notes that a run takes for its judge.

use std::collections::{BTreeMap, BTreeSet};

use crate::search::choice::{Name, Place, Site};
use crate::system::hygiene::Hygiene;

/// Code that is called between the steps of jobs, and that is not the test body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Culprit {
    /// The check of an invariant of this name.
    Invariant(Name),
    /// The boot of this process: after a crash it is booted again.
    Boot(Name),
}

/// Notes of a run, in addition to its effects, jobs and events.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunRecord {
    told_of_failures: Option<Name>,
    hygiene: BTreeSet<Hygiene>,
    crash_points: u64,
    has_overlaps: bool,
    is_crowded: bool,
    has_spawned: bool,
    is_cut_short: bool,
    has_expiring: bool,
    is_uncopied: bool,
    /// The kinds of webhooks, each with a service that sends it.
    webhooks: BTreeMap<&'static str, Name>,
    deviated_at: Vec<Option<(Place, Site)>>,
}

impl RunRecord {
    /// A process has an error tracker.
    pub(crate) fn note_told_of_failures(&mut self, service: Name) {
        self.told_of_failures = Some(service);
    }

    /// The run left the ordinary course. `call` is the last call of the actor.
    pub(super) fn note_deviated_at(&mut self, call: Option<(Place, Site)>) {
        self.deviated_at.push(call);
    }

    /// For each deviation, the last call of its actor.
    pub(crate) fn deviated_at(&self) -> &[Option<(Place, Site)>] {
        &self.deviated_at
    }

    /// The code does something that works but is fragile.
    pub(crate) fn note_hygiene(&mut self, hygiene: Hygiene) {
        self.hygiene.insert(hygiene);
    }

    /// The code under test has reached a crash point at which something could go wrong.
    pub(super) fn note_crash_point(&mut self) {
        self.crash_points += 1;
    }

    /// An attempt has begun or continued while another one was open.
    pub(crate) fn note_overlap(&mut self) {
        self.has_overlaps = true;
    }

    /// More tasks could run than a choice has options.
    pub(super) fn note_crowd(&mut self) {
        self.is_crowded = true;
    }

    /// A service has called back with a request of this kind.
    pub(crate) fn note_webhook(&mut self, kind: &'static str, service: Name) {
        self.webhooks.entry(kind).or_insert(service);
    }

    /// The service that calls back with requests of this kind, if one does.
    pub(crate) fn sender_of(&self, kind: &str) -> Option<Name> {
        self.webhooks.get(kind).copied()
    }

    /// A process has spawned tasks.
    pub(crate) fn note_spawned(&mut self) {
        self.has_spawned = true;
    }

    /// Something has a time to live: what comes late may find it gone.
    pub(crate) fn note_expiring(&mut self) {
        self.has_expiring = true;
    }

    /// Whether anything has a time to live.
    pub(crate) fn has_expiring(&self) -> bool {
        self.has_expiring
    }

    /// A worker could not stall past its lease, because no slot is free, and its process can have no copy.
    pub(crate) fn note_uncopied(&mut self) {
        self.is_uncopied = true;
    }

    /// Whether a worker could not stall past its lease for that reason.
    pub(crate) fn is_uncopied(&self) -> bool {
        self.is_uncopied
    }

    /// The test body has gone on. `is_reached`: since what it waited for was there, not since nothing was left to do.
    pub(crate) fn note_settled(&mut self, is_reached: bool) {
        self.is_cut_short = is_reached;
    }

    /// Whether the test body went on, the last time that it settled, while something was left to do.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// The error tracker, if a process has one.
    pub(crate) fn told_of_failures(&self) -> Option<Name> {
        self.told_of_failures
    }

    /// Code that works but is fragile.
    pub(crate) fn hygiene(&self) -> &BTreeSet<Hygiene> {
        &self.hygiene
    }

    /// The number of crash points that code under test has reached.
    pub(crate) fn crash_points(&self) -> u64 {
        self.crash_points
    }

    /// Reports whether attempts ran at the same time.
    pub(crate) fn has_overlaps(&self) -> bool {
        self.has_overlaps
    }

    /// Reports whether more tasks could run than a choice has options. Tasks past the last option never ran first.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// Reports whether a process has spawned tasks, perhaps for a queue of its own.
    pub(crate) fn has_spawned(&self) -> bool {
        self.has_spawned
    }
}
