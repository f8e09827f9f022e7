//! The options of a choice.

use super::{Choice, Fault, FaultSet};

/// The options of a choice. Option 0 is the ordinary course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// The process lives on, or dies.
    Crash,
    /// The process lives on, or dies, or dies here in every attempt of the job.
    Poison,
    /// The process lives on, or ends in one of several ways: see [`Ending`].
    Ending,
    /// The call succeeds, or fails in one of these ways.
    Faults(FaultSet),
    /// A timer fires on time, or days late.
    Lateness,
    /// The task carries on, or stalls for one of several stretches of time.
    Stall(Stalls),
    /// A reply arrives at once, or so late that its caller may have gone on without it.
    Reply,
    /// A service calls back after its reply, before it, or an hour later.
    Webhook,
    /// The same, or it never calls back.
    LossyWebhook,
    /// A call takes effect at once, or after those that its task makes beside it.
    Overlap,
    /// The worker carries on, or stalls past its lease.
    Lease,
    /// The queue learns of the end of the job, or delivers the job again.
    Acknowledgement,
    /// As many options as there are candidates, counted from 0.
    Counted(u32),
    /// The current task carries on, or one of this many others runs instead.
    Others(u32),
}

/// The stretches of time for which a task may stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stalls(u8);

impl Stalls {
    pub(crate) const NONE: Self = Self(0);
    /// Until just past the next deadline.
    pub(crate) const NEXT: Self = Self(1);
    /// Until just past the one after.
    pub(crate) const SECOND: Self = Self(2);
    /// For ten minutes, or as long as others bear.
    pub(crate) const LONG: Self = Self(4);

    /// The same, and `other`.
    #[must_use]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The stretch behind an option. Option 0 has none.
    pub(crate) fn at_option(self, option: usize) -> Option<Self> {
        let all = [Self::NEXT, Self::SECOND, Self::LONG];
        let offered = all.into_iter().filter(|one| self.0 & one.0 != 0);
        option.checked_sub(1).and_then(|nth| offered.clone().nth(nth))
    }
}

/// How an incarnation may end at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    None,
    Crash,
    /// The process receives the stop signal here.
    Stop,
    /// The process received the stop signal earlier, and its grace period ends here.
    Interrupt,
}

impl Ending {
    const ALL: [Self; 4] = [Ending::None, Ending::Crash, Ending::Stop, Ending::Interrupt];

    /// The ending behind an option of [`Options::Crash`] or [`Options::Ending`].
    pub(crate) fn at_option(option: usize) -> Self {
        Self::ALL[option]
    }
}

impl Options {
    /// The number of options, including the ordinary one.
    pub(crate) fn len(self) -> usize {
        match self {
            Options::Faults(faults) => faults.len() + 1,
            Options::Stall(stalls) => stalls.len() + 1,
            Options::Counted(count) => count as usize,
            Options::Others(count) => count as usize + 1,
            named => named.names().len(),
        }
    }

    /// The names of the options, if the names are fixed.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Options::Crash => &["live", "crash"],
            Options::Poison => &["live", "crash", "poison"],
            Options::Ending => &["live", "crash", "stop", "interrupt"],
            Options::Lateness => &["on-time", "days-late"],
            Options::Reply => &["prompt", "late"],
            Options::Webhook => &["after-reply", "before-reply", "late"],
            Options::LossyWebhook => &["after-reply", "before-reply", "late", "never"],
            Options::Overlap => &["in-order", "behind"],
            Options::Lease => &["none", "past-lease"],
            Options::Acknowledgement => &["heard", "again"],
            Options::Faults(_) | Options::Stall(_) | Options::Counted(_) | Options::Others(_) => &[],
        }
    }

    /// The name of one option.
    pub(crate) fn name(self, option: usize) -> String {
        match self {
            Options::Faults(faults) => faults.at_option(option).map_or("ok", Fault::name).to_owned(),
            Options::Stall(stalls) => match stalls.at_option(option) {
                None => "none".to_owned(),
                Some(Stalls::NEXT) => "past-next-deadline".to_owned(),
                Some(Stalls::SECOND) => "past-second-deadline".to_owned(),
                Some(_) => "a-long-while".to_owned(),
            },
            Options::Counted(_) => option.to_string(),
            Options::Others(_) => match option {
                0 => "on".to_owned(),
                1 => "other".to_owned(),
                nth => format!("other-{nth}"),
            },
            named => named.names()[option].to_owned(),
        }
    }

    pub(super) fn find(self, name: &str) -> Option<usize> {
        (0..self.len()).find(|&option| self.name(option) == name)
    }
}

impl Choice {
    /// The fault that was taken, if this is a choice of faults.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self.options {
            Options::Faults(faults) => faults.at_option(self.taken as usize),
            _ => None,
        }
    }

    /// The way in which the process ended, if this is a choice of endings.
    pub(crate) fn ending(&self) -> Ending {
        match self.options {
            Options::Crash | Options::Ending => Ending::at_option(self.taken as usize),
            _ => Ending::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept scenarios contain these names.
    #[test]
    fn every_option_has_the_name_it_always_had() {
        let faults = FaultSet::NONE.with(Fault::Refused).with(Fault::ReplyLost);
        for (options, names) in [
            (Options::Crash, "live crash"),
            (Options::Poison, "live crash poison"),
            (Options::Ending, "live crash stop interrupt"),
            (Options::Faults(faults), "ok refused reply-lost"),
            (Options::Faults(FaultSet::NONE), "ok"),
            (Options::Lateness, "on-time days-late"),
            (Options::Reply, "prompt late"),
            (Options::Webhook, "after-reply before-reply late"),
            (Options::LossyWebhook, "after-reply before-reply late never"),
            (Options::Overlap, "in-order behind"),
            (Options::Stall(Stalls::NEXT.with(Stalls::LONG)), "none past-next-deadline a-long-while"),
            (
                Options::Stall(Stalls::NEXT.with(Stalls::SECOND)),
                "none past-next-deadline past-second-deadline",
            ),
            (Options::Lease, "none past-lease"),
            (Options::Acknowledgement, "heard again"),
            (Options::Counted(3), "0 1 2"),
            (Options::Others(3), "on other other-2 other-3"),
        ] {
            let all: Vec<_> = (0..options.len()).map(|option| options.name(option)).collect();
            assert_eq!(all.join(" "), names, "{options:?}");
            assert!(all.iter().enumerate().all(|(at, name)| options.find(name) == Some(at)), "{options:?}");
            assert_eq!(options.find("explode"), None, "{options:?}");
        }
        assert!((0..4).all(|option| Ending::at_option(option) as usize == option));
    }
}
