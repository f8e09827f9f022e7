struct S;
::core::compile_error! {
    "`#[crash_points]` cannot stand on a struct: put it on a function, a method or an `impl` block"
}
enum E {}
::core::compile_error! {
    "`#[crash_points]` cannot stand on an enum: put it on a function, a method or an `impl` block"
}
union U {
    a: u8,
}
::core::compile_error! {
    "`#[crash_points]` cannot stand on a union: put it on a function, a method or an `impl` block"
}
mod m {}
::core::compile_error! {
    "`#[crash_points]` cannot stand on a module: put it on the functions and `impl` blocks in it"
}
trait T {}
::core::compile_error! {
    "`#[crash_points]` cannot stand on a trait: put it on its default methods and on the `impl` blocks"
}
const C: u8 = 1;
::core::compile_error! {
    "`#[crash_points]` cannot stand on a constant: put it on a function, a method or an `impl` block"
}
static D: u8 = 1;
::core::compile_error! {
    "`#[crash_points]` cannot stand on a static: put it on a function, a method or an `impl` block"
}
use a::b;
::core::compile_error! {
    "`#[crash_points]` cannot stand on this item: put it on a function, a method or an `impl` block"
}
pub const fn f() {}
::core::compile_error! {
    "`#[crash_points]` cannot stand on a `const fn`, because constants cannot make the calls that it inserts: remove the attribute or the `const`"
}
#[unsafe(naked)]
extern "C" fn naked() {}
::core::compile_error! {
    "`#[crash_points]` cannot stand on a naked function, whose body is assembly alone: remove the attribute"
}
#[crash_points::crash_points]
fn twice() {
    a();
}
::core::compile_error! {
    "`#[crash_points]` stands on this function twice: remove one"
}
fn unknown_argument() {
    a();
}
::core::compile_error! {
    "unknown argument: write `#[crash_points]`, or `#[crash_points(crate = path::to::crash_points)]` where the crate `crash-points` goes by another path"
}
