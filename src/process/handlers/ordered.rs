//! The option that orders jobs in streams.

use super::handler::HandlerOptions;
use crate::engine::state::has_order;
use crate::system::job::Ordered;

impl HandlerOptions<'_> {
    /// Sets the order in which the jobs of this kind run. A job that is enqueued before any process has set this has no
    /// position in that order.
    ///
    /// # Panics
    /// Panics if the key is computed from another kind of job.
    #[track_caller]
    pub fn ordered(self, ordered: Ordered) -> Self {
        let kind = self.kind();
        if let Some(of) = ordered.of.filter(|of| *of != kind) {
            panic!("the order of {kind} computes its key from a {of}; give it a function over a {kind}");
        }
        has_order(self.shared(), kind, ordered.key);
        self
    }
}
