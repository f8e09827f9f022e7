//! The points at which a choice is met, and the waits that have points of their own.

use std::fmt;

/// Declares an enum whose variants each have a text, which is part of scenarios: changing one breaks those that were
/// kept.
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

            /// The text that stands for it in scenarios.
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
    /// Which of the points at a site.
    Point {
        /// Of an attempt: before its first line.
        Start "start",
        /// Of an attempt: after its last line, before the queue hears of it.
        End "end",
        /// Of an attempt that ended well: whether the queue hears of it.
        Ack "ack",
        /// Of an attempt whose worker died: when the job comes back.
        Lease "lease",
        /// Of an attempt that failed: when the job is tried again.
        Retry "retry",
        /// Of a call or a wait: before it.
        Before "before",
        /// Of a call: how it goes.
        Call "call",
        /// Of an enqueue: between taking the lock and enqueuing the job.
        Locked "locked",
        /// Of a call or a wait that sets a timer: when the timer fires.
        Timer "timer",
        /// Of a call: it has happened, and its reply has not arrived.
        Happened "happened",
        /// Of a call: its reply has arrived.
        Replied "replied",
        /// Of a call whose caller waits for something else besides: whether its reply arrives in time.
        Reply "reply",
        /// Of a step at the locks of a unique job: after it.
        After "after",
        /// Before a line of a `#[crash_points]` function.
        Line "line",
        /// After a step of a task: which task runs next.
        Next "next",
        /// After a step of an attempt: whether its worker stalls past the lease.
        Pause "pause",
        /// After a step of a task: whether it stands still until something is over.
        Stall "stall",
        /// At the queue: which of the waiting jobs is taken.
        Pick "pick",
        /// Of an attempt that is to begin: which process takes the job.
        Take "take",
    }
}

texts! {
    /// A wait that has a crash point of its own.
    WaitKind {
        /// For time to pass.
        Sleep "sleep",
        /// For nothing: others may run.
        Yield "yield",
        /// For a connection to the store.
        Connection "pool-wait",
        /// For a locked row of the store.
        Row "lock-wait",
        /// For what an external system holds back from the call.
        External "outside-wait",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept scenarios name these texts.
    #[test]
    fn every_text_is_what_it_always_was() {
        let points: Vec<_> = Point::ALL.iter().map(|point| point.as_str()).collect();
        assert_eq!(
            points,
            [
                "start", "end", "ack", "lease", "retry", "before", "call", "locked", "timer", "happened",
                "replied", "reply", "after", "line", "next", "pause", "stall", "pick", "take"
            ]
        );
        let waits: Vec<_> = WaitKind::ALL.iter().map(|wait| wait.as_str()).collect();
        assert_eq!(waits, ["sleep", "yield", "pool-wait", "lock-wait", "outside-wait"]);
        let named = [Point::Before.to_string(), WaitKind::Row.to_string()];
        assert_eq!(named, ["before", "lock-wait"], "a text is shown as it is");
    }
}
