fn loops(mut rows: impl Iterator<Item = u32>) -> u32 {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "loops",
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
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    'outer: for i in 0..3 {
        ::crash_points::hit(&__CRASH_POINTS, 1u32);
        while let Some(row) = rows.next() {
            ::crash_points::hit(&__CRASH_POINTS, 2u32);
            if row == i {
                ::crash_points::hit(&__CRASH_POINTS, 3u32);
                continue 'outer;
            }
            ::crash_points::hit(&__CRASH_POINTS, 4u32);
            save(row);
        }
        ::crash_points::hit(&__CRASH_POINTS, 5u32);
        while {
            ::crash_points::hit(&__CRASH_POINTS, 6u32);
            step();
            ::crash_points::hit(&__CRASH_POINTS, 7u32);
            i < 2
        } {
            ::crash_points::hit(&__CRASH_POINTS, 8u32);
            step();
        }
    }
    ::crash_points::hit(&__CRASH_POINTS, 9u32);
    let found = loop {
        ::crash_points::hit(&__CRASH_POINTS, 10u32);
        try_it();
        ::crash_points::hit(&__CRASH_POINTS, 11u32);
        if ready() {
            ::crash_points::hit(&__CRASH_POINTS, 12u32);
            break 7;
        }
    };
    ::crash_points::hit(&__CRASH_POINTS, 13u32);
    let in_block = 'block: {
        ::crash_points::hit(&__CRASH_POINTS, 14u32);
        if found > 1 {
            ::crash_points::hit(&__CRASH_POINTS, 15u32);
            break 'block 1;
        }
        ::crash_points::hit(&__CRASH_POINTS, 16u32);
        2
    };
    ::crash_points::hit(&__CRASH_POINTS, 17u32);
    found + in_block
}
