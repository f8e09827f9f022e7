fn macros() -> Vec<u32> {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "macros",
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
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    println!("one");
    ::crash_points::hit(&__CRASH_POINTS, 1u32);
    thread_local! {
        static A : u32 = 1
    }
    ::crash_points::hit(&__CRASH_POINTS, 2u32);
    select! {
        a = b => { c(); }
    }
    ::crash_points::hit(&__CRASH_POINTS, 3u32);
    let v = vec![{ let a = 1; a }];
    ::crash_points::hit(&__CRASH_POINTS, 4u32);
    vec![1]
}
