use crash_points::crash_points;

#[crash_points(crate = somewhere::crash_points)]
fn a() {
    drop(1);
}

fn main() {
    a();
}
