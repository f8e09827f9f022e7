//! Examines one statement from the outside: whether a point goes before it, where, and under which conditions.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Expr, Local, Pat, Stmt};

/// The properties of a statement that its point needs.
pub(crate) struct Outline {
    /// The first token after the statement's attributes.
    pub(crate) start: Span,
    /// The `#[cfg(..)]`s of the statement, which also apply to its point.
    pub(crate) conditions: TokenStream,
}

/// `None` if the statement gets no point.
pub(crate) fn outline(statement: &Stmt) -> Option<Outline> {
    if matches!(statement, Stmt::Item(_)) || is_empty(statement) || is_plumbing(statement) {
        return None;
    }
    let mut conditions = TokenStream::new();
    let mut tokens = statement.to_token_stream().into_iter().peekable();
    while tokens
        .peek()
        .is_some_and(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == '#'))
    {
        tokens.next();
        let Some(TokenTree::Group(attribute)) = tokens.next() else {
            break;
        };
        match Attribute::of(&attribute) {
            Attribute::Condition => conditions.extend(quote!(# #attribute)),
            // The user declares that this is unreachable.
            Attribute::Unreachable => return None,
            Attribute::Other => {}
        }
    }
    let start = first_span(tokens.next()?);
    Some(Outline { start, conditions })
}

/// Reports whether it exists only under some configurations.
pub(crate) fn is_conditional(statement: &Stmt) -> bool {
    outline(statement).is_some_and(|outline| !outline.conditions.is_empty())
}

/// A lone `;` is a statement, too, but it does nothing.
fn is_empty(statement: &Stmt) -> bool {
    matches!(statement, Stmt::Expr(Expr::Verbatim(nothing), _) if nothing.is_empty())
}

enum Attribute {
    Condition,
    Unreachable,
    Other,
}

impl Attribute {
    /// `attribute` is the part after the `#`.
    fn of(attribute: &Group) -> Self {
        let names = names(attribute.stream());
        let mentions = |name: &str| names.iter().skip(1).any(|other| other == name);
        match names.first().map(ToString::to_string).as_deref() {
            Some("cfg") => Self::Condition,
            Some("cfg_attr") if mentions("cfg") => Self::Condition,
            Some("allow" | "expect") if mentions("unreachable_code") => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

fn names(tokens: TokenStream) -> Vec<Ident> {
    let mut all = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(name) => all.push(name),
            TokenTree::Group(group) => all.extend(names(group.stream())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    all
}

fn first_span(token: TokenTree) -> Span {
    match token {
        // The invisible delimiters around the value of a `macro_rules!` parameter are not in the source.
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => group
            .stream()
            .into_iter()
            .next()
            .map_or_else(|| group.span(), first_span),
        TokenTree::Group(group) => group.span_open(),
        other => other.span(),
    }
}

/// Reports whether another attribute macro (`#[async_trait]`, `#[tracing::instrument]`) that expanded first has added the
/// statement around the user's statements. By convention such names begin with two underscores. A crash between these
/// statements would make no difference, and there is no line of the user to show for it.
fn is_plumbing(statement: &Stmt) -> bool {
    match statement {
        Stmt::Local(binding) => binds_private(&binding.pat) || binds_itself(binding),
        Stmt::Expr(Expr::Path(tail), None) => tail.path.get_ident().is_some_and(is_private),
        Stmt::Expr(Expr::Return(end), _) => {
            matches!(end.expr.as_deref(), Some(Expr::Path(path)) if path.path.get_ident().is_some_and(is_private))
        }
        Stmt::Expr(Expr::If(branch), _) => matches!(&*branch.cond, Expr::Let(test) if binds_private(&test.pat)),
        _ => false,
    }
}

fn binds_private(pattern: &Pat) -> bool {
    match pattern {
        Pat::Ident(name) => is_private(&name.ident),
        Pat::Type(typed) => binds_private(&typed.pat),
        Pat::TupleStruct(inner) => inner.elems.len() == 1 && inner.elems.iter().all(binds_private),
        _ => false,
    }
}

/// `let id = id;`, with which `#[async_trait]` moves each argument into its future.
fn binds_itself(binding: &Local) -> bool {
    match (&binding.pat, binding.init.as_ref().map(|init| &*init.expr)) {
        (Pat::Ident(name), Some(Expr::Path(path))) => path.path.get_ident() == Some(&name.ident),
        _ => false,
    }
}

fn is_private(name: &Ident) -> bool {
    name.to_string().starts_with("__")
}
