fn closures() -> impl Future<Output = u32> {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "closures",
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
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    let short = |x: u32| x + 1;
    ::crash_points::hit(&__CRASH_POINTS, 1u32);
    let long = move |x: u32| -> u32 {
        ::crash_points::hit(&__CRASH_POINTS, 2u32);
        note(x);
        ::crash_points::hit(&__CRASH_POINTS, 3u32);
        short(x)
    };
    ::crash_points::hit(&__CRASH_POINTS, 4u32);
    let waits = async |x: u32| {
        ::crash_points::hit(&__CRASH_POINTS, 5u32);
        sleep(x).await;
        ::crash_points::hit(&__CRASH_POINTS, 6u32);
        x
    };
    ::crash_points::hit(&__CRASH_POINTS, 7u32);
    let block = async {
        ::crash_points::hit(&__CRASH_POINTS, 8u32);
        sleep(1).await;
    };
    ::crash_points::hit(&__CRASH_POINTS, 9u32);
    rows.iter()
        .map(|row| {
            ::crash_points::hit(&__CRASH_POINTS, 10u32);
            let r = row;
            ::crash_points::hit(&__CRASH_POINTS, 11u32);
            r.id
        })
        .for_each(drop);
    ::crash_points::hit(&__CRASH_POINTS, 12u32);
    async move {
        ::crash_points::hit(&__CRASH_POINTS, 13u32);
        block.await;
        ::crash_points::hit(&__CRASH_POINTS, 14u32);
        waits(long(1)).await
    }
}
