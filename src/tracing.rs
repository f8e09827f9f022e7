//! Feature `tracing`: the timeline of the failing scenario shows its events, under the attempt that emitted them. The
//! other runs log nothing.
//!
//! An exploration runs the same job thousands of times, and all its log lines would bury the report. With this layer
//! in the subscriber, an event inside a run does not reach other layers. It is dropped, unless the report shows the
//! run or the run is a replay. In that case it becomes a line of the timeline, with its spans. Outside of runs, and
//! in [`World::fake`](crate::World::fake) and [`World::inline`](crate::World::inline), the layer lets all events
//! pass.
//!
//! ```ignore
//! use retryproof::{Explore, World, service::payments::Charge};
//! use tracing_subscriber::layer::SubscriberExt;
//! use tracing_subscriber::util::SubscriberInitExt;
//!
//! // Once in a test suite, for example in a function that each test calls: `.try_init()` fails the second time.
//! let _ = tracing_subscriber::registry().with(retryproof::tracing::ScenarioLayer::new()).try_init();
//!
//! let report = Explore::new().deviations(1).run(async |world: &World| {
//!     world.process("worker", |p| {
//!         let payments = p.payments();
//!         p.handle(async move |order: u32| {
//!             tracing::info!(order, "charging");
//!             payments.charge(Charge::of_order(order, 500)).await.map(drop)
//!         });
//!     });
//!     world.enqueue(6_u32);
//!     world.settle().await;
//! });
//! assert_eq!(report.to_string().matches("INFO charging order=6").count(), 2, "{report}");
//! ```
//!
//! Levels are up to other layers: a filter for the whole subscriber (`LevelFilter`, `EnvFilter`) also filters the
//! events of this layer. Values that differ from run to run (addresses, wall-clock times) also differ in the report.
//! The times that `tracing_subscriber::fmt` prints are not part of the event and are not shown.

use std::fmt::{self, Write};
use std::sync::Arc;

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::engine::state::{Log, Shared};
use crate::system::timeline::{EventKind, SideNotes};
use crate::{engine::life, engine::panics};

/// A layer for a `tracing_subscriber` that keeps the events of the runs that are shown. See [the module](self).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ScenarioLayer;

/// The fields of a span that was opened in a run that is shown.
struct Fields(String);

impl ScenarioLayer {
    /// Makes the layer. It stores nothing itself: events go to their run.
    pub fn new() -> Self {
        Self
    }
}

/// The run of the code on this thread, if there is one.
fn run() -> Option<Arc<Shared>> {
    life::here().map(|life| life.shared.clone()).or_else(panics::run_here)
}

/// The destination of events.
enum Destination {
    /// The other layers, because there is no run.
    Elsewhere,
    Nowhere,
    Timeline(Arc<Shared>, Arc<SideNotes>),
}

fn destination() -> Destination {
    let Some(shared) = run() else { return Destination::Elsewhere };
    match shared.log() {
        Log::Passes => Destination::Elsewhere,
        Log::Dropped => Destination::Nowhere,
        Log::Shown(aside) => {
            let aside = aside.clone();
            Destination::Timeline(shared, aside)
        }
    }
}

fn is_shown() -> bool {
    matches!(destination(), Destination::Timeline(..))
}

/// Adds a line to the timeline.
fn put_down(shared: &Shared, aside: &SideNotes, text: String) {
    // The state is locked while a service answers, so its log lines have to wait.
    let Some(mut state) = shared.try_state() else { return aside.say(text) };
    match life::here() {
        Some(life) => life.as_caller(&mut state, |state| state.note(|| EventKind::Said { text })),
        None => state.note(|| EventKind::Said { text }),
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for ScenarioLayer {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Decided each time, because the same line of code may run inside and outside of runs.
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !matches!(destination(), Destination::Nowhere)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !is_shown() {
            return;
        }
        let mut fields = Text::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Fields(fields.fields));
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|_| is_shown()) else { return };
        let mut fields = Text::default();
        record.record(&mut fields);
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<Fields>() {
            Some(known) => known.0.push_str(&fields.fields),
            None => extensions.insert(Fields(fields.fields)),
        }
    }

    /// Here and not in `on_event`, so that the other layers do not receive the event.
    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        let Destination::Timeline(shared, aside) = destination() else { return true };
        let mut text = Text::default();
        event.record(&mut text);
        // The log lines of tokio's poller contain tokens that differ from run to run.
        if event.metadata().target() == "log" && text.fields.contains("log.target=\"mio::") {
            return false;
        }
        let mut line = event.metadata().level().to_string();
        let _ = write!(line, " ");
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            let _ = write!(line, "{}", span.name());
            if let Some(Fields(fields)) = span.extensions().get::<Fields>().filter(|f| !f.0.is_empty()) {
                let _ = write!(line, "{{{}}}", fields.trim_start());
            }
            let _ = write!(line, ": ");
        }
        let _ = write!(line, "{}{}", text.message, text.fields);
        put_down(&shared, &aside, line.replace('\n', "\\n"));
        false
    }
}

/// The recorded fields, as text.
#[derive(Default)]
struct Text {
    message: String,
    /// ` name=value` for each field.
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
