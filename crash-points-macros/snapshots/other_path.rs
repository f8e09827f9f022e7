#[crash_points(crate = retryproof::crash_points)]
fn elsewhere() {
    something();
}
