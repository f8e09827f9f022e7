#[crash_points]
fn closures() -> impl Future<Output = u32> {
    let short = |x: u32| x + 1;
    let long = move |x: u32| -> u32 {
        note(x);
        short(x)
    };
    let waits = async |x: u32| {
        sleep(x).await;
        x
    };
    let block = async {
        sleep(1).await;
    };
    rows.iter().map(|row| { let r = row; r.id }).for_each(drop);
    async move {
        block.await;
        waits(long(1)).await
    }
}
