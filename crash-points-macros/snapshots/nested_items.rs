#[crash_points]
fn outer() -> u32 {
    use std::mem;
    fn inner() -> u32 {
        let a = 1;
        a
    }
    static S: u32 = { let a = 1; a };
    const C: u32 = { let a = 1; a };
    struct T;
    impl T {
        fn f() {
            inner();
        }
    }
    macro_rules! m {
        () => { inner(); };
    }
    T::f();
    inner() + S + C
}
