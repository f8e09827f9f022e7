//! The operation of a thread, as data and as text.

use std::fmt;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::search::choice::Place;

/// One operation of a thread, or its next operation.
#[derive(Clone, Debug)]
pub(super) struct ThreadStep {
    pub(super) thread: usize,
    pub(super) at: Place,
    /// The value that the operation uses.
    pub(super) shared: Option<usize>,
    pub(super) said: OperationText,
}

/// An operation of a thread in the execution that a report shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ModelStep {
    /// The thread: the model's closure is 0, the others are numbered as they are spawned.
    pub thread: usize,
    /// The place, as `file:line:column`.
    pub place: String,
    /// The operation as code with its result: `AtomicU32#1.load(SeqCst) → 0`.
    pub operation: String,
}

/// A value to show. Addresses are not shown, because they differ from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Bool(bool),
    Address,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Address => f.write_str("…"),
        }
    }
}

macro_rules! value_of {
    ($as:ident $wide:ty: $($type:ty)*) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$as(value as $wide)
            }
        })*
    };
}
value_of!(Unsigned u64: u8 u16 u32 u64 usize);
value_of!(Signed i64: i8 i16 i32 i64 isize);
value_of!(Bool bool: bool);

impl<T> From<*mut T> for Value {
    fn from(_: *mut T) -> Self {
        Self::Address
    }
}

/// The description of an operation. It becomes text only if it is shown.
#[derive(Clone, Debug)]
pub(super) enum OperationText {
    /// A method of an atomic: its name, its values, its orderings, and its result.
    Atomic {
        method: &'static str,
        values: [Option<Value>; 2],
        orderings: [Option<Ordering>; 2],
        result: Option<Result<Value, Value>>,
    },
    /// A method without arguments, and its result if that is shown.
    Call {
        method: &'static str,
        result: Option<&'static str>,
    },
    /// An operation without an object: a fence, a yield.
    Plain(&'static str),
    Fence(Ordering),
    Spawn(usize),
    Join(usize),
    Unpark(usize),
}

impl fmt::Display for OperationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Atomic { method, values, orderings, result } => {
                let values = values.iter().flatten().map(ToString::to_string);
                let orderings = orderings.iter().flatten().map(|ordering| format!("{ordering:?}"));
                let arguments: Vec<_> = values.chain(orderings).collect();
                write!(f, "{method}({})", arguments.join(", "))?;
                match (result, *method) {
                    (None, _) => Ok(()),
                    (Some(Ok(value)), "compare_exchange" | "fetch_update") => write!(f, " → Ok({value})"),
                    (Some(Ok(value)), _) => write!(f, " → {value}"),
                    (Some(Err(value)), _) => write!(f, " → Err({value})"),
                }
            }
            Self::Call { method, result: None } => write!(f, "{method}()"),
            Self::Call { method, result: Some(result) } => write!(f, "{method}() → {result}"),
            Self::Plain(text) => f.write_str(text),
            Self::Fence(ordering) => write!(f, "fence({ordering:?})"),
            Self::Spawn(thread) => write!(f, "spawns thread {thread}"),
            Self::Join(thread) => write!(f, "joins thread {thread}"),
            Self::Unpark(thread) => write!(f, "unparks thread {thread}"),
        }
    }
}
