#[crash_points]
fn nested() -> u32 {
    let a = {
        let b = 1;
        { b + 1 }
    };
    let c = unsafe {
        touch();
        peek()
    };
    let Some(d) = find(a) else {
        give_up();
        return 0;
    };
    {
        scoped(d);
    }
    call({ a }, [{ c }, 1], &{ d });
    a
}
