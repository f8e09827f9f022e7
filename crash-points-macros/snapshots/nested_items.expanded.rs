fn outer() -> u32 {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "outer",
        module: ::core::module_path!(),
        file: ::core::file!(),
        points: &[
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    use std::mem;
    fn inner() -> u32 {
        let a = 1;
        a
    }
    static S: u32 = {
        let a = 1;
        a
    };
    const C: u32 = {
        let a = 1;
        a
    };
    struct T;
    impl T {
        fn f() {
            inner();
        }
    }
    macro_rules! m {
        () => {
            inner();
        };
    }
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    T::f();
    ::crash_points::hit(&__CRASH_POINTS, 1u32);
    inner() + S + C
}
