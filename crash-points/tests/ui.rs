//! Compiler messages: about misuse, about errors in the user's code, and none about the points.
#![cfg(feature = "enabled")]

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/fail/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
