//! A notifier, as PostgreSQL's LISTEN and NOTIFY: who does not listen hears nothing.

use std::collections::BTreeMap;

use super::{Operation, Refusal, Service, ServiceContext};
use crate::system::clock::Wake;

/// A notifier, as the service that its senders call.
#[derive(Clone, Debug, Default)]
pub(crate) struct NotifierService {
    listeners: BTreeMap<u64, Heard>,
    listened: u64,
    /// The listeners to wake.
    due: Vec<Wake>,
}

/// The messages of a listener.
#[derive(Clone, Debug, Default)]
struct Heard {
    messages: u32,
    waits: Option<Wake>,
}

impl NotifierService {
    pub(crate) fn listen(&mut self) -> u64 {
        self.listened += 1;
        self.listeners.insert(self.listened, Heard::default());
        self.listened
    }

    pub(crate) fn hang_up(&mut self, listener: u64) {
        self.listeners.remove(&listener);
    }

    /// Takes the next message of a listener. If no message waits, the next one that comes calls `wake`.
    pub(crate) fn hear(&mut self, listener: u64, wake: Wake) -> bool {
        let Some(heard) = self.listeners.get_mut(&listener) else { return false };
        match heard.messages.checked_sub(1) {
            Some(left) => heard.messages = left,
            None => heard.waits = Some(wake),
        }
        heard.waits.is_none()
    }

    pub(crate) fn take_due(&mut self) -> Vec<Wake> {
        std::mem::take(&mut self.due)
    }
}

impl Service for NotifierService {
    type Request = ();
    type Reply = ();

    fn operation(&self, (): &()) -> Operation {
        Operation::write("notify".into())
    }

    fn answer(&mut self, (): (), _: &mut ServiceContext<'_>) -> Result<(), Refusal> {
        for heard in self.listeners.values_mut() {
            heard.messages += 1;
            self.due.extend(heard.waits.take());
        }
        Ok(())
    }
}
