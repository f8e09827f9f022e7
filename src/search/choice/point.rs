//! The points at which a run reaches a choice, and the waits that have points of their own.

use std::fmt;

/// Declares an enum whose variants each have a text. The texts are part of scenarios, so changing one breaks kept
/// scenarios.
macro_rules! texts {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),*];

            /// The text in scenarios.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

texts! {
    /// The point at a site.
    Point {
        /// At an attempt: before its first line.
        Start "start",
        /// At an attempt: after its last line, before the queue learns of it.
        End "end",
        /// After a successful attempt: whether the queue learns of it.
        Ack "ack",
        /// After the death of an attempt's worker: when the job is redelivered.
        Lease "lease",
        /// After a failed attempt: when the job is retried.
        Retry "retry",
        /// At a call or a wait: before it.
        Before "before",
        /// At a call that is made beside others: whether it takes effect after them.
        Overlap "sent",
        /// At a call: how it ends.
        Call "call",
        /// At an enqueue: between taking the lock and enqueuing the job.
        Locked "locked",
        /// At a call or a wait that sets a timer: when the timer fires.
        Timer "timer",
        /// At a call: it has happened, and its reply has not arrived.
        Happened "happened",
        /// At a call: its reply has arrived.
        Replied "replied",
        /// At a call whose task waits for something else as well: whether the reply arrives in time.
        Reply "reply",
        /// At a call whose service calls back: when it does.
        Webhook "webhook",
        /// At an operation on the locks of a unique job: after it.
        After "after",
        /// Before a line of a `#[crash_points]` function.
        Line "line",
        /// After a step of a task: which task runs next.
        Next "next",
        /// After a step of an attempt: whether its worker stalls past the lease.
        Pause "pause",
        /// After a step of a task: whether it stalls until just past a deadline.
        Stall "stall",
        /// At the queue: which of the waiting jobs a worker takes.
        Pick "pick",
        /// Before an attempt begins: which process takes the job.
        Take "take",
    }
}

texts! {
    /// A wait that has a crash point of its own.
    WaitKind {
        /// Until some time has passed.
        Sleep "sleep",
        /// Until other tasks had a chance to run.
        Yield "yield",
        /// For a connection to the store.
        Connection "pool-wait",
        /// For a locked row of the store.
        Row "lock-wait",
        /// For a notification.
        Notification "listen",
        /// For something that an external system withholds from the call.
        External "outside-wait",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept scenarios contain these texts.
    #[test]
    fn every_text_is_what_it_always_was() {
        let points: Vec<_> = Point::ALL.iter().map(|point| point.as_str()).collect();
        assert_eq!(
            points,
            [
                "start", "end", "ack", "lease", "retry", "before", "sent", "call", "locked", "timer",
                "happened", "replied", "reply", "webhook", "after", "line", "next", "pause", "stall", "pick",
                "take"
            ]
        );
        let waits: Vec<_> = WaitKind::ALL.iter().map(|wait| wait.as_str()).collect();
        assert_eq!(waits, ["sleep", "yield", "pool-wait", "lock-wait", "listen", "outside-wait"]);
        let named = [Point::Before.to_string(), WaitKind::Row.to_string()];
        assert_eq!(named, ["before", "lock-wait"], "a text is shown as it is");
    }
}
