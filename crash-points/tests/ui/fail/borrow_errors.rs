//! Borrows are checked after types, so these need a file of their own.

use crash_points::crash_points;

#[crash_points]
fn moved_twice(text: String) -> (String, String) {
    let other = text;
    (text, other)
}

#[crash_points]
fn dangling() -> usize {
    let kept: &str;
    {
        let text = String::from("short");
        kept = &text;
    }
    kept.len()
}

fn main() {
    moved_twice(String::new());
    dangling();
}
