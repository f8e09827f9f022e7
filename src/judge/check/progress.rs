//! A progress line on the terminal.

#[cfg(feature = "progress")]
pub(super) use with_indicatif::Progress;
#[cfg(not(feature = "progress"))]
pub(super) use without::Progress;

/// The progress of an exploration.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "progress"),
    expect(dead_code, reason = "without the feature there is no progress line")
)]
pub(super) struct ProgressState {
    pub(super) runs: u64,
    /// A lower bound for the number of runs.
    pub(super) known: u64,
    /// An estimate for the number of runs.
    pub(super) expected: u64,
    pub(super) violated: u64,
}

#[cfg(feature = "progress")]
mod with_indicatif {
    use std::io::IsTerminal;
    use std::sync::{LazyLock, Mutex};
    use std::time::{Duration, Instant};

    use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

    use super::ProgressState;
    use crate::engine::state::lock;
    use crate::judge::check::surroundings::in_ci;

    /// Shorter explorations show no line.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// The minimum time between two updates of the line.
    const PAUSE: Duration = Duration::from_millis(100);

    /// Tests run in parallel, and each has its own line, below the others.
    static LINES: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

    /// The line of one exploration. It is absent in CI, and if stderr is not a terminal.
    #[derive(Debug)]
    pub(in crate::judge::check) struct Progress {
        name: String,
        line: Option<Mutex<Line>>,
    }

    #[derive(Debug)]
    struct Line {
        began: Instant,
        due: Instant,
        bar: Option<ProgressBar>,
    }

    impl Progress {
        pub(in crate::judge::check) fn new(name: &str) -> Self {
            let is_wanted = !in_ci() && std::io::stderr().is_terminal();
            let line = is_wanted.then(|| {
                let began = now();
                Mutex::new(Line { began, due: began + PATIENCE, bar: None })
            });
            Self { name: name.to_owned(), line }
        }

        /// Shows how many orders of the jobs of one run were tried, if an update is due.
        pub(in crate::judge::check) fn tell_orders(&self, tried: u64) {
            self.draw(|_| format!("tried {tried} orders of the jobs of one run"));
        }

        /// Draws the line, if an update is due.
        pub(in crate::judge::check) fn tell(&self, standing: impl FnOnce() -> ProgressState) {
            self.draw(|elapsed| {
                let ProgressState { runs, known, expected, violated } = standing();
                let violations = match violated {
                    0 => "no violation".to_owned(),
                    1 => "1 run failed".to_owned(),
                    runs => format!("{runs} runs failed"),
                };
                let left =
                    elapsed.mul_f64((expected.max(known) - runs) as f64 / runs.max(1) as f64).as_secs();
                format!("{runs} of at least {known} runs, {violations}, about {left} s left")
            });
        }

        fn draw(&self, message: impl FnOnce(Duration) -> String) {
            let Some(line) = &self.line else { return };
            let (mut line, now) = (lock(line), now());
            if now < line.due {
                return;
            }
            line.due = now + PAUSE;
            let message = message(now - line.began);
            if let Some(bar) = &line.bar {
                return bar.set_message(message);
            }
            let style = ProgressStyle::with_template("{prefix}: {msg}").expect("the template is well formed");
            let bar = ProgressBar::new_spinner().with_style(style).with_prefix(self.name.clone());
            let bar = LINES.add(bar.with_message(message));
            bar.tick();
            line.bar = Some(bar);
        }

        /// Removes the line.
        pub(in crate::judge::check) fn end(&self) {
            if let Some(bar) = self.line.as_ref().and_then(|line| lock(line).bar.take()) {
                bar.finish_and_clear();
                LINES.remove(&bar);
            }
        }
    }

    impl Drop for Progress {
        fn drop(&mut self) {
            self.end();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the user waits in real time; no run sees it")]
    fn now() -> Instant {
        Instant::now()
    }
}

#[cfg(not(feature = "progress"))]
mod without {
    use super::ProgressState;

    #[derive(Debug)]
    pub(in crate::judge::check) struct Progress;

    impl Progress {
        pub(in crate::judge::check) fn new(_: &str) -> Self {
            Self
        }

        pub(in crate::judge::check) fn tell(&self, _: impl FnOnce() -> ProgressState) {}

        pub(in crate::judge::check) fn tell_orders(&self, _: u64) {}

        pub(in crate::judge::check) fn end(&self) {}
    }
}
