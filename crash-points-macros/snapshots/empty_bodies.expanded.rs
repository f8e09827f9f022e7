fn nothing() {}
fn only_an_item() {
    const A: u8 = 1;
}
fn lone_semicolons() {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "lone_semicolons",
        module: ::core::module_path!(),
        file: ::core::file!(),
        points: &[
            ::crash_points::Place {
                line: ::core::line!(),
                column: ::core::column!(),
            },
        ],
    };
    ::crash_points::hit(&__CRASH_POINTS, 0u32);
    {};
}
