//! Which statements, as far as syntax tells, nothing gets past.
//!
//! What follows them is unreachable, which rustc says once, at the first thing it meets there. That must be the user's
//! code, so no point is put there. Where only types tell (a call of a `-> !` function), rustc's one warning sits on the
//! point instead, which has the place of the user's statement: no warning more, none less.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Block, Expr, Macro, Stmt};

use crate::statement::is_conditional;

/// A statement with a `#[cfg]` may be away, and then everything gets past it.
pub(crate) fn statement(statement: &Stmt) -> bool {
    let diverges = match statement {
        Stmt::Expr(expression, _) => diverges(expression),
        Stmt::Macro(statement) => panics(&statement.mac),
        Stmt::Local(_) | Stmt::Item(_) => false,
    };
    diverges && !is_conditional(statement)
}

fn diverges(expression: &Expr) -> bool {
    match expression {
        Expr::Return(_) | Expr::Break(_) | Expr::Continue(_) => true,
        Expr::Macro(expression) => panics(&expression.mac),
        Expr::Paren(expression) => diverges(&expression.expr),
        Expr::Group(expression) => diverges(&expression.expr),
        Expr::Unsafe(expression) => block(&expression.block),
        Expr::Block(expression) => {
            block(&expression.block) && (expression.label.is_none() || !breaks(&expression.block))
        }
        Expr::Loop(expression) => !breaks(&expression.body),
        Expr::If(expression) => {
            block(&expression.then_branch)
                && expression
                    .else_branch
                    .as_ref()
                    .is_some_and(|(_, otherwise)| diverges(otherwise))
        }
        Expr::Match(expression) => !expression.arms.is_empty() && expression.arms.iter().all(|arm| diverges(&arm.body)),
        _ => false,
    }
}

fn block(block: &Block) -> bool {
    block.stmts.iter().any(statement)
}

fn panics(call: &Macro) -> bool {
    let name = call.path.segments.last().map(|segment| &segment.ident);
    name.is_some_and(|name| {
        ["panic", "todo", "unimplemented", "unreachable"]
            .iter()
            .any(|known| name == known)
    })
}

/// Whether there is any `break` in it, be it for a loop further inside or in a macro's tokens. To be wrong about a loop
/// that is never left costs nothing but the place of a warning.
fn breaks(body: &Block) -> bool {
    fn search(tokens: TokenStream) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(name) => name == "break",
            TokenTree::Group(group) => search(group.stream()),
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        })
    }
    search(body.to_token_stream())
}
