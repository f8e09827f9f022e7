//! The arguments of the attribute: none, or the path of the run-time crate.

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream};
use syn::{Path, Result, Token, parse_quote};

use crate::complaint;

/// `#[crash_points]` or `#[crash_points(crate = path::to::crash_points)]`.
pub(crate) struct Arguments {
    /// The path of `hit`, `Function` and `Place`.
    pub(crate) crate_path: Path,
}

impl Arguments {
    pub(crate) fn read(tokens: TokenStream) -> Result<Self> {
        syn::parse2(tokens)
    }
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Ok(Self {
                crate_path: parse_quote!(::crash_points),
            });
        }
        if !input.peek(Token![crate]) {
            return Err(complaint::argument(input.span()));
        }
        let keyword = input.parse::<Token![crate]>()?;
        if !input.peek(Token![=]) {
            return Err(complaint::argument(keyword.span));
        }
        input.parse::<Token![=]>()?;
        let crate_path = input.call(Path::parse_mod_style)?;
        input.parse::<Option<Token![,]>>()?;
        if input.is_empty() {
            Ok(Self { crate_path })
        } else {
            Err(complaint::argument(input.span()))
        }
    }
}
