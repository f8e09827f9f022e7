//! Statements that never complete, as far as syntax shows.
//!
//! The code after them is unreachable. rustc warns once, about the first unreachable thing. That must be the user's
//! code, so no point is inserted there. If only types show it (a call of a `-> !` function), rustc's one warning is
//! at the point, which has the place of the user's statement. The number of warnings stays the same.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Block, Expr, Macro, Stmt};

use crate::statement::is_conditional;

/// A statement with a `#[cfg]` may be absent, and then execution continues.
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

/// Reports whether there is any `break` in it, even for an inner loop or in a macro's tokens. A wrong answer for a
/// loop that never ends only moves a warning.
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
