//! The attribute behind the crate [`crash-points`](https://docs.rs/crash-points), which re-exports and documents it.
//! Depend on that crate, because the attribute expands to calls into it.
//!
//! The modules, in the order in which data flows: `complaint` has all error messages; `arguments` parses the
//! attribute's parentheses; `fragment` makes the output of `macro_rules!` readable; `statement` examines one
//! statement from the outside; `diverge` finds statements that never complete; `points` walks a body and inserts the
//! calls; `expand` takes the item apart and reassembles it.

#[cfg(any(test, feature = "enabled"))]
mod complaint;
#[cfg(any(test, feature = "enabled"))]
mod arguments;
#[cfg(any(test, feature = "enabled"))]
mod fragment;
#[cfg(any(test, feature = "enabled"))]
mod statement;
#[cfg(any(test, feature = "enabled"))]
mod diverge;
#[cfg(any(test, feature = "enabled"))]
mod points;
#[cfg(any(test, feature = "enabled"))]
mod expand;

use proc_macro::TokenStream;

/// Puts a crash point before every statement of a function, or of every function of an `impl` block.
///
/// Without the feature `enabled` of `crash-points` it expands to exactly the item it was given. The documentation of
/// that crate shows the generated code, and where the attribute is allowed.
#[proc_macro_attribute]
pub fn crash_points(arguments: TokenStream, item: TokenStream) -> TokenStream {
    #[cfg(feature = "enabled")]
    {
        expand::expand(arguments.into(), item.into()).into()
    }
    #[cfg(not(feature = "enabled"))]
    {
        drop(arguments);
        item
    }
}
