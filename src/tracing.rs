//! Feature `tracing`: the events of the failing scenario stand in its timeline, under the attempt that made them, and
//! nothing of all the other runs is to be seen.
//!
//! An exploration runs the same job thousands of times, and what the job logs each time would bury the report. With this
//! layer in the subscriber an event inside of a run reaches no other layer: it is dropped, unless the run is one that is
//! shown (that of the report, or a replay). There it becomes a line of the timeline, with the spans that it stands in.
//! Outside of runs, and in [`World::fake`](crate::World::fake) and [`World::inline`](crate::World::inline), the layer lets
//! everything pass.
//!
//! ```ignore
//! use retryproof::{Explore, World, service::payments::Charge};
//! use tracing_subscriber::layer::SubscriberExt;
//! use tracing_subscriber::util::SubscriberInitExt;
//!
//! // In a test suite once, say by a function that each test calls: `.try_init()` fails the second time.
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
//! Levels are for another layer to say: a filter for the whole subscriber (`LevelFilter`, `EnvFilter`) keeps from this layer
//! what it keeps from all. Values that differ from run to run (addresses, wall-clock times) do so in the report, too; the
//! times that `tracing_subscriber::fmt` prints are none of the event's and are not shown.

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
    /// The layer. It keeps nothing itself: what it hears goes to the run that it is of.
    pub fn new() -> Self {
        Self
    }
}

/// The run whose code this thread runs, if it runs any.
fn run() -> Option<Arc<Shared>> {
    life::here().map(|life| life.shared.clone()).or_else(panics::run_here)
}

/// Where what is logged goes to.
enum Place {
    /// To the other layers: there is no run.
    Elsewhere,
    Nowhere,
    Timeline(Arc<Shared>, Arc<SideNotes>),
}

fn place() -> Place {
    let Some(shared) = run() else { return Place::Elsewhere };
    match shared.log() {
        Log::Passes => Place::Elsewhere,
        Log::Dropped => Place::Nowhere,
        Log::Shown(aside) => {
            let aside = aside.clone();
            Place::Timeline(shared, aside)
        }
    }
}

fn is_shown() -> bool {
    matches!(place(), Place::Timeline(..))
}

/// Puts a line into the timeline.
fn put_down(shared: &Shared, aside: &SideNotes, text: String) {
    // A service answers while the state is locked, and what it logs has to wait.
    let Some(mut state) = shared.try_state() else { return aside.say(text) };
    match life::here() {
        Some(life) => life.as_caller(&mut state, |state| state.note(|| EventKind::Said { text })),
        None => state.note(|| EventKind::Said { text }),
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for ScenarioLayer {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Asked each time: the same line of code runs inside of runs and outside of them.
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !matches!(place(), Place::Nowhere)
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

    /// Here, and not in `on_event`: what is kept is kept from the other layers.
    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        let Place::Timeline(shared, aside) = place() else { return true };
        let mut text = Text::default();
        event.record(&mut text);
        // What tokio's poller logs has tokens in it that differ from run to run.
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

/// What is recorded, as text.
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
