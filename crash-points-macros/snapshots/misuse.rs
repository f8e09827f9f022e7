#[crash_points]
struct S;

#[crash_points]
enum E {}

#[crash_points]
union U { a: u8 }

#[crash_points]
mod m {}

#[crash_points]
trait T {}

#[crash_points]
const C: u8 = 1;

#[crash_points]
static D: u8 = 1;

#[crash_points]
use a::b;

#[crash_points]
pub const fn f() {}

#[crash_points]
#[unsafe(naked)]
extern "C" fn naked() {}

#[crash_points]
#[crash_points::crash_points]
fn twice() {
    a();
}

#[crash_points(every_line)]
fn unknown_argument() {
    a();
}
