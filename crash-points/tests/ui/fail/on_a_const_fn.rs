use crash_points::crash_points;

#[crash_points]
pub const fn limit() -> u32 {
    let limit = 3;
    limit
}

struct Queue;

impl Queue {
    #[crash_points]
    const fn limit() -> u32 {
        let limit = 3;
        limit
    }
}

fn main() {
    const { assert!(limit() == 3 && Queue::limit() == 3) }
}
