pub fn total(prices: &[u64]) -> u64 {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "total",
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
    let sum: u64 = prices.iter().sum();
    ::crash_points::hit(&__CRASH_POINTS, 1u32);
    let tax = sum / 10;
    ::crash_points::hit(&__CRASH_POINTS, 2u32);
    let rounded = tax - tax % 5;
    ::crash_points::hit(&__CRASH_POINTS, 3u32);
    log(sum);
    ::crash_points::hit(&__CRASH_POINTS, 4u32);
    sum + rounded
}
async fn fetch(id: u32) -> Result<String, Error> {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "fetch",
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
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    let body = get(id).await?;
    ::crash_points::hit(&__CRASH_POINTS, 1u32);
    store(&body).await?;
    ::crash_points::hit(&__CRASH_POINTS, 2u32);
    Ok(body)
}
