//! What a run has to know of real sockets: whether anything is under way on them, and who waits there to be served.
//!
//! A run knows only virtual time, sockets know only the real one. So before time may pass, whatever is under way on a
//! socket has to arrive. What is behind a [`Wire`] the rooms above do not know; without a feature that brings one
//! there is none.

#[cfg(feature = "http")]
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::search::choice::Actor;

/// What has come of waiting for sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Something has arrived, or is still on its way: whoever reads at the other end must go on first.
    Moving,
    /// Nothing goes on by itself. Somebody may wait to be served.
    Still,
}

/// A call that has arrived and waits to be served.
pub(crate) trait Asked {
    /// The place of the calling process among the processes of the world.
    fn host(&self) -> usize;
    /// Who makes it, where that was seen.
    fn by(&self) -> Option<Actor>;
    /// Serves it, in the name of whoever is said to run.
    fn serve(self: Box<Self>);
}

/// The ends of lines that reach into a run.
pub(crate) trait Wire: fmt::Debug + Send + Sync {
    /// Waits, in real time, until nothing more arrives by itself.
    fn settle(&self) -> Traffic;

    /// Waits a moment longer, before time passes for somebody who may be waiting for a socket: an operating system under
    /// load takes its time. Whether something has come.
    fn linger(&self) -> bool;

    /// The calls of a process that have arrived since were made by `actor`.
    fn made_by(&self, host: usize, actor: Actor);

    /// The first of the calls that wait. Only to be asked while all is still.
    fn next(self: Arc<Self>) -> Option<Box<dyn Asked>>;

    /// When the first of the callers whom no answer will ever reach has its line cut.
    fn hangs_up_at(&self) -> Option<Duration>;

    /// Cuts the lines of those that have waited until then for what never comes.
    fn hang_up(&self, now: Duration);

    /// The process is dead: its lines are cut.
    fn close(&self, host: usize);

    /// The run is over: nothing is left behind.
    fn end(&self);

    /// The text without what is another one in each run: the numbers of ports.
    fn without_ports(&self, text: String) -> String;

    /// The thing itself, for those who know it.
    #[cfg(feature = "http")]
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}
