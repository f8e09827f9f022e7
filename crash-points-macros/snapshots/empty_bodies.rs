#[crash_points]
fn nothing() {}

#[crash_points]
fn only_an_item() {
    const A: u8 = 1;
}

#[crash_points]
fn lone_semicolons() {
    ;
    {}
    ;
}
