//! What is really outside, as the test reaches it.

use super::World;
use crate::process::External;
use crate::search::choice::Name;

impl World {
    /// What is really outside, a database say, under the name by which processes reach it
    /// ([`Process::external`](crate::Process::external)): to set it up, to be waited for, to be looked at.
    pub fn external(&self, name: impl Into<Name>) -> External {
        External::new(self.link(), name.into())
    }
}
