//! A warning of the user's is still one, and once. Where only types tell that code is unreachable it moves to the
//! attribute, but still names the line behind which nothing is reached.
#![deny(unreachable_code, unused_variables, unused_must_use)]

use crash_points::crash_points;

#[crash_points]
fn unreachable(x: u32) -> u32 {
    return x;
    println!("never");
}

#[crash_points]
fn unreachable_as_types_tell(x: u32) -> u32 {
    std::process::exit(1);
    println!("never");
    x
}

#[crash_points]
fn unused() {
    let nobody = 1;
    Some(1).ok_or(2);
}

fn main() {
    unreachable(1);
    unreachable_as_types_tell(1);
    unused();
}
