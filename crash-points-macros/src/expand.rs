//! Turns an item into the item with points, or into the unchanged item and an error.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Attribute, Error, ImplItem, Item, ItemFn, ItemImpl, Result, Type};

use crate::arguments::Arguments;
use crate::{complaint, fragment, points};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match try_expand(arguments, item.clone()) {
        Ok(expanded) => expanded,
        // Keep the item, so that its uses do not become errors, too.
        Err(complaint) => {
            let complaint = complaint.into_compile_error();
            quote!(#item #complaint)
        }
    }
}

fn try_expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::read(arguments)?;
    match syn::parse2::<Item>(fragment::unwrap(item)).map_err(|cause| complaint::unreadable(&cause))? {
        Item::Fn(function) => on_function(function, &arguments),
        Item::Impl(implementation) => Ok(on_impl(implementation, &arguments)),
        other => Err(misplaced(&other)),
    }
}

fn on_function(mut function: ItemFn, arguments: &Arguments) -> Result<TokenStream> {
    let signature = &function.sig;
    if let Some(keyword) = &signature.constness {
        return Err(complaint::const_fn(keyword.span));
    }
    if is_naked(&function.attrs) {
        return Err(complaint::naked(signature.ident.span()));
    }
    if has_own(&function.attrs) {
        return Err(complaint::twice(signature.ident.span()));
    }
    points::insert(&mut function.block, &signature.ident.to_string(), &arguments.crate_path);
    Ok(function.into_token_stream())
}

fn on_impl(mut implementation: ItemImpl, arguments: &Arguments) -> TokenStream {
    let of = type_name(&implementation.self_ty);
    for item in &mut implementation.items {
        let ImplItem::Fn(method) = item else { continue };
        // A method with its own attribute gets its points from that.
        if method.sig.constness.is_none() && !is_naked(&method.attrs) && !has_own(&method.attrs) {
            let name = format!("{of}::{}", method.sig.ident);
            points::insert(&mut method.block, &name, &arguments.crate_path);
        }
    }
    implementation.into_token_stream()
}

fn is_naked(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let mut tokens = TokenStream::new();
        attribute.meta.to_tokens(&mut tokens);
        matches!(tokens.to_string().replace(' ', "").as_str(), "naked" | "unsafe(naked)")
    })
}

fn has_own(attributes: &[Attribute]) -> bool {
    let named = |attribute: &Attribute| {
        attribute
            .path()
            .segments
            .last()
            .is_some_and(|last| last.ident == "crash_points")
    };
    attributes.iter().any(named)
}

/// `Order` for `Order`, `crate::Order<T>` and `&Order`: a readable name, not a path.
fn type_name(of: &Type) -> String {
    match of {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(String::new, |last| last.ident.to_string()),
        Type::Reference(reference) => type_name(&reference.elem),
        Type::Paren(inner) => type_name(&inner.elem),
        Type::Group(inner) => type_name(&inner.elem),
        other => other.to_token_stream().to_string(),
    }
}

fn misplaced(item: &Item) -> Error {
    const FUNCTION: &str = "a function, a method or an `impl` block";
    let (at, what, instead) = match item {
        Item::Struct(item) => (item.struct_token.span, "a struct", FUNCTION),
        Item::Enum(item) => (item.enum_token.span, "an enum", FUNCTION),
        Item::Union(item) => (item.union_token.span, "a union", FUNCTION),
        Item::Const(item) => (item.const_token.span, "a constant", FUNCTION),
        Item::Static(item) => (item.static_token.span, "a static", FUNCTION),
        Item::Mod(item) => (item.mod_token.span, "a module", "the functions and `impl` blocks in it"),
        Item::Trait(item) => (
            item.trait_token.span,
            "a trait",
            "its default methods and on the `impl` blocks",
        ),
        Item::Macro(item) => (first(item), "a macro", "the functions in it"),
        Item::Verbatim(item) if is_function(item) => return complaint::no_body(first(item)),
        other => (first(other), "this item", FUNCTION),
    };
    complaint::not_here(at, what, instead)
}

fn is_function(tokens: &TokenStream) -> bool {
    tokens
        .clone()
        .into_iter()
        .any(|token| matches!(token, proc_macro2::TokenTree::Ident(name) if name == "fn"))
}

fn first(tokens: &impl ToTokens) -> Span {
    tokens
        .to_token_stream()
        .into_iter()
        .next()
        .map_or_else(Span::call_site, |token| token.span())
}

#[cfg(test)]
mod tests;
