//! The value of a `macro_rules!` parameter is in invisible delimiters. syn handles most of them. This module removes
//! the others.

use std::iter;

use proc_macro2::{Delimiter, Group, Punct, Spacing, TokenStream, TokenTree};

/// Removes the delimiters around lifetimes (`$l:lifetime`, used as a label) and bindings (`$s:stmt`).
pub(crate) fn unwrap(tokens: TokenStream) -> TokenStream {
    if !has_invisible(&tokens) {
        return tokens;
    }
    let mut all = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let TokenTree::Group(group) = token else {
            all.push(token);
            continue;
        };
        let inner = unwrap(group.stream());
        match Fragment::of(&group) {
            Fragment::Lifetime => all.extend(inner),
            Fragment::Binding => {
                all.extend(inner);
                let ended = tokens
                    .peek()
                    .is_some_and(|next| matches!(next, TokenTree::Punct(p) if p.as_char() == ';'));
                // rustc treats it as a complete statement even without a semicolon.
                all.extend(iter::repeat_n(
                    Punct::new(';', Spacing::Alone).into(),
                    usize::from(!ended),
                ));
            }
            Fragment::Other => {
                let mut rebuilt = Group::new(group.delimiter(), inner);
                rebuilt.set_span(group.span());
                all.push(rebuilt.into());
            }
        }
    }
    all.into_iter().collect()
}

fn has_invisible(tokens: &TokenStream) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::None || has_invisible(&group.stream()),
        _ => false,
    })
}

enum Fragment {
    Lifetime,
    Binding,
    Other,
}

impl Fragment {
    fn of(group: &Group) -> Self {
        if group.delimiter() != Delimiter::None {
            return Self::Other;
        }
        let mut tokens = group.stream().into_iter();
        match tokens.next() {
            Some(TokenTree::Punct(mark)) if mark.as_char() == '\'' => Self::Lifetime,
            Some(TokenTree::Ident(name)) if name == "let" => Self::Binding,
            _ => Self::Other,
        }
    }
}
