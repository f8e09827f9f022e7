#[crash_points]
fn branches(a: Option<u32>) -> u32 {
    if let Some(x) = a && x > 1 && let Some(y) = a {
        one(x);
        y
    } else if { check(); a.is_none() } {
        2
    } else {
        match a {
            Some(0) => 0,
            Some(x) if { x > 1 } => {
                two();
                x
            }
            Some(_) | None => {
                three()
            }
        }
    }
}
