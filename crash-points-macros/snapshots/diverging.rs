#[crash_points]
fn after_return() -> u32 {
    before();
    return 1;
    after();
    2
}

#[crash_points]
fn in_arms(a: bool) -> u32 {
    if a {
        panic!("a");
    } else {
        return 2;
    }
    never()
}

#[crash_points]
fn endless() -> ! {
    loop {
        turn();
        match next() {
            0 => return after(),
            _ => continue,
        }
        never();
    }
    never()
}

#[crash_points]
fn not_endless() -> u32 {
    loop {
        select! { a => break }
    }
    'label: {
        break 'label;
    }
    match a {
        1 => return 1,
        _ => {}
    }
    unsafe { std::hint::unreachable_unchecked() };
    reached_for_all_we_know()
}

#[crash_points]
fn diverges_under_some_configurations() -> u32 {
    #[cfg(windows)]
    return 1;
    {
        #[cfg_attr(unix, cfg(windows))]
        panic!("windows");
    }
    reached_elsewhere();
    match next() {
        #[cfg(windows)]
        0 => return 1,
        _ => return 2,
    }
}
