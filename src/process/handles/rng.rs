//! The random numbers of a run.

use crate::engine::link::Link;

/// Random numbers that are the same in every run of a scenario. The draws of one attempt do not affect those of another
/// attempt.
#[derive(Clone, Debug)]
pub struct Rng {
    link: Link,
}

impl Rng {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Returns a random number.
    pub fn next_u64(&self) -> u64 {
        self.link.arrive();
        let mut state = self.link.shared().state();
        let drawn = state.draw();
        state.generated.draw(drawn, u64::MAX);
        drawn
    }

    /// Returns a random number below `bound`.
    ///
    /// # Panics
    /// Panics if `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below 0");
        self.link.arrive();
        let mut state = self.link.shared().state();
        let drawn = state.draw() % bound;
        state.generated.draw(drawn, bound);
        drawn
    }
}
