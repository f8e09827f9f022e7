//! All that the attribute can say to a user, one function a message. Each says what to do.

use proc_macro2::Span;
use syn::Error;

/// On an item that has no statements of its own.
pub(crate) fn not_here(at: Span, what: &str, instead: &str) -> Error {
    Error::new(
        at,
        format!("`#[crash_points]` cannot stand on {what}: put it on {instead}"),
    )
}

/// On `fn f();` in a trait.
pub(crate) fn no_body(at: Span) -> Error {
    Error::new(
        at,
        "`#[crash_points]` needs a function with a body, this one has none: put it on the implementations",
    )
}

/// On a `const fn` by itself. (In an `impl` block it is passed over.)
pub(crate) fn const_fn(at: Span) -> Error {
    Error::new(
        at,
        "`#[crash_points]` cannot stand on a `const fn`, because constants cannot make the calls that it inserts: \
         remove the attribute or the `const`",
    )
}

/// On a naked function by itself. (In an `impl` block it is passed over.)
pub(crate) fn naked(at: Span) -> Error {
    Error::new(
        at,
        "`#[crash_points]` cannot stand on a naked function, whose body is assembly alone: remove the attribute",
    )
}

/// Two of them on one item.
pub(crate) fn twice(at: Span) -> Error {
    Error::new(at, "`#[crash_points]` stands on this function twice: remove one")
}

/// Anything in the parentheses but `crate = path`.
pub(crate) fn argument(at: Span) -> Error {
    Error::new(
        at,
        "unknown argument: write `#[crash_points]`, or `#[crash_points(crate = path::to::crash_points)]` where the \
         crate `crash-points` goes by another path",
    )
}

/// rustc parsed the item, syn did not: syntax that is younger than the syn this was built with.
pub(crate) fn unreadable(cause: &Error) -> Error {
    Error::new(
        cause.span(),
        format!("`#[crash_points]` cannot read this item ({cause}): remove the attribute, or update `syn`"),
    )
}
