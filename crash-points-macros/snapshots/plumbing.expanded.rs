fn wrapped<'a>(&'a self, id: u32) -> Pin<Box<dyn Future<Output = u32> + Send + 'a>> {
    static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
        name: "wrapped",
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
    Box::pin(async move {
        if let ::core::option::Option::Some(__ret) = ::core::option::Option::None::<
            u32,
        > {
            #[allow(unreachable_code)] return __ret;
        }
        let __self = self;
        let id = id;
        let __ret: u32 = {
            ::crash_points::hit(&__CRASH_POINTS, 1u32);
            save(id).await;
            ::crash_points::hit(&__CRASH_POINTS, 2u32);
            id
        };
        #[allow(unreachable_code)] __ret
    })
}
