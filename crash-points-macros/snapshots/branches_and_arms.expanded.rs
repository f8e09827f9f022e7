fn branches(a: Option<u32>) -> u32 {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "branches",
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
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    if let Some(x) = a && x > 1 && let Some(y) = a {
        ::crash_points::hit(&__CRASH_POINTS, 1u32);
        one(x);
        ::crash_points::hit(&__CRASH_POINTS, 2u32);
        y
    } else if {
        ::crash_points::hit(&__CRASH_POINTS, 3u32);
        check();
        ::crash_points::hit(&__CRASH_POINTS, 4u32);
        a.is_none()
    } {
        ::crash_points::hit(&__CRASH_POINTS, 5u32);
        2
    } else {
        ::crash_points::hit(&__CRASH_POINTS, 6u32);
        match a {
            Some(0) => 0,
            Some(
                x,
            ) if {
                ::crash_points::hit(&__CRASH_POINTS, 7u32);
                x > 1
            } => {
                ::crash_points::hit(&__CRASH_POINTS, 8u32);
                two();
                ::crash_points::hit(&__CRASH_POINTS, 9u32);
                x
            }
            Some(_) | None => {
                ::crash_points::hit(&__CRASH_POINTS, 10u32);
                three()
            }
        }
    }
}
