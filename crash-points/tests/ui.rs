//! What the compiler says: about misuse, about errors in the user's own code, and (nothing) about the points.
#![cfg(feature = "enabled")]

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/fail/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
