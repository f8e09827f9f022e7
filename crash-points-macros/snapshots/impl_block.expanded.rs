impl<T: Clone> Trait for crate::Queue<T> {
    const LIMIT: usize = {
        let a = 1;
        a
    };
    type Item = T;
    const fn limit() -> usize {
        let a = 1;
        a
    }
    #[inline]
    fn push(&mut self, item: T) -> Self {
        static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
            name: "Queue::push",
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
        self.items.push(item);
        ::crash_points::hit(&__CRASH_POINTS, 1u32);
        Self { items: self.items.clone() }
    }
    async unsafe fn pull(self: Box<Self>) {
        static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
            name: "Queue::pull",
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
        wait().await;
    }
    #[crash_points]
    fn own(&self) {
        once();
    }
    #[unsafe(naked)]
    extern "C" fn bare() {
        naked_asm!("ret")
    }
}
impl Trait for &mut (u8, u16) {
    fn f() {
        static __CRASH_POINTS: ::crash_points::Function = ::crash_points::Function {
            name: "(u8 , u16)::f",
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
        g();
    }
}
