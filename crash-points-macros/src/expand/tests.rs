//! Snapshots: `snapshots/NAME.rs` is the user's code, `snapshots/NAME.expanded.rs` the expansion. Run with `UPDATE=1`
//! to rewrite the expansions, then read the difference.

use std::path::Path;
use std::{env, fs};

use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, Stmt};

use super::*;

/// The expansion of `source`: the first item, with its arguments as in `#[crash_points(..)]`.
fn expanded(source: &str) -> String {
    let file = syn::parse_file(source).expect("a snapshot's source is a file");
    let tokens = file.items.into_iter().map(|mut item| {
        let Some(arguments) = take_attribute(&mut item) else {
            return item.into_token_stream();
        };
        expand(arguments, item.into_token_stream())
    });
    let tokens = tokens.collect::<TokenStream>();
    prettyplease::unparse(&syn::parse2(tokens).expect("what is generated is a file, too"))
}

fn take_attribute(item: &mut Item) -> Option<TokenStream> {
    let attributes = match item {
        Item::Fn(item) => &mut item.attrs,
        Item::Impl(item) => &mut item.attrs,
        Item::Struct(item) => &mut item.attrs,
        Item::Enum(item) => &mut item.attrs,
        Item::Union(item) => &mut item.attrs,
        Item::Const(item) => &mut item.attrs,
        Item::Static(item) => &mut item.attrs,
        Item::Mod(item) => &mut item.attrs,
        Item::Trait(item) => &mut item.attrs,
        Item::Use(item) => &mut item.attrs,
        _ => return None,
    };
    let ours = attributes
        .iter()
        .position(|attribute| attribute.path().is_ident("crash_points"))?;
    match attributes.remove(ours).meta {
        syn::Meta::List(list) => Some(list.tokens),
        _ => Some(TokenStream::new()),
    }
}

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots");
    let source = fs::read_to_string(folder.join(format!("{name}.rs"))).expect("the snapshot's source");
    let actual = expanded(&source);
    let kept = folder.join(format!("{name}.expanded.rs"));
    if env::var_os("UPDATE").is_some() {
        fs::write(&kept, &actual).expect("the snapshot can be written");
    }
    let wanted = fs::read_to_string(&kept).unwrap_or_default();
    assert!(
        actual == wanted,
        "{name} expands otherwise than {} says; got:\n{actual}",
        kept.display()
    );
    if name != "misuse" {
        assert_eq!(
            without_points(&actual),
            without_points(&source),
            "{name}: the user's own code was changed"
        );
    }
}

/// Removes everything that was inserted. The results for `expanded` and for its source must be equal.
fn without_points(source: &str) -> String {
    struct Remove;
    impl VisitMut for Remove {
        fn visit_block_mut(&mut self, block: &mut Block) {
            block.stmts.retain(|statement| !is_generated(statement));
            visit_mut::visit_block_mut(self, block);
        }
    }
    let mut file = syn::parse_file(source).expect("a file");
    file.items.iter_mut().for_each(|item| drop(take_attribute(item)));
    Remove.visit_file_mut(&mut file);
    prettyplease::unparse(&file)
}

fn is_generated(statement: &Stmt) -> bool {
    match statement {
        Stmt::Item(Item::Static(item)) => item.ident == "__CRASH_POINTS",
        Stmt::Expr(Expr::Call(call), Some(_)) => call
            .args
            .to_token_stream()
            .to_string()
            .starts_with("& __CRASH_POINTS ,"),
        _ => false,
    }
}

macro_rules! snapshots {
    ($($name:ident),* $(,)?) => { $(#[test] fn $name() { check(stringify!($name)); })* };
}

snapshots! {
    plain_function, empty_bodies, nested_blocks, branches_and_arms, loops_and_labels, closures_and_async, const_contexts,
    nested_items, statement_attributes, statement_macros, diverging, impl_block, other_path, plumbing, signatures, misuse,
}

#[test]
fn every_snapshot_is_checked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots");
    let kept = fs::read_dir(folder).expect("the folder of snapshots").count();
    assert_eq!(
        kept,
        2 * 16,
        "a source and an expansion for each name in the list above"
    );
}

#[test]
fn arguments_are_told_from_one_another() {
    let complaint = |arguments: &str| {
        let arguments = arguments.parse().expect("tokens");
        Arguments::read(arguments)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    for fine in [
        "",
        "crate = a::b",
        "crate = ::a",
        "crate = crate::a,",
        "crate = self::a",
    ] {
        assert_eq!(complaint(fine), "", "{fine}");
    }
    for bad in ["a", "crate", "crate(a)", "crate = a b", "a = b", "crate = a, b", ","] {
        assert!(
            complaint(bad).starts_with("unknown argument: write `#[crash_points]`"),
            "{bad}: {}",
            complaint(bad)
        );
    }
}
