#[crash_points]
fn attributes() {
    #![allow(unused)]
    #[cfg(unix)]
    let a = 1;
    #[cfg(feature = "a")]
    #[allow(unused_variables)]
    let b = { 2; 3 };
    #[cfg_attr(unix, cfg(target_os = "linux"))]
    linux();
    #[cfg_attr(unix, allow(unused))]
    let c = 3;
    #[allow(clippy::all)]
    {
        inner();
    }
    #[cfg(unix)]
    println!("unix");
    #[cfg(unix)]
    {
        tail()
    }
    #[cfg(not(unix))]
    {
        other_tail()
    }
}

#[crash_points]
fn said_to_be_unreachable() -> u32 {
    exit(1);
    #[allow(unreachable_code)]
    never();
    #[expect(unused, unreachable_code)]
    {
        7
    }
}
