#[crash_points]
fn macros() -> Vec<u32> {
    println!("one");
    thread_local! { static A: u32 = 1 }
    select! {
        a = b => { c(); }
    }
    let v = vec![{ let a = 1; a }];
    vec![1]
}
