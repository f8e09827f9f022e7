//! Walks a function's body and inserts the points.
//!
//! Invariant: the user's code stays the same, token for token. Only whole statements are added. A tail expression is
//! never wrapped, because that would change coercions and the lifetimes of its temporaries.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    AngleBracketedGenericArguments, Attribute, Block, Expr, ExprClosure, ExprConst, ExprRepeat, Item, Pat, Path, Stmt,
    Type,
};

use crate::{diverge, statement};

/// Inserts a point before each statement of `body`, and the table of them at its top. `name` is the name of the
/// function.
pub(crate) fn insert(body: &mut Block, name: &str, crate_path: &Path) {
    let mut walk = Walk {
        crate_path,
        starts: Vec::new(),
    };
    walk.visit_block_mut(body);
    let starts = walk.starts;
    if let Some(first) = starts.first() {
        body.stmts.insert(0, table(name, crate_path, *first, &starts));
    }
}

struct Walk<'a> {
    crate_path: &'a Path,
    /// The places of the points, by ordinal.
    starts: Vec<Span>,
}

impl Walk<'_> {
    fn point(&mut self, outline: &statement::Outline) -> Stmt {
        let ordinal = u32::try_from(self.starts.len()).expect("a function has fewer than 2^32 statements");
        self.starts.push(outline.start);
        let (crate_path, conditions) = (self.crate_path, &outline.conditions);
        verbatim(quote_spanned! {generated(outline.start)=>
            #conditions #crate_path::hit(&__CRASH_POINTS, #ordinal);
        })
    }
}

impl VisitMut for Walk<'_> {
    fn visit_block_mut(&mut self, block: &mut Block) {
        let mut passable = true;
        let statements = Vec::with_capacity(2 * block.stmts.len());
        for mut statement in std::mem::replace(&mut block.stmts, statements) {
            if passable {
                if let Some(outline) = statement::outline(&statement) {
                    block.stmts.push(self.point(&outline));
                }
                passable = !diverge::statement(&statement);
                self.visit_stmt_mut(&mut statement);
            }
            block.stmts.push(statement);
        }
    }

    fn visit_expr_closure_mut(&mut self, closure: &mut ExprClosure) {
        if closure.constness.is_none() {
            visit_mut::visit_expr_closure_mut(self, closure);
        }
    }

    fn visit_expr_repeat_mut(&mut self, array: &mut ExprRepeat) {
        // The length is a constant.
        self.visit_expr_mut(&mut array.expr);
    }

    fn visit_pat_mut(&mut self, pattern: &mut Pat) {
        // A pattern may contain constants. The guard of a match arm is part of the pattern, and is an expression.
        if let Pat::Guard(guarded) = pattern {
            self.visit_expr_mut(&mut guarded.guard);
        }
    }

    // Syntax that may contain constants, and items, which are functions of their own.
    fn visit_expr_const_mut(&mut self, _: &mut ExprConst) {}
    fn visit_angle_bracketed_generic_arguments_mut(&mut self, _: &mut AngleBracketedGenericArguments) {}
    fn visit_type_mut(&mut self, _: &mut Type) {}
    fn visit_item_mut(&mut self, _: &mut Item) {}
    fn visit_attribute_mut(&mut self, _: &mut Attribute) {}
}

/// The place of the user's statement, but marked as generated, so that lints ignore it.
fn generated(place: Span) -> Span {
    Span::mixed_site().located_at(place)
}

fn table(name: &str, crate_path: &Path, first: Span, starts: &[Span]) -> Stmt {
    // These macros return the place of their own tokens, so they get the user's span unchanged. Marked as generated,
    // they would return the attribute's line. The paths are absolute, so no macro of the user can interfere.
    let places = starts.iter().map(|start| {
        let line = quote_spanned!(*start=> ::core::line!());
        let column = quote_spanned!(*start=> ::core::column!());
        quote_spanned!(generated(*start)=> #crate_path::Place { line: #line, column: #column })
    });
    let file = quote_spanned!(first=> ::core::file!());
    let module = quote_spanned!(first=> ::core::module_path!());
    // The leading underscores also silence rustc if all points of a function are configured away.
    verbatim(quote_spanned! {generated(first)=>
        static __CRASH_POINTS: #crate_path::Function = #crate_path::Function {
            name: #name,
            module: #module,
            file: #file,
            points: &[#(#places),*],
        };
    })
}

/// A statement as tokens, which saves parsing generated code.
fn verbatim(tokens: TokenStream) -> Stmt {
    Stmt::Expr(Expr::Verbatim(tokens), None)
}
