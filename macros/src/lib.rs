//! The attribute of `retryproof`, documented there as `#[retryproof::test]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, ItemFn, Result, Token, parse_macro_input};

/// Turns an async test body into a test that explores it. See `retryproof::test`.
#[proc_macro_attribute]
pub fn test(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let settings = parse_macro_input!(arguments with Punctuated::<Setting, Token![,]>::parse_terminated);
    let body = parse_macro_input!(item as ItemFn);
    expand(settings, body).unwrap_or_else(Error::into_compile_error).into()
}

/// The settings that can be arguments: those of `Explore` that take a value (`pct` and `shard` take two, in
/// parentheses), and those without a value.
const WITH_VALUE: [&str; 18] = [
    "deviations",
    "crashes",
    "faults",
    "deliveries",
    "preemptions",
    "delays",
    "max_runs",
    "max_assignments",
    "max_time",
    "watchdog",
    "max_steps",
    "seed",
    "merge",
    "reduce",
    "threads",
    "random",
    "pct",
    "shard",
];
const WITH_TWO_VALUES: [&str; 2] = ["pct", "shard"];
const WITHOUT_VALUE: [&str; 5] =
    ["allow_incomplete", "keep_regressions", "ratchet", "keep_going", "stop_at_first"];

/// `deviations = 3`, or `allow_incomplete`.
struct Setting {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name: Ident = input.parse()?;
        let text = name.to_string();
        let with_value = WITH_VALUE.contains(&text.as_str());
        if !with_value && !WITHOUT_VALUE.contains(&text.as_str()) {
            let known = WITH_VALUE.map(|name| format!("{name} = …")).join(", ");
            let message =
                format!("unknown setting `{text}`; there are {known}, {}", WITHOUT_VALUE.join(", "));
            return Err(Error::new(name.span(), message));
        }
        let value = if with_value {
            let _: Token![=] = input
                .parse()
                .map_err(|_| Error::new(name.span(), format!("`{text}` needs a value: `{text} = …`")))?;
            Some(input.parse()?)
        } else {
            None
        };
        Ok(Self { name, value })
    }
}

fn expand(settings: Punctuated<Setting, Token![,]>, body: ItemFn) -> Result<TokenStream> {
    let signature = &body.sig;
    if signature.asyncness.is_none() {
        let message = "a retryproof test is an `async fn` that takes `world: &World` (did `use retryproof::*` put this attribute in the place of `#[test]`? then import by name)";
        return Err(Error::new(signature.fn_token.span(), message));
    }
    if signature.inputs.len() != 1 || !signature.generics.params.is_empty() {
        let message = "a retryproof test takes one argument, `world: &World`, and no generics";
        return Err(Error::new(signature.ident.span(), message));
    }
    let name = &signature.ident;
    let attributes = &body.attrs;
    let visibility = &body.vis;
    let mut inner = body.clone();
    inner.attrs.clear();
    inner.vis = syn::Visibility::Inherited;
    inner.sig.ident = format_ident!("body", span = name.span());
    let calls = settings.iter().map(|Setting { name, value }| match value {
        Some(Expr::Tuple(two)) if WITH_TWO_VALUES.iter().any(|known| name == known) => {
            let values = two.elems.iter();
            quote_spanned!(name.span()=> .#name(#(#values),*))
        }
        value => quote_spanned!(name.span()=> .#name(#value)),
    });
    let run = quote_spanned! {name.span()=>
        ::retryproof::Explore::new()
            .name(::retryproof::__test_name(module_path!(), stringify!(#name)))
            #(#calls)*
            .check(body)
    };
    // A body that returns a `Result` fails the test by an `Err`, as one of `#[test]` does.
    let body = match &signature.output {
        syn::ReturnType::Default => quote!(#inner),
        syn::ReturnType::Type(_, returned) => {
            inner.sig.ident = format_ident!("body_with_result", span = name.span());
            let passed =
                quote_spanned!(returned.span()=> ::retryproof::__passed(body_with_result(world).await));
            quote! {
                #inner
                async fn body(world: &::retryproof::World) {
                    #passed;
                }
            }
        }
    };
    Ok(quote! {
        #(#attributes)*
        #[::core::prelude::v1::test]
        #visibility fn #name() {
            #body
            #run;
        }
    })
}

#[cfg(test)]
mod tests {
    // By name: a glob would bring in this crate's own `test`.
    use super::{ItemFn, Punctuated, expand};

    fn complaint(body: ItemFn) -> Option<String> {
        expand(Punctuated::new(), body).err().map(|error| error.to_string())
    }

    #[test]
    fn a_body_that_is_not_async_or_takes_something_else_is_told_what_to_do() {
        let plain = complaint(syn::parse_quote! { fn paid(world: &World) {} });
        assert!(plain.is_some_and(|told| told.starts_with("a retryproof test is an `async fn`")));
        let empty = complaint(syn::parse_quote! { async fn paid() {} });
        assert!(empty.is_some_and(|told| told.starts_with("a retryproof test takes one argument")));
        assert_eq!(complaint(syn::parse_quote! { async fn paid(world: &World) {} }), None);
        assert_eq!(complaint(syn::parse_quote! { async fn paid(world: &World) -> () {} }), None);
        assert_eq!(complaint(syn::parse_quote! { async fn paid(world: &World) -> Result<(), E> {} }), None);
    }
}
