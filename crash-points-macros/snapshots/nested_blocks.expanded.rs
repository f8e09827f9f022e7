fn nested() -> u32 {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "nested",
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
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    let a = {
        ::crash_points::hit(&__CRASH_POINTS, 1u32);
        let b = 1;
        ::crash_points::hit(&__CRASH_POINTS, 2u32);
        {
            ::crash_points::hit(&__CRASH_POINTS, 3u32);
            b + 1
        }
    };
    ::crash_points::hit(&__CRASH_POINTS, 4u32);
    let c = unsafe {
        ::crash_points::hit(&__CRASH_POINTS, 5u32);
        touch();
        ::crash_points::hit(&__CRASH_POINTS, 6u32);
        peek()
    };
    ::crash_points::hit(&__CRASH_POINTS, 7u32);
    let Some(d) = find(a) else {
        ::crash_points::hit(&__CRASH_POINTS, 8u32);
        give_up();
        ::crash_points::hit(&__CRASH_POINTS, 9u32);
        return 0;
    };
    ::crash_points::hit(&__CRASH_POINTS, 10u32);
    {
        ::crash_points::hit(&__CRASH_POINTS, 11u32);
        scoped(d);
    }
    ::crash_points::hit(&__CRASH_POINTS, 12u32);
    call(
        {
            ::crash_points::hit(&__CRASH_POINTS, 13u32);
            a
        },
        [
            {
                ::crash_points::hit(&__CRASH_POINTS, 14u32);
                c
            },
            1,
        ],
        &{
            ::crash_points::hit(&__CRASH_POINTS, 15u32);
            d
        },
    );
    ::crash_points::hit(&__CRASH_POINTS, 16u32);
    a
}
