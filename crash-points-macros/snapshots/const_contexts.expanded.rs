fn constants<const N: usize>() -> usize {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "constants",
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
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
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
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    let a = const {
        let b = 1;
        b + 1
    };
    ::crash_points::hit(&__CRASH_POINTS, 1u32);
    let b = [{
        ::crash_points::hit(&__CRASH_POINTS, 2u32);
        first()
    }; {
        let n = 2;
        n
    }];
    ::crash_points::hit(&__CRASH_POINTS, 3u32);
    let c: [u8; {
        let n = 3;
        n
    }] = make::<
        {
            let n = 3;
            n
        },
    >();
    ::crash_points::hit(&__CRASH_POINTS, 4u32);
    let d = value
        .method::<
            {
                let n = 3;
                n
            },
        >({
            ::crash_points::hit(&__CRASH_POINTS, 5u32);
            let e = 1;
            ::crash_points::hit(&__CRASH_POINTS, 6u32);
            e
        });
    ::crash_points::hit(&__CRASH_POINTS, 7u32);
    match d {
        const { 1 + 1 } => a,
        _ => c.len(),
    }
}
