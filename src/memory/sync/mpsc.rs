//! `std::sync::mpsc` outside a model. Inside, a queue behind a lock and a condition variable of the parent module, so
//! that the drop of a sender and a bound are explored, too.

use std::collections::VecDeque;
use std::fmt;
use std::sync::PoisonError;
use std::sync::mpsc as outside;
use std::time::Duration;

#[doc(no_inline)]
pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use super::super::execution::Execution;
use super::{Arc, Condvar, Mutex, MutexGuard};

/// The channel of a model.
struct Channel<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
}

struct Inner<T> {
    waiting: VecDeque<T>,
    most: usize,
    senders: usize,
    has_receiver: bool,
}

impl<T> Channel<T> {
    #[track_caller]
    fn new(most: usize) -> Arc<Self> {
        let inner = Inner { waiting: VecDeque::new(), most, senders: 1, has_receiver: true };
        Arc::new(Self { inner: Mutex::of_kind("channel", inner), changed: Condvar::new() })
    }

    #[track_caller]
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[track_caller]
    fn wait<'a>(&self, inner: MutexGuard<'a, Inner<T>>) -> MutexGuard<'a, Inner<T>> {
        self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner)
    }

    #[track_caller]
    fn send(&self, message: T) -> Result<(), SendError<T>> {
        let mut inner = self.lock();
        while inner.has_receiver && inner.waiting.len() >= inner.most {
            inner = self.wait(inner);
        }
        if !inner.has_receiver {
            return Err(SendError(message));
        }
        inner.waiting.push_back(message);
        drop(inner);
        self.changed.notify_all();
        Ok(())
    }

    #[track_caller]
    fn recv(&self) -> Result<T, RecvError> {
        let mut inner = self.lock();
        loop {
            if let Some(message) = inner.waiting.pop_front() {
                drop(inner);
                self.changed.notify_all();
                return Ok(message);
            }
            if inner.senders == 0 {
                return Err(RecvError);
            }
            inner = self.wait(inner);
        }
    }

    #[track_caller]
    fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut inner = self.lock();
        match inner.waiting.pop_front() {
            Some(message) => {
                drop(inner);
                self.changed.notify_all();
                Ok(message)
            }
            None if inner.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    #[track_caller]
    fn change(&self, change: impl FnOnce(&mut Inner<T>)) {
        // While a thread unwinds, or after the end, no thread is left to notice.
        if Execution::current().is_none_or(|execution| !execution.is_live()) {
            return;
        }
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

macro_rules! sender {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        pub struct $name<T>(SenderSide<T, outside::$name<T>>);

        impl<T> $name<T> {
            /// Sends a message. Waits for room if the channel is bounded.
            ///
            /// # Errors
            /// The message, if there is no receiver left.
            #[track_caller]
            pub fn send(&self, message: T) -> Result<(), SendError<T>> {
                match &self.0 {
                    SenderSide::Outside(sender) => sender.send(message),
                    SenderSide::Inside(end) => end.0.send(message),
                }
            }
        }

        impl<T> Clone for $name<T> {
            #[track_caller]
            fn clone(&self) -> Self {
                Self(match &self.0 {
                    SenderSide::Outside(sender) => SenderSide::Outside(sender.clone()),
                    SenderSide::Inside(end) => {
                        end.0.change(|inner| inner.senders += 1);
                        SenderSide::Inside(SendingEnd(end.0.clone()))
                    }
                })
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

enum SenderSide<T, S> {
    Outside(S),
    Inside(SendingEnd<T>),
}

struct SendingEnd<T>(Arc<Channel<T>>);

impl<T> Drop for SendingEnd<T> {
    #[track_caller]
    fn drop(&mut self) {
        self.0.change(|inner| inner.senders -= 1);
    }
}

sender!(Sender, "`std::sync::mpsc::Sender` outside of a model, one end of a modeled channel inside.");
sender!(SyncSender, "`std::sync::mpsc::SyncSender` outside of a model, one end of a modeled channel inside.");

/// `std::sync::mpsc::Receiver` outside a model, the other end of a modeled channel inside.
pub struct Receiver<T>(ReceiverSide<T>);

enum ReceiverSide<T> {
    Outside(outside::Receiver<T>),
    Inside(ReceivingEnd<T>),
}

struct ReceivingEnd<T>(Arc<Channel<T>>);

impl<T> Drop for ReceivingEnd<T> {
    #[track_caller]
    fn drop(&mut self) {
        self.0.change(|inner| inner.has_receiver = false);
    }
}

/// Makes a channel without a bound.
#[track_caller]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    if in_model() {
        let channel = Channel::new(usize::MAX);
        let receiver = Receiver(ReceiverSide::Inside(ReceivingEnd(channel.clone())));
        return (Sender(SenderSide::Inside(SendingEnd(channel))), receiver);
    }
    let (sender, receiver) = outside::channel();
    (Sender(SenderSide::Outside(sender)), Receiver(ReceiverSide::Outside(receiver)))
}

/// Makes a channel that holds at most `bound` messages. Inside a model a bound of zero, a rendezvous, counts as one.
#[track_caller]
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    if in_model() {
        let channel = Channel::new(bound.max(1));
        let receiver = Receiver(ReceiverSide::Inside(ReceivingEnd(channel.clone())));
        return (SyncSender(SenderSide::Inside(SendingEnd(channel))), receiver);
    }
    let (sender, receiver) = outside::sync_channel(bound);
    (SyncSender(SenderSide::Outside(sender)), Receiver(ReceiverSide::Outside(receiver)))
}

fn in_model() -> bool {
    Execution::current().is_some_and(|execution| execution.is_live())
}

impl<T> Receiver<T> {
    /// Waits for a message.
    ///
    /// # Errors
    /// If there is neither a message nor a sender left.
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        match &self.0 {
            ReceiverSide::Outside(receiver) => receiver.recv(),
            ReceiverSide::Inside(end) => end.0.recv(),
        }
    }

    /// Returns a message if there is one.
    ///
    /// # Errors
    /// If there is no message.
    #[track_caller]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match &self.0 {
            ReceiverSide::Outside(receiver) => receiver.try_recv(),
            ReceiverSide::Inside(end) => end.0.try_recv(),
        }
    }

    /// Waits for a message, outside a model for at most `most`.
    ///
    /// # Errors
    /// If no message arrived in time, or if there is no sender left.
    #[track_caller]
    pub fn recv_timeout(&self, most: Duration) -> Result<T, RecvTimeoutError> {
        match &self.0 {
            ReceiverSide::Outside(receiver) => receiver.recv_timeout(most),
            ReceiverSide::Inside(end) => end.0.recv().map_err(|RecvError| RecvTimeoutError::Disconnected),
        }
    }

    /// Iterates over the messages until there is no sender left.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv().ok())
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
