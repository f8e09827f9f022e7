//! The option that makes jobs unique.

use std::sync::Arc;

use super::handler::HandlerOptions;
use crate::engine::state::has_keys;
use crate::system::job::Unique;

impl HandlerOptions<'_> {
    /// Makes the jobs of this kind unique by a lock. A job that is enqueued before any process has set this takes no
    /// lock.
    ///
    /// # Panics
    /// Panics if the key is computed from another kind of job, or if the settings contradict each other.
    #[track_caller]
    pub fn unique(self, unique: Unique) -> Self {
        let kind = self.kind();
        if let Some(nonsense) = unique.mistake(kind) {
            panic!("the lock of {kind} {nonsense}");
        }
        let unique = Arc::new(unique);
        has_keys(self.shared(), kind, unique.clone());
        self.register(|registered| registered.unique = Some(unique));
        self
    }
}
