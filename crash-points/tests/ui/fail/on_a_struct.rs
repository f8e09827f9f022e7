use crash_points::crash_points;

#[crash_points]
pub struct Order {
    id: u32,
}

fn main() {
    // The struct is still there: one error, not one for each use of it.
    let _ = Order { id: 1 }.id;
}
