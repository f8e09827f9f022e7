//! Real external systems, from the test's side.

use super::World;
use crate::process::External;
use crate::search::choice::Name;

impl World {
    /// Returns the test's handle for a real external system, such as a database, under the name that processes use
    /// ([`Process::external`](crate::Process::external)). The test uses it for setup, to wait, and to read data.
    pub fn external(&self, name: impl Into<Name>) -> External {
        External::new(self.link(), name.into())
    }
}
