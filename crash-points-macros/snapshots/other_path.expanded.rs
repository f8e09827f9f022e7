fn elsewhere() {
    static __CRASH_POINTS: retryproof::crash_points::Function = retryproof::crash_points::Function {
        name: "elsewhere",
        module: ::core::module_path!(),
        file: ::core::file!(),
        points: &[
            retryproof::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    retryproof::crash_points::hit(&__CRASH_POINTS, 0u32);
    something();
}
