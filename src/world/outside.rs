//! Real external systems, from the test's side.

use super::World;
use crate::process::Outside;
use crate::search::choice::Name;

impl World {
    /// Returns the test's handle for a real external system, such as a database, under the name that processes use
    /// ([`Process::outside`](crate::Process::outside)). The test uses it for setup, to wait, and to read data.
    pub fn outside(&self, name: impl Into<Name>) -> Outside {
        Outside::new(self.link(), name.into())
    }
}
