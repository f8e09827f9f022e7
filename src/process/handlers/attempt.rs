//! An attempt of a job.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::search::choice::Place;
use crate::system::job::JobFailure;

/// An attempt of a job, which runs to its end or its error.
pub(crate) type Attempt = Pin<Box<dyn Future<Output = Result<(), JobFailure>>>>;

/// An attempt that has begun, or the error of decoding its payload, with the place of the handler.
pub(crate) type Start = (Result<Attempt, serde_json::Error>, Place);

/// A handler for any kind of job.
pub(in crate::process) trait Handler {
    /// Begins an attempt of a job, if its payload decodes.
    fn start(self: Rc<Self>, job: u32, payload: &str, around: Wrappers)
    -> Result<Attempt, serde_json::Error>;
}

/// Runs code on its thread, with something set up around it.
type Wrap = Arc<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// The setup of the thread on which a blocking handler runs. The first one is the outermost.
#[derive(Clone, Default)]
pub(crate) struct Wrappers(Vec<Wrap>);

impl fmt::Debug for Wrappers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Around").field(&self.0.len()).finish()
    }
}

impl Wrappers {
    pub(in crate::process) fn push(&mut self, around: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) {
        self.0.push(Arc::new(around));
    }

    pub(super) fn run(&self, code: &mut dyn FnMut()) {
        fn inside(wraps: &[Wrap], code: &mut dyn FnMut()) {
            match wraps {
                [] => code(),
                [first, rest @ ..] => first(&mut || inside(rest, code)),
            }
        }
        inside(&self.0, code);
    }
}
