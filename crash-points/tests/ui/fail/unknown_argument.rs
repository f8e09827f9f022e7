use crash_points::crash_points;

#[crash_points(every_line)]
fn a() {}

#[crash_points(crate)]
fn b() {}

#[crash_points(crate = ::crash_points, every_line)]
fn c() {}

fn main() {
    (a(), b(), c());
}
