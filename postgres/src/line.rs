//! A client's way to the server: the backend, and what is known of its transaction.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use retryproof::wire::{ForwardOutcome, OpenTransaction, Reply};

use crate::backend::{Backend, Collected, IsBlocked, Until};
use crate::connection::{Connection, error, query};
use crate::lease::Leased;
use crate::sql::{Conflict, TimeLimits, Transaction};

/// When it is gone, its transaction has been rolled back.
pub(crate) struct Line {
    pub(crate) lease: Arc<Leased>,
    pub(crate) backend: Option<Backend>,
    pub(crate) transaction: Transaction,
    /// The longest waits that the client has set for its session.
    pub(crate) limits: TimeLimits,
    /// The time of the world when the client sent its last request.
    pub(crate) now: Duration,
    /// The transaction, from its first call to its end.
    pub(crate) open: Option<OpenTransaction>,
}

impl Line {
    /// Gives the backend back, as if the connection had broken.
    pub(crate) fn end(&mut self) {
        self.open = None;
        self.backend.take().into_iter().for_each(|backend| self.lease.take_back(backend));
    }

    /// Notes a call. The first one in a transaction opens it for all others to see.
    pub(crate) fn note_call(&mut self, ends: bool, open: impl FnOnce() -> OpenTransaction) {
        if self.transaction.is_open && !ends && self.open.is_none() {
            self.open = Some(open());
        }
    }

    /// Reports whether the server waits for data to copy.
    pub(crate) fn is_copying(&self) -> bool {
        self.backend.as_ref().is_some_and(|backend| backend.is_copying)
    }

    pub(crate) fn run(
        &mut self,
        work: impl FnOnce(&mut Backend, IsBlocked<'_>) -> io::Result<Collected>,
    ) -> ForwardOutcome {
        let Some(backend) = &mut self.backend else { return ForwardOutcome::Ended(Reply::reset()) };
        self.lease.server.clock.iter().for_each(|clock| clock.set(backend.number(), self.now));
        let collected = work(backend, &|pid| self.lease.is_blocked(pid));
        let status = backend.status;
        match collected {
            Ok(Collected::Waits) => match self.transaction.limits.or(self.limits).longest_wait() {
                Some((longest, _)) => ForwardOutcome::WaitsAtMost(longest),
                None => ForwardOutcome::Waits,
            },
            Ok(Collected::Reply(bytes)) => {
                match status {
                    // The server has not said yet what has become of it.
                    _ if backend.has_flushed => {}
                    b'I' => (self.transaction, self.open) = (Transaction::default(), None),
                    // After `ROLLBACK TO`, what came before the savepoint is still there.
                    _ => (self.transaction.is_open, self.transaction.is_failed) = (true, status == b'E'),
                }
                ForwardOutcome::Ended(Reply::new(bytes))
            }
            Ok(Collected::LastWords(bytes)) => {
                self.end();
                ForwardOutcome::Ended(Reply::new(bytes).last())
            }
            Err(_) => {
                self.end();
                ForwardOutcome::Ended(Reply::reset())
            }
        }
    }

    /// Lets the server refuse a statement of a transaction, in favor of one that does not exist. `ends` says that the
    /// statement ends the transaction in any case.
    pub(crate) fn refuse(&mut self, conflict: Option<Conflict>, ends: bool) -> ForwardOutcome {
        let (code, text) = match conflict {
            Some(Conflict::Serialization) => ("40001", "could not serialize access due to concurrent update"),
            _ => ("40P01", "deadlock detected"),
        };
        let raise = format!("DO $$BEGIN RAISE EXCEPTION '{text}' USING ERRCODE = '{code}'; END$$");
        self.run(|backend, is_blocked| {
            let refused = backend.exchange(is_blocked, &query(&raise), Until::Ready)?;
            let Collected::Reply(mut bytes) = refused else { return Ok(refused) };
            if ends {
                backend.exchange(is_blocked, &query("ROLLBACK"), Until::Ready)?;
                // The status in the last byte is that after the transaction.
                bytes.pop();
                bytes.push(backend.status);
            }
            Ok(Collected::Reply(bytes))
        })
    }

    /// Cancels the statement that waits. Without one, a request to cancel is late, and has no effect.
    pub(crate) fn cancel(&mut self) {
        let Some(backend) = self.backend.as_mut().filter(|backend| backend.is_waiting()) else { return };
        backend.is_canceled = true;
        let message = backend.cancel_request();
        // The server closes the connection when it has told the backend.
        let _ = Connection::open(&self.lease.server.address.target).and_then(|mut cancel| {
            cancel.send(&message)?;
            while cancel.next()?.is_none() {}
            Ok(())
        });
    }

    /// Ends the wait of a statement that has waited for as long as the client allows, with the error of the server.
    pub(crate) fn give_up(&mut self) -> ForwardOutcome {
        let limit = self.transaction.limits.or(self.limits).longest_wait();
        self.cancel();
        let (code, text) = match limit {
            Some((_, true)) => ("55P03", "canceling statement due to lock timeout"),
            _ => ("57014", "canceling statement due to statement timeout"),
        };
        self.run(|backend, is_blocked| match backend.resume(is_blocked)? {
            Collected::Reply(bytes) => Ok(Collected::Reply(with_error(&bytes, &error("ERROR", code, text)))),
            other => Ok(other),
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end();
    }
}

/// The messages of a reply, with another error.
fn with_error(mut reply: &[u8], error: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let [kind, length @ ..] = reply {
        let length =
            length.first_chunk().map_or(reply.len(), |length| u32::from_be_bytes(*length) as usize + 1);
        let (message, rest) = reply.split_at(length.min(reply.len()));
        bytes.extend(if *kind == b'E' { error } else { message });
        reply = rest;
    }
    bytes
}
