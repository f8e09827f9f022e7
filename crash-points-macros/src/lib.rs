//! The attribute behind the crate [`crash-points`](https://docs.rs/crash-points), which re-exports it and documents it.
//! Depend on that crate: what the attribute expands to are calls into it.
//!
//! The map, in the order in which data flows: `complaint` words every error; `arguments` reads what stands in the
//! attribute's parentheses; `fragment` makes what `macro_rules!` hands on readable; `statement` looks at one statement from
//! outside; `diverge` tells what nothing gets past; `points` walks a body and puts the calls in; `expand` takes the item
//! apart and puts it together again.

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
/// Without the feature `enabled` of `crash-points` it expands to exactly the item it was given. See the documentation of
/// that crate for what is generated, and where it may stand.
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
