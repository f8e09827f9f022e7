//! What is really outside, as the test reaches it.

use super::World;
use crate::process::Outside;
use crate::search::choice::Name;

impl World {
    /// What is really outside, a database say, under the name by which processes reach it
    /// ([`Process::outside`](crate::Process::outside)): to set it up, to be waited for, to be looked at.
    pub fn outside(&self, name: impl Into<Name>) -> Outside {
        Outside::new(self.link(), name.into())
    }
}
