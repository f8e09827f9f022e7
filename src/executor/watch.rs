//! Records crashes: either the state that a crash left behind, to be shown next to its line, or a digest of that
//! state, to detect whether an earlier run continued from the same state.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::engine::state::{Shared, lock};
use crate::process::Observation;
use crate::search::choice::{Choice, DeviationKind, Name};
use crate::system::effect::Effect;

/// The durable and observed states, as JSON.
pub(crate) type States = Vec<(Name, String)>;

/// The state that a crash left behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashSnapshot {
    pub(crate) effects: Vec<Effect>,
    pub(crate) states: States,
}

/// The action at a crash.
#[derive(Debug, Default)]
pub(crate) enum CrashWatch {
    #[default]
    Nothing,
    /// Record the states before the first attempt and after the first crash.
    Wrecks { before: Option<States>, wreck: Option<CrashSnapshot> },
    /// End the run if an earlier run continued from the same state.
    Merging { seen: VisitedStates, phase: u32, over: bool },
}

/// The states from which some run has continued, with that run.
#[derive(Clone, Debug, Default)]
pub(crate) struct VisitedStates(Arc<Mutex<BTreeMap<u128, Visit>>>);

/// A run that has continued from a state: the deviations that it had taken by then.
#[derive(Debug)]
struct Visit {
    deviations: Vec<(usize, u32)>,
    kinds: [usize; 5],
}

impl Visit {
    fn of(record: &[Choice]) -> Self {
        let mut kinds = [0; 5];
        let mut deviations = Vec::new();
        for (at, choice) in record.iter().enumerate().filter(|(_, choice)| choice.taken != 0) {
            deviations.push((at, choice.taken));
            let kind = match choice.kind {
                DeviationKind::Crash => 0,
                DeviationKind::Fault => 1,
                DeviationKind::Delivery => 2,
                DeviationKind::Preemption => 3,
                DeviationKind::Delay => 4,
            };
            kinds[kind] += 1;
        }
        Self { deviations, kinds }
    }

    /// Reports whether this run has at least the remaining budget of `other`, for each kind.
    fn covers(&self, other: &Self) -> bool {
        self.kinds.iter().zip(&other.kinds).all(|(mine, its)| mine <= its)
    }
}

impl CrashWatch {
    pub(crate) fn wrecks() -> Self {
        CrashWatch::Wrecks { before: None, wreck: None }
    }

    pub(crate) fn merging(seen: VisitedStates) -> Self {
        CrashWatch::Merging { seen, phase: 0, over: false }
    }

    /// The test body continues, so the same state counts as another one from here on.
    pub(crate) fn next_phase(&mut self) {
        if let CrashWatch::Merging { phase, .. } = self {
            *phase += 1;
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self, CrashWatch::Merging { over: true, .. })
    }

    /// An attempt begins.
    pub(crate) fn begins(&mut self, shared: &Shared, observed: &[Observation]) {
        if let CrashWatch::Wrecks { before: before @ None, .. } = self {
            *before = Some(look(shared, observed));
        }
    }

    /// A process has crashed and was torn down. `down` is set if no process is alive. It has for each process the
    /// number of its boots, the time of its restart, and whether it stays down.
    pub(crate) fn crashed(
        &mut self,
        shared: &Shared,
        observed: &[Observation],
        down: Option<impl Iterator<Item = (u32, Duration, bool)>>,
    ) {
        match self {
            CrashWatch::Nothing => {}
            CrashWatch::Wrecks { wreck, .. } => {
                wreck.get_or_insert_with(|| CrashSnapshot {
                    effects: shared.state().ledger.effects().to_vec(),
                    states: look(shared, observed),
                });
            }
            // The memory of other processes is not visible. Only when no process is alive is the durable state
            // everything.
            CrashWatch::Merging { seen, phase, over } => {
                let Some(down) = down else { return };
                let Some(digest) = digest(shared, observed, *phase, down) else { return };
                let now = Visit::of(shared.state().search.choices());
                let mut seen = lock(&seen.0);
                match seen.get(&digest) {
                    Some(before) if before.deviations == now.deviations => {}
                    Some(before) if before.covers(&now) => *over = true,
                    _ => drop(seen.insert(digest, now)),
                }
            }
        }
    }
}

fn look(shared: &Shared, observed: &[Observation]) -> States {
    let states = observed.iter().map(|o| (o.name, (o.look)().unwrap_or_else(|error| format!("\"{error}\""))));
    states.chain(shared.services.stored()).collect()
}

/// A digest of everything from which a world continues when no process is alive: durable state, services, queue,
/// time, and everything that a booting process can learn about earlier ones. `None` if a service does not expose its
/// state.
fn digest(
    shared: &Shared,
    observed: &[Observation],
    phase: u32,
    down: impl Iterator<Item = (u32, Duration, bool)>,
) -> Option<u128> {
    let mut hasher = SipHasher13::new();
    phase.hash(&mut hasher);
    down.for_each(|process| process.hash(&mut hasher));
    look(shared, observed).hash(&mut hasher);
    shared.services.states()?.hash(&mut hasher);
    let times_matter = shared.services.look_at_the_clock();
    let state = shared.state();
    state.clock.now().hash(&mut hasher);
    for effect in state.ledger.effects() {
        (effect.identity(), &effect.id, effect.given).hash(&mut hasher);
        times_matter.then_some(effect.at).hash(&mut hasher);
        effect.tells.then_some(effect.by).hash(&mut hasher);
    }
    // Earlier problems of a run do not affect its future, but they affect its verdict.
    (state.ledger.reused.len(), state.ledger.repeats.len()).hash(&mut hasher);
    state.record.hygiene().hash(&mut hasher);
    state.queue.hash(&mut hasher);
    state.poison().hash(&mut hasher);
    state.draws_to_come().for_each(|drawn| drawn.hash(&mut hasher));
    state.fetches.hash(&mut hasher);
    let digest = hasher.finish128();
    Some(u128::from(digest.h1) << 64 | u128::from(digest.h2))
}
