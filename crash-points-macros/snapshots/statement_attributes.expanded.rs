fn attributes() {
    #![allow(unused)]
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "attributes",
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
        ],
    };
    #[cfg(unix)] ::crash_points::hit(&__CRASH_POINTS, 0u32);
    #[cfg(unix)]
    let a = 1;
    #[cfg(feature = "a")] ::crash_points::hit(&__CRASH_POINTS, 1u32);
    #[cfg(feature = "a")]
    #[allow(unused_variables)]
    let b = {
        ::crash_points::hit(&__CRASH_POINTS, 2u32);
        2;
        ::crash_points::hit(&__CRASH_POINTS, 3u32);
        3
    };
    #[cfg_attr(unix, cfg(target_os = "linux"))]
    ::crash_points::hit(&__CRASH_POINTS, 4u32);
    #[cfg_attr(unix, cfg(target_os = "linux"))] linux();
    ::crash_points::hit(&__CRASH_POINTS, 5u32);
    #[cfg_attr(unix, allow(unused))]
    let c = 3;
    ::crash_points::hit(&__CRASH_POINTS, 6u32);
    #[allow(clippy::all)]
    {
        ::crash_points::hit(&__CRASH_POINTS, 7u32);
        inner();
    }
    #[cfg(unix)] ::crash_points::hit(&__CRASH_POINTS, 8u32);
    #[cfg(unix)]
    println!("unix");
    #[cfg(unix)] ::crash_points::hit(&__CRASH_POINTS, 9u32);
    #[cfg(unix)]
    {
        ::crash_points::hit(&__CRASH_POINTS, 10u32);
        tail()
    }
    #[cfg(not(unix))] ::crash_points::hit(&__CRASH_POINTS, 11u32);
    #[cfg(not(unix))]
    {
        ::crash_points::hit(&__CRASH_POINTS, 12u32);
        other_tail()
    }
}
fn said_to_be_unreachable() -> u32 {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "said_to_be_unreachable",
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
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    exit(1);
    #[allow(unreachable_code)] never();
    #[expect(unused, unreachable_code)]
    {
        ::crash_points::hit(&__CRASH_POINTS, 1u32);
        7
    }
}
