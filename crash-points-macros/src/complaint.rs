//! All error messages of the attribute, one function for each. Each message says what to do.

use proc_macro2::Span;
use syn::Error;

/// The attribute is on an item without statements.
pub(crate) fn not_here(at: Span, what: &str, instead: &str) -> Error {
    Error::new(
        at,
        format!("`#[crash_points]` cannot stand on {what}: put it on {instead}"),
    )
}

/// The attribute is on `fn f();` in a trait.
pub(crate) fn no_body(at: Span) -> Error {
    Error::new(
        at,
        "`#[crash_points]` needs a function with a body, this one has none: put it on the implementations",
    )
}

/// The attribute is on a `const fn`. (In an `impl` block such a function is skipped.)
pub(crate) fn const_fn(at: Span) -> Error {
    Error::new(
        at,
        "`#[crash_points]` cannot stand on a `const fn`, because constants cannot make the calls that it inserts: \
         remove the attribute or the `const`",
    )
}

/// The attribute is on a naked function. (In an `impl` block such a function is skipped.)
pub(crate) fn naked(at: Span) -> Error {
    Error::new(
        at,
        "`#[crash_points]` cannot stand on a naked function, whose body is assembly alone: remove the attribute",
    )
}

/// The attribute is on an item twice.
pub(crate) fn twice(at: Span) -> Error {
    Error::new(at, "`#[crash_points]` stands on this function twice: remove one")
}

/// The parentheses have something other than `crate = path`.
pub(crate) fn argument(at: Span) -> Error {
    Error::new(
        at,
        "unknown argument: write `#[crash_points]`, or `#[crash_points(crate = path::to::crash_points)]` where the \
         crate `crash-points` goes by another path",
    )
}

/// rustc parsed the item, but syn did not: the syntax is newer than syn.
pub(crate) fn unreadable(cause: &Error) -> Error {
    Error::new(
        cause.span(),
        format!("`#[crash_points]` cannot read this item ({cause}): remove the attribute, or update `syn`"),
    )
}
