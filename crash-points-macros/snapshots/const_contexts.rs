#[crash_points]
fn constants<const N: usize>() -> usize {
    let a = const { let b = 1; b + 1 };
    let b = [{ first() }; { let n = 2; n }];
    let c: [u8; { let n = 3; n }] = make::<{ let n = 3; n }>();
    let d = value.method::<{ let n = 3; n }>({ let e = 1; e });
    match d {
        const { 1 + 1 } => a,
        _ => c.len(),
    }
}
